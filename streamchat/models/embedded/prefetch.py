"""Frames analyzed ahead of any question, while there is nothing else to do."""

from __future__ import annotations

import threading
import time
import weakref
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from streamchat.models.embedded.frame_analysis import FrameAnalyzer
from streamchat.models.scheduler import CancelToken
from streamchat.types import Frame

FRAMES = 32  # the newest that were encoded, of all streams; about as many as a leaf is made of
PAUSE_SECONDS = 1.0  # without a new frame, after which those before the newest are analyzed


@dataclass(frozen=True, slots=True)
class _Encoded:
    """A frame that was encoded; its picture is not kept alive."""

    data: weakref.ref[np.ndarray]
    pts_seconds: float
    index: int


class Prefetch:
    """The newest encoded frames, of which those that are still in a memory may be analyzed. Thread-safe."""

    def __init__(self, analyzer: FrameAnalyzer) -> None:
        self._analyzer = analyzer
        self._lock = threading.Lock()
        self._encoded: deque[_Encoded] = deque(maxlen=FRAMES)
        self._added_seconds = 0.0  # on the monotonic clock

    def add(self, frames: Sequence[Frame]) -> None:
        """Note frames that were encoded, in time order."""
        with self._lock:
            self._encoded.extend(_Encoded(weakref.ref(one.data), one.pts_seconds, one.index) for one in frames)
            self._added_seconds = time.monotonic()

    def newest(self, cancel: CancelToken) -> bool:
        """Analyze the newest frame; False if that was done. Raises CancelledError in the middle of it."""
        return self._analyze(self._frames()[-1:], cancel)

    def backfill(self, cancel: CancelToken) -> bool:
        """Analyze one of the frames before it, the newest first; False if all were, or frames still come."""
        with self._lock:
            paused = time.monotonic() - self._added_seconds >= PAUSE_SECONDS
        return paused and self._analyze(self._frames(), cancel)

    def _frames(self) -> list[Frame]:
        """The frames that are still in use."""
        with self._lock:
            encoded = [(one, one.data()) for one in self._encoded]
        return [Frame(data, one.pts_seconds, one.index) for one, data in encoded if data is not None]

    def _analyze(self, frames: Sequence[Frame], cancel: CancelToken) -> bool:
        frame = next((one for one in reversed(frames) if not self._analyzer.has_analyzed(one)), None)
        if frame is None:
            return False
        self._analyzer.analyze([frame], cancel.check)
        return True
