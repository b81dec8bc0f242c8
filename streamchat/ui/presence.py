"""Which visitors are there: who holds a connection, or said something a moment ago."""

from __future__ import annotations

import threading
import time
from collections import Counter


class Presence:
    """When each visitor was last heard of; thread-safe.

    A page holds a connection open for as long as it stands, and asks twice a second; a client holds one too, and calls.
    `speaker` is who speaks for a visitor: the page's own name, or that of the client whose session it is.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._heard: dict[str, float] = {}  # by visitor: when, on the monotonic clock
        self._speaker: dict[str, str] = {}
        self._connections: Counter[str] = Counter()  # by speaker

    def heard(self, visitor: str, speaker: str | None = None) -> None:
        """Note that a visitor said something."""
        with self._lock:
            self._heard[visitor] = time.monotonic()
            self._speaker[visitor] = speaker or self._speaker.get(visitor, visitor)

    def connected(self, speaker: str, there: bool) -> None:
        """Note that a connection begins or ends: until it ended, those it speaks for were there."""
        with self._lock:
            self._connections[speaker] += 1 if there else -1
            if self._connections[speaker] <= 0:
                del self._connections[speaker]
            for visitor, speaks in self._speaker.items():
                if speaks == speaker:
                    self._heard[visitor] = time.monotonic()

    def silent_seconds(self, visitor: str) -> float:
        """For how long nobody has spoken for a visitor; 0 for who is connected."""
        with self._lock:
            if self._connections[self._speaker.get(visitor, visitor)] > 0:
                return 0.0
            return time.monotonic() - self._heard.get(visitor, -1e9)

    def all(self) -> list[str]:
        """Every visitor that was heard of and not forgotten, the longest silent first."""
        with self._lock:
            visitors = list(self._heard)
        return sorted(visitors, key=self.silent_seconds, reverse=True)

    def forget(self, visitor: str) -> None:
        """Forget a visitor."""
        with self._lock:
            self._heard.pop(visitor, None)
            self._speaker.pop(visitor, None)
