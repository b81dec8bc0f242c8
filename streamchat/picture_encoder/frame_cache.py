"""What is known of pictures that were analyzed, for as long as they are kept."""

from __future__ import annotations

import threading
import weakref
from typing import Generic, TypeVar

import numpy as np

T = TypeVar("T")


class WeakFrameCache(Generic[T]):
    """Something of each picture, forgotten with the picture. Safe for any number of threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: dict[int, tuple[weakref.ref[np.ndarray], T]] = {}

    def get(self, picture: np.ndarray) -> T | None:
        """What is known of this very array; None if nothing is."""
        with self._lock:
            known = self._found.get(id(picture))
        return known[1] if known is not None and known[0]() is picture else None

    def put(self, picture: np.ndarray, value: T) -> None:
        """Know something of a picture from now on."""
        key = id(picture)
        with self._lock:
            self._found[key] = (weakref.ref(picture, lambda _: self._found.pop(key, None)), value)
