"""What a frame selector is, and the guards that the selectors share.

The paper's bare rule (section 3.2) keeps nearly every frame of a moving camera and next to none of a fixed one. Two
guards stand round it. A heartbeat keeps a frame after some seconds without one; the first frame and the first frame of
every scene are kept as well. A ceiling bounds what is kept in any one second, whatever happens on the screen.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np

from streamchat.options import Options
from streamchat.types import Frame

CUT_SIZE = (96, 54)  # width, height in pixels at which pictures are compared for cuts
CUT_HISTOGRAM = 0.2  # share of the picture whose color must change, at least
CUT_DIFFERENCE = 15.0  # mean change of grey, of 255, at least
CUT_PRODUCT = 8.0  # of the two, at least: either one can be large in a pan or a fade, both only in a cut
CUT_MEMORY_SECONDS = 0.5  # a cut shows what was not to be seen for so long
CUT_PAUSE_SECONDS = 0.25  # between two cuts
COLOR_BINS = 8  # of the histogram, in each of R, G and B
BUCKET_SECONDS = 1.0  # a token that was taken comes back after this long
TIME_TOLERANCE_SECONDS = 1e-6  # times are sums of floats


@dataclass(frozen=True, slots=True)
class Selection:
    """What was decided about one frame."""

    kept: bool  # the frame is encoded
    cut: bool  # kept, and the first frame of a new scene
    motion: float  # the selector's own measure of the frame
    threshold: float  # what `motion` had to exceed at that moment; infinite while the ceiling is reached


class FrameSelector(Protocol):
    """Decides about frames one by one; deterministic, causal, and free to keep state. One stream, one selector."""

    def select(self, frame: Frame) -> Selection:
        """Decide about the next frame; times increase, the size of pictures may change in mid-stream."""
        ...

    def limit(self, per_second: int) -> None:
        """Keep at most so many frames in any second from now on."""
        ...


class CutDetector:
    """Finds the first frame of a new scene, at a cost of well under a millisecond.

    A cut differs in colors and in brightness from the frame before it and from all frames of the last half second:
    the return from a flash of light is none, and a strobe is at most one. A fade changes too little from frame to
    frame; a very short one counts once.
    """

    def __init__(self) -> None:
        self._recent: deque[tuple[float, np.ndarray, np.ndarray]] = deque()  # time, grey, histogram
        self._newest_cut_seconds: float | None = None

    def is_cut(self, frame: Frame) -> bool:
        """Whether a scene begins with this frame; the first frame of the stream is no cut."""
        now = frame.pts_seconds
        small = cv2.resize(frame.data, CUT_SIZE, interpolation=cv2.INTER_AREA)
        grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
        counts = cv2.calcHist([small], [0, 1, 2], None, [COLOR_BINS] * 3, [0, 256] * 3)
        histogram = counts.ravel() / grey.size
        recent = self._recent
        while len(recent) > 1 and now - recent[0][0] > CUT_MEMORY_SECONDS:
            recent.popleft()
        differs = bool(recent) and all(
            _is_other_scene(grey, histogram, other_grey, other_histogram)
            for _, other_grey, other_histogram in reversed(recent)  # the newest first: it mostly settles the matter
        )
        recent.append((now, grey, histogram))
        since = self._newest_cut_seconds
        if not differs or (since is not None and now - since < CUT_PAUSE_SECONDS):
            return False
        self._newest_cut_seconds = now
        return True


def _is_other_scene(grey: np.ndarray, histogram: np.ndarray, other_grey: np.ndarray, other: np.ndarray) -> bool:
    difference = cv2.norm(grey, other_grey, cv2.NORM_L1) / grey.size
    moved = cv2.norm(histogram, other, cv2.NORM_L1) / 2
    return difference > CUT_DIFFERENCE and moved > CUT_HISTOGRAM and difference * moved > CUT_PRODUCT


class TokenBucket:
    """At most `capacity` frames in any one second: a kept frame takes a token, which comes back a second later."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._taken: deque[float] = deque()

    def fraction_left(self, now: float) -> float:
        """The share of the tokens that is there at a time in seconds, 0 to 1."""
        while self._taken and now - self._taken[0] > BUCKET_SECONDS:
            self._taken.popleft()
        return max(0.0, 1 - len(self._taken) / self.capacity)

    def take(self, now: float) -> None:
        """Take a token for a frame kept at a time in seconds; there must be one."""
        self._taken.append(now)


class Guards:
    """First frame, cuts, heartbeat and ceiling round a threshold.

    The threshold is divided by the share of tokens left, to the power `steepness`, so that the frames of most motion
    get the last ones. Nothing passes an empty bucket, not even a cut: the scene's first frame is then the next one for
    which there is a token, and it is that one whose Selection reports the cut.
    """

    def __init__(self, options: Options, *, steepness: int = 1) -> None:
        self._steepness = steepness
        self._heartbeat_seconds = options.heartbeat_seconds
        self._bucket = TokenBucket(options.max_kept_per_second)
        self._cuts = CutDetector()
        self._cut_waits = False
        self._newest_kept_seconds: float | None = None

    def limit(self, per_second: int) -> None:
        """Set the ceiling of kept frames."""
        self._bucket.capacity = per_second

    def decide(self, frame: Frame, motion: float, threshold: float) -> Selection:
        """Keep the frame if its motion exceeds the risen threshold, or for one of the reasons above."""
        now = frame.pts_seconds
        self._cut_waits = self._cuts.is_cut(frame) or self._cut_waits
        left = self._bucket.fraction_left(now)
        risen = threshold / left**self._steepness if left else float("inf")
        newest = self._newest_kept_seconds
        due = newest is None or now - newest >= self._heartbeat_seconds - TIME_TOLERANCE_SECONDS
        if not left or not (due or self._cut_waits or motion > risen):
            return Selection(kept=False, cut=False, motion=motion, threshold=risen)
        cut, self._cut_waits = self._cut_waits, False
        self._newest_kept_seconds = now
        self._bucket.take(now)
        return Selection(kept=True, cut=cut, motion=motion, threshold=risen)
