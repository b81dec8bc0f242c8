"""Which frames of a recorded video are looked at: so many a second, evenly, wherever reading begins."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from streamchat.types import Frame

TOLERANCE = 1e-6  # of a slot; times are sums of floats


class Sampling:
    """Divides time into slots of equal length and takes the first frame of each; with `per_second` None, every frame.

    `after_seconds` is the time of the last frame that was taken before, if reading goes on from there.
    """

    def __init__(self, per_second: float | None, after_seconds: float | None = None) -> None:
        self._per_second = per_second
        self._newest = -1 if after_seconds is None else self._slot(after_seconds)

    def takes(self, seconds: float) -> bool:
        """Whether the next frame, at this time of the stream, is taken."""
        if self._per_second is None:
            return True
        slot = self._slot(seconds)
        taken = slot > self._newest
        self._newest = max(slot, self._newest)
        return taken

    def _slot(self, seconds: float) -> int:
        return math.floor(seconds * (self._per_second or 0) + TOLERANCE)


def sampled(frames: Iterable[Frame], per_second: float | None) -> Iterator[Frame]:
    """The frames of a video that are looked at, of all its frames from the start."""
    sampling = Sampling(per_second)
    return (frame for frame in frames if sampling.takes(frame.pts_seconds))
