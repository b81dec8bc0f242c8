"""Who a model serves next, how many at once, and how its work is cancelled.

Models do no scheduling of their own: whoever calls one takes a slot of its scheduler first, and gives the call the
slot's token, which the model checks between tokens, or between the steps of its work.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import TypeVar

T = TypeVar("T")

LISTENING_SECONDS = 0.25  # a stream whose reader takes no longer than this for a piece is not interrupted


class Priority(IntEnum):
    """Who goes first; the smaller number."""

    QUESTION = 0
    ALERT = 1
    CAPTION = 2
    BACKGROUND = 3


class CancelledError(Exception):
    """The work was cancelled; nobody wants its result."""


class CancelToken:
    """Says whether work is to end early. Thread-safe; `parent` cancels its children too, and not the other way."""

    def __init__(self, parent: CancelToken | None = None) -> None:
        self._changed = threading.Condition()
        self._cancelled = False
        self._callbacks: dict[object, Callable[[], None]] = {}
        self._parent = parent
        self._detach = None if parent is None else parent.on_cancel(self.cancel)

    @property
    def cancelled(self) -> bool:
        """Whether `cancel` was called."""
        return self._cancelled

    def cancel(self) -> None:
        """End the work: the callbacks run at once, in this thread, each only once."""
        with self._changed:
            self._cancelled = True
            callbacks = list(self._callbacks.values())
            self._callbacks.clear()
            self._changed.notify_all()
        for callback in callbacks:
            callback()

    def raise_if_cancelled(self) -> None:
        """Raise CancelledError if `cancel` was called."""
        if self._cancelled:
            raise CancelledError

    def check(self) -> None:
        """Called by a model between tokens, or between steps of its work: raises CancelledError if it is to end.

        The token of a slot also lets more important work go first.
        """
        self.raise_if_cancelled()

    def wait(self, seconds: float) -> bool:
        """Wait so long, or until `cancel` is called; whether it was."""
        with self._changed:
            return self._changed.wait_for(lambda: self._cancelled, seconds)

    def on_cancel(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call something when `cancel` is called, now if it was; returns what takes it back."""
        key = object()
        with self._changed:
            if not self._cancelled:
                self._callbacks[key] = callback
                return lambda: self._forget(key)
        callback()
        return lambda: None

    def _forget(self, key: object) -> None:
        with self._changed:
            self._callbacks.pop(key, None)

    def detach(self) -> None:
        """Let the parent forget this token: its work is done."""
        if self._detach is not None:
            self._detach()


class _Never(CancelToken):
    def cancel(self) -> None:
        """Refuse: this token is everyone's."""
        raise RuntimeError("this token is never cancelled: make one of your own")

    def on_cancel(self, callback: Callable[[], None]) -> Callable[[], None]:  # noqa: ARG002
        """Keep nothing: it would never be called."""
        return lambda: None


NEVER: CancelToken = _Never()  # for work that nobody ends early


class _SlotToken(CancelToken):
    """The token of work that holds a slot: checking it lets more important work go first."""

    def __init__(self, scheduler: Scheduler, priority: Priority, parent: CancelToken) -> None:
        super().__init__(parent)
        self._scheduler, self._priority = scheduler, priority

    def check(self) -> None:
        self._scheduler.give_way(self._priority, self)
        self.raise_if_cancelled()


