"""Short-term memory: the newest encoded frames, of which a few are drawn for a question (paper section 3.3).

And the last seconds as they were shown, kept by the selector or not: the present is never given less of than a plain
window of recent frames would give (SimpleStream, arXiv 2604.02317).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np

from streamchat.types import EncodedFrame, Frame

SAME_PICTURE_SECONDS = 0.5  # two frames nearer in time than this show the same


def draw(
    frames: Sequence[EncodedFrame], count: int, *, decay: float, rng: np.random.Generator
) -> tuple[EncodedFrame, ...]:
    """Draw `count` of the candidate frames without replacement, and give them in time order.

    `frames` are in time order. The weight of a frame is exp(-age / decay), its age counted in frames from the newest,
    which has age 0: what was seen last is remembered best. (The released code weighs the oldest highest.)
    """
    if len(frames) <= count:
        return tuple(frames)
    ages = np.arange(len(frames))[::-1]
    weights = np.exp(-ages / decay)
    drawn = rng.choice(len(frames), size=count, replace=False, p=weights / weights.sum())
    return tuple(frames[index] for index in sorted(drawn))


def last_seconds(frames: Sequence[Frame], newest: Frame, most: int) -> list[Frame]:
    """The newest frame, and of frames in time order, one a second, the newest before it that show another picture."""
    earlier = [frame for frame in frames if newest.pts_seconds - frame.pts_seconds >= SAME_PICTURE_SECONDS]
    return [*earlier[max(0, len(earlier) - most + 1) :], newest]


class OnePerSecond:
    """The newest frames of a stream, one a second: the first of each second that begins after the one before ended."""

    def __init__(self, most: int) -> None:
        self._frames: deque[Frame] = deque(maxlen=most)
        self._next_seconds = 0.0

    def add(self, frame: Frame) -> bool:
        """Take the next frame if its time has come; True if it was taken."""
        if frame.pts_seconds < self._next_seconds:
            return False
        self._next_seconds = frame.pts_seconds + 1
        self._frames.append(frame)
        return True

    @property
    def frames(self) -> tuple[Frame, ...]:
        """Those at hand, in time order."""
        return tuple(self._frames)
