"""What a stream did so far, for people to look at: kept frames over time, and the newest motion. Of bounded size."""

from __future__ import annotations

import threading
from collections import deque
from typing import NamedTuple

from streamchat.types import Frame

STRIP_BINS = 1000  # about as many as a screen can show side by side
FIRST_BIN_SECONDS = 0.1
MOTION_SAMPLES = 200
MOTION_STEP_SECONDS = 0.1  # between two samples: they reach 20 s back


class Motion(NamedTuple):
    """The motion of one frame against the threshold of that moment; infinite while the ceiling is reached."""

    seconds: float
    motion: float
    threshold: float


class Strip(NamedTuple):
    """How many frames were kept in each stretch of time, from 0 on."""

    bin_seconds: float
    counts: tuple[int, ...]


class History:
    """Thread-safe. Bins of the strip are joined two by two when there are too many, so that any length fits."""

    def __init__(self, kept: Strip = Strip(FIRST_BIN_SECONDS, ())) -> None:  # noqa: B008 - it is immutable
        self._lock = threading.Lock()
        self._bin_seconds = kept.bin_seconds
        self._counts = list(kept.counts)
        self._motion: deque[Motion] = deque(maxlen=MOTION_SAMPLES)

    def add(self, frame: Frame, *, kept: bool, motion: float, threshold: float) -> None:
        """Note one frame; times increase."""
        seconds = frame.pts_seconds
        with self._lock:
            if kept:
                self._count(seconds)
            if not self._motion or seconds - self._motion[-1].seconds >= MOTION_STEP_SECONDS:
                self._motion.append(Motion(seconds, motion, threshold))

    def _count(self, seconds: float) -> None:
        while seconds >= STRIP_BINS * self._bin_seconds:
            pairs = zip(self._counts[::2], [*self._counts[1::2], 0], strict=False)
            self._counts = [first + second for first, second in pairs]
            self._bin_seconds *= 2
        index = int(seconds / self._bin_seconds)
        self._counts += [0] * (index + 1 - len(self._counts))
        self._counts[index] += 1

    def kept(self) -> Strip:
        """The kept frames over the whole stream."""
        with self._lock:
            return Strip(self._bin_seconds, tuple(self._counts))

    def motion(self, after_seconds: float = -1.0) -> tuple[Motion, ...]:
        """The newest samples of motion later than a time, in time order."""
        with self._lock:
            return tuple(sample for sample in self._motion if sample.seconds > after_seconds)
