"""Whose turn it is on the model: a question goes before a caption, and a caption offers its turn between tokens."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum


class Priority(IntEnum):
    """Who goes first; the smaller number."""

    QUESTION = 0
    CAPTION = 1


class Gate:
    """A turn that as many callers hold at a time as there is capacity; who waits gets it by priority, then arrival.

    Of several turns captions hold half at most, so that a question that comes finds one free.
    """

    def __init__(self, capacity: int = 1) -> None:
        if capacity < 1:
            raise ValueError(f"a gate has a capacity of 1 or more, got {capacity}")
        self._capacity = capacity
        self._changed = threading.Condition()
        self._held = dict.fromkeys(Priority, 0)
        self._arrivals = 0
        self._waiting: list[tuple[Priority, int]] = []
        self._kept_for = Priority.CAPTION  # until then, only those at least this important may enter
        self._kept_until = 0.0

    def _enter(self, priority: Priority) -> None:
        with self._changed:
            self._arrivals += 1
            ticket = (priority, self._arrivals)
            self._waiting.append(ticket)
            try:
                while not self._may_enter(ticket, now := time.monotonic()):
                    left = self._kept_until - now  # the same moment: else the time might end unnoticed between the two
                    self._changed.wait(left if left > 0 else None)
                self._held[priority] += 1
            finally:  # an interrupted wait must not leave a ticket that blocks everyone
                self._waiting.remove(ticket)
                self._changed.notify_all()

    def _may_enter(self, ticket: tuple[Priority, int], now: float) -> bool:
        if sum(self._held.values()) >= self._capacity or min(self._waiting) != ticket:
            return False
        if ticket[0] is Priority.CAPTION and self._held[Priority.CAPTION] >= max(1, self._capacity // 2):
            return False
        return ticket[0] <= self._kept_for or now >= self._kept_until

    def _leave(self, priority: Priority, keep_seconds: float) -> None:
        with self._changed:
            self._held[priority] -= 1
            self._kept_for, self._kept_until = priority, time.monotonic() + keep_seconds
            self._changed.notify_all()

    @contextmanager
    def turn(self, priority: Priority, *, keep_seconds: float = 0.0) -> Iterator[None]:
        """Hold the turn for the length of a `with` block.

        For `keep_seconds` after it, nobody less important gets in, so that who takes one short turn after the other is
        not interrupted; `let_go` ends that.
        """
        self._enter(priority)
        try:
            yield
        finally:
            self._leave(priority, keep_seconds)

    def let_go(self) -> None:
        """Keep the turn for nobody any more."""
        with self._changed:
            self._kept_until = 0.0
            self._changed.notify_all()

    def offer(self, priority: Priority) -> None:
        """Called by the holder between tokens: let those who come before `priority` go first, then go on."""
        with self._changed:
            if not any(waiting < (priority, 0) for waiting in self._waiting):
                return
        self._leave(priority, 0.0)
        self._enter(priority)
