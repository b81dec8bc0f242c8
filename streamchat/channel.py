"""A bounded, closable hand-off between two threads."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from typing import Generic, Literal, TypeVar

T = TypeVar("T")


class Channel(Generic[T]):
    """First in, first out, at most `capacity` items; says what it does when full and carries errors downstream.

    `when_full="block"` makes the writer wait (a file can be read later); `"drop_oldest"` drops the oldest queued item
    and counts it in `dropped` (a camera cannot wait).
    """

    def __init__(self, capacity: int, *, when_full: Literal["block", "drop_oldest"] = "block") -> None:
        if capacity < 1:
            raise ValueError(f"a channel holds at least 1 item, got capacity {capacity}")
        self._items: deque[T] = deque()
        self._capacity = capacity
        self._when_full = when_full
        self._changed = threading.Condition()
        self._closed = False
        self._error: BaseException | None = None
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._items)

    @property
    def closed(self) -> bool:
        """Whether `close` was called; what was put before may still wait to be taken."""
        return self._closed

    def put(self, item: T) -> bool:
        """Hand an item over; False if the channel is closed and the item was not taken."""
        with self._changed:
            if self._when_full == "block":
                self._changed.wait_for(lambda: self._closed or len(self._items) < self._capacity)
            if self._closed:
                return False
            if len(self._items) == self._capacity:
                self._items.popleft()
                self.dropped += 1
            self._items.append(item)
            self._changed.notify_all()
            return True

    def take(self, at_most: int = 1) -> list[T]:
        """Wait for an item, then return what is queued, up to `at_most`; [] once closed and empty.

        Raises the error that the channel was closed with, after the items before it.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._closed or bool(self._items))
            taken = [self._items.popleft() for _ in range(min(at_most, len(self._items)))]
            self._changed.notify_all()
            if not taken and self._error is not None:
                raise self._error
            return taken

    def close(self, error: BaseException | None = None, *, discard: bool = False) -> None:
        """Accept nothing more. `discard` also throws away what waits; `error` is raised in the reader."""
        with self._changed:
            if not self._closed:
                self._error = error
            self._closed = True
            if discard:
                self._items.clear()
            self._changed.notify_all()

    def __iter__(self) -> Iterator[T]:
        while taken := self.take():
            yield taken[0]
