"""Whose turn it is on the model: a question goes before a caption, and a caption offers its turn between tokens."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum


class Priority(IntEnum):
    """Who goes first; the smaller number."""

    QUESTION = 0
    CAPTION = 1


class Gate:
    """A turn that one caller holds at a time; those who wait get it by priority, then in order of arrival."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._held = False
        self._arrivals = 0
        self._waiting: list[tuple[Priority, int]] = []

    def _enter(self, priority: Priority) -> None:
        with self._changed:
            self._arrivals += 1
            ticket = (priority, self._arrivals)
            self._waiting.append(ticket)
            try:
                self._changed.wait_for(lambda: not self._held and min(self._waiting) == ticket)
                self._held = True
            finally:  # an interrupted wait must not leave a ticket that blocks everyone
                self._waiting.remove(ticket)
                self._changed.notify_all()

    def _leave(self) -> None:
        with self._changed:
            self._held = False
            self._changed.notify_all()

    @contextmanager
    def turn(self, priority: Priority) -> Iterator[None]:
        """Hold the turn for the length of a `with` block."""
        self._enter(priority)
        try:
            yield
        finally:
            self._leave()

    def offer(self, priority: Priority) -> None:
        """Called by the holder between tokens: let those who come before `priority` go first, then go on."""
        with self._changed:
            if not any(waiting < (priority, 0) for waiting in self._waiting):
                return
        self._leave()
        self._enter(priority)