class Scheduler:
    """Slots that as many callers hold at a time as there is capacity; who waits gets one by priority, then arrival.

    A model that `preempts` serves nobody less important while it serves a question: captions pause between tokens. One
    that does not, such as a server, serves them side by side; then captions and the like hold half of the slots at
    most, so that a question finds one free.
    """

    def __init__(self, capacity: int = 1, *, preempts: bool = True) -> None:
        if capacity < 1:
            raise ValueError(f"a scheduler has a capacity of 1 or more, got {capacity}")
        self.capacity = capacity
        self._preempts = preempts
        self._changed = threading.Condition()
        self._held = dict.fromkeys(Priority, 0)
        self._arrivals = 0
        self._queue: list[tuple[Priority, int]] = []
        self._reserved_for = Priority.BACKGROUND  # until then, only those at least this important may enter
        self._reserved_until = 0.0

    @contextmanager
    def slot(self, priority: Priority, cancel: CancelToken = NEVER) -> Iterator[CancelToken]:
        """Hold a slot for the length of a `with` block, and get the token to give to the model.

        Raises CancelledError if `cancel` is cancelled before there is a slot.
        """
        token = _SlotToken(self, priority, cancel)
        try:
            self._enter(priority, token)
            try:
                yield token
            finally:
                self._leave(priority)
        finally:
            token.detach()

    @contextmanager
    def free_slot(self, priority: Priority, cancel: CancelToken = NEVER) -> Iterator[CancelToken | None]:
        """As `slot`, if one is free at once; else None: work that can be done at any time does not queue."""
        with self._changed:
            free = not self._queue and self._may_enter((priority, 0), time.monotonic())
            self._held[priority] += free
        if not free:
            yield None
            return
        token = _SlotToken(self, priority, cancel)
        try:
            yield token
        finally:
            self._leave(priority)
            token.detach()

    def stream(
        self, begin: Callable[[CancelToken], Generator[T, None, None]], priority: Priority, cancel: CancelToken = NEVER
    ) -> Generator[T, None, None]:
        """The pieces of work that `begin` starts with its token; closing this closes the work.

        A model that preempts holds its slot only while it makes a piece, and for a moment while the reader takes it, so
        that a slow reader holds up nobody; another holds it from the first piece to the last.
        """
        if not self._preempts:
            with self.slot(priority, cancel) as token:
                yield from begin(token)
            return
        token = CancelToken(cancel)
        pieces = begin(token)
        try:
            while True:
                self._enter(priority, token)
                try:
                    piece = next(pieces, None)
                finally:
                    self._leave(priority, reserve_seconds=LISTENING_SECONDS)
                if piece is None:
                    return
                yield piece
        finally:
            pieces.close()
            token.detach()
            self.release()

    def release(self) -> None:
        """Reserve a slot for nobody any more."""
        with self._changed:
            self._reserved_until = 0.0
            self._changed.notify_all()

    def give_way(self, priority: Priority, cancel: CancelToken) -> None:
        """Called with a slot held, between tokens: let those who come before `priority` go first, then go on."""
        if not self._preempts:
            return
        with self._changed:
            asked = priority > Priority.QUESTION and self._held[Priority.QUESTION] > 0
            if not asked and not any(queued < (priority, 0) for queued in self._queue):
                return
        self._leave(priority)
        try:
            self._enter(priority, cancel)
        except CancelledError:
            with self._changed:
                self._held[priority] += 1  # the end of the `with` block gives it back
            raise

    def _enter(self, priority: Priority, cancel: CancelToken) -> None:
        forget = cancel.on_cancel(self._wake)
        try:
            with self._changed:
                self._arrivals += 1
                ticket = (priority, self._arrivals)
                self._queue.append(ticket)
                try:
                    while not self._may_enter(ticket, now := time.monotonic()):
                        cancel.raise_if_cancelled()
                        left = self._reserved_until - now  # the same moment: else the time might end between the two
                        self._changed.wait(left if left > 0 else None)
                    cancel.raise_if_cancelled()
                    self._held[priority] += 1
                finally:  # an interrupted wait must not leave a ticket that blocks everyone
                    self._queue.remove(ticket)
                    self._changed.notify_all()
        finally:
            forget()

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _may_enter(self, ticket: tuple[Priority, int], now: float) -> bool:
        priority = ticket[0]
        if sum(self._held.values()) >= self.capacity or min(self._queue, default=ticket) != ticket:
            return False
        if self._preempts and priority > Priority.QUESTION and self._held[Priority.QUESTION]:
            return False
        if not self._preempts and priority > Priority.QUESTION:
            others = sum(held for other, held in self._held.items() if other > Priority.QUESTION)
            if others >= max(1, self.capacity // 2):
                return False
        return priority <= self._reserved_for or now >= self._reserved_until

    def _leave(self, priority: Priority, *, reserve_seconds: float = 0.0) -> None:
        with self._changed:
            self._held[priority] -= 1
            if reserve_seconds:
                self._reserved_for, self._reserved_until = priority, time.monotonic() + reserve_seconds
            self._changed.notify_all()
