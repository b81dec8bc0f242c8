"""Work that fails now and then is tried again, with pauses that grow, and what is wrong meanwhile is said."""

from __future__ import annotations

import logging
import threading

from streamchat.errors import StreamChatError

log = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS = 0.5
MOST_PAUSE_SECONDS = 30.0
GROWTH = 2.0
MOST_GROWTHS = 60  # more is no number any longer


class Failures:
    """What fails at the moment, by the kind of work; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reasons: dict[str, str] = {}
        self._failures: dict[str, int] = {}

    @property
    def reason(self) -> str | None:
        """Why the session is degraded, in words for people; None if all works."""
        with self._lock:
            return "; ".join(f"{work} fails: {reason}" for work, reason in self._reasons.items()) or None

    def failed(self, work: str, error: Exception) -> float:
        """Note that a kind of work failed; how long to wait before it is tried again, in seconds."""
        reason = str(error) if isinstance(error, StreamChatError) else f"{type(error).__name__}: {error}"
        with self._lock:
            failures = self._failures[work] = self._failures.get(work, 0) + 1
            self._reasons[work] = reason
        if failures == 1:  # the first of a row, with where it came from if no one has foreseen it
            log.warning(
                "%s failed, and is tried again: %s", work, reason, exc_info=not isinstance(error, StreamChatError)
            )
        return min(MOST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * GROWTH ** min(failures - 1, MOST_GROWTHS))

    def worked(self, work: str) -> None:
        """Note that a kind of work was done: its next failure is a first one."""
        with self._lock:
            if self._failures.pop(work, 0):
                log.warning("%s works again", work)
            self._reasons.pop(work, None)
