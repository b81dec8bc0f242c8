"""Alerts, such as "tell me when a dog appears": each new leaf is checked, a hit is kept until it is shown."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from streamchat.errors import InputError
from streamchat.models.base import Model
from streamchat.models.scheduler import CancelToken, Priority
from streamchat.session.checked import MOST_REASON_CHARACTERS, checked_text
from streamchat.session.questions import check_question
from streamchat.types import Caption, Clip, Evidence

MOST_ALERTS = 8  # questions at once: each costs a check of every leaf
MOST_HITS = 100  # that wait to be taken; the oldest go first
MOST_CHARACTERS = 300  # of a question


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertHit:
    """What an alert waited for."""

    question: str
    reason: str
    evidence: Evidence


class Alerts:
    """The questions of one stream. Thread-safe: they may be changed while leaves are checked."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._showing: dict[str, bool] = {}  # by question: whether the leaf before showed it
        self._hits: deque[AlertHit] = deque(maxlen=MOST_HITS)

    @property
    def questions(self) -> tuple[str, ...]:
        """The questions, in the order in which they were set."""
        return tuple(self._showing)

    def set(self, questions: Sequence[str]) -> None:
        """Wait for these from now on, and for no others; raises InputError for too many or too long ones."""
        if not isinstance(questions, list | tuple) or not all(isinstance(text, str) for text in questions):
            raise InputError("alerts are a list of texts")
        wanted = list(dict.fromkeys(" ".join(text.split()) for text in questions if text.strip()))
        if len(wanted) > MOST_ALERTS:
            raise InputError(f"at most {MOST_ALERTS} alerts at once, got {len(wanted)}: remove one")
        for text in wanted:
            check_question(text)
            if len(text) > MOST_CHARACTERS:
                raise InputError(f"an alert may have {MOST_CHARACTERS} characters, got {len(text)}")
        with self._lock:
            self._showing = {text: self._showing.get(text, False) for text in wanted}

    def check(self, model: Model, clip: Clip, caption: Caption, keyframe: bytes | None, cancel: CancelToken) -> None:
        """Ask the model of a new leaf; what goes on from one leaf to the next is reported once."""
        for question in self.questions:
            with model.scheduler(Priority.ALERT).slot(Priority.ALERT, cancel) as token:
                reason = model.check_alert(question, clip, caption, token)
            if reason is not None:
                reason = checked_text(reason, MOST_REASON_CHARACTERS)
            with self._lock:
                if question not in self._showing:  # it was removed in the meantime
                    continue
                before, self._showing[question] = self._showing[question], reason is not None
                if reason is not None and not before:
                    evidence = Evidence(span=clip.span, caption=caption.text, keyframe=keyframe)
                    self._hits.append(AlertHit(question=question, reason=reason, evidence=evidence))

    def take_hits(self) -> list[AlertHit]:
        """The hits since the last call, in time order."""
        with self._lock:
            hits = list(self._hits)
            self._hits.clear()
            return hits
