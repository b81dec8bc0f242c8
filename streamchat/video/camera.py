"""A live camera as a source of frames: whoever has the pictures pushes them, the session reads."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator

import cv2
import numpy as np

from streamchat.channel import Channel
from streamchat.errors import InputError
from streamchat.types import Frame
from streamchat.video.images import fit_within

MOST_SECONDS = 30 * 86_400.0  # of a stream


class PushSource:
    """Frames pushed by a live camera, of which the oldest is dropped when the reader is behind.

    A frame that is not later than the one before it is dropped too: time only goes forward. Both kinds are counted in
    `dropped`. `index` counts the frames pushed, so that a gap shows a dropped one.
    """

    def __init__(self, *, capacity: int = 32, max_side: int = 768) -> None:
        self._channel: Channel[Frame] = Channel(capacity, when_full="drop_oldest")
        self._max_side = max_side
        self._lock = threading.Lock()
        self._newest_seconds = -math.inf
        self._pushed = 0
        self._out_of_order = 0

    @property
    def dropped(self) -> int:
        """Frames dropped so far: too many queued, or not later than the one before."""
        return self._channel.dropped + self._out_of_order

    def push(self, rgb: np.ndarray, pts_seconds: float) -> None:
        """Hand over one picture, uint8 [H, W, 3] RGB, from any thread; nothing happens after `close`.

        Raises InputError for another shape or type, or a time that is negative or beyond a month.
        """
        if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or 0 in rgb.shape:
            raise InputError(f"a pushed frame must be uint8 [H, W, 3] RGB, got {rgb.dtype} {list(rgb.shape)}")
        if not 0 <= pts_seconds <= MOST_SECONDS:
            raise InputError(f"the time of a pushed frame must be 0 to {MOST_SECONDS:.0f} seconds, got {pts_seconds}")
        size = fit_within(rgb.shape[1], rgb.shape[0], self._max_side)
        own = np.array(rgb, order="C")  # the caller may use its buffer again
        scaled = own if size == rgb.shape[1::-1] else cv2.resize(own, size, interpolation=cv2.INTER_AREA)
        with self._lock:
            index = self._pushed
            self._pushed += 1
            if pts_seconds <= self._newest_seconds:
                self._out_of_order += 1
                return
            self._newest_seconds = pts_seconds
            self._channel.put(Frame(scaled, pts_seconds, index))

    def __iter__(self) -> Iterator[Frame]:
        return iter(self._channel)

    def close(self, error: BaseException | None = None) -> None:
        """End the stream; `error` is raised in whoever reads it, after the frames before it."""
        self._channel.close(error)
