"""Which of the things noted a question means: by name, time and side."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from streamchat.models.embedded.lexicon import Kind, Time
from streamchat.models.embedded.notes import Notes
from streamchat.models.embedded.observation import Observation
from streamchat.models.embedded.questions import Question, Target, words_of

TOGETHER_SECONDS = 0.6  # what began within this long of each other began together
MOMENT_SECONDS = 1.5  # a thing seen within this long of a time that is named counts as seen then
PRESENT = re.compile(r"\b(is|are|do you see|can you see)\b|'s\b")
PAST = re.compile(r"\b(was|were|did|had|has been|have been|came|went|passed|shown|seen)\b")


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer with the observations that it rests on."""

    text: str
    rests_on: tuple[Observation, ...] = ()
    found_nothing: bool = False  # nothing was noticed of what the question asks for
    of_all: bool = False  # it speaks of all that was shown, so that it matters whether all was analyzed


@dataclass(frozen=True, slots=True)
class QueryContext:
    """A question with what is known."""

    question: Question
    notes: Notes
    similar: Callable[[str, frozenset[str]], frozenset[str]]  # those of some labels that mean the same as a word

    def labels_of(self, target: Target) -> frozenset[str]:
        """The labels that a subject stands for, of those that were noted at all."""
        noted = frozenset(name for one in self.notes.things() for name in (one.label, one.detail) if name)
        if target.labels:
            return target.labels
        return frozenset() if target.part else self.similar(target.word, noted)

    def labels_of_word(self, word: str) -> frozenset[str]:
        """As `labels_of`, for a word."""
        return self.labels_of(Target(word))

    def things_of(self, target: Target) -> list[Observation]:
        """Everything noted of a subject, in time order."""
        labels = self.labels_of(target)
        return self.notes.things(labels) if labels else self.texts_with(target.word)

    def texts_with(self, word: str) -> list[Observation]:
        """The texts read on the screen that hold a word, in time order."""
        return [one for one in self.notes.of("text") if word in words_of(one.label)]


def chosen(query: QueryContext, candidates: Sequence[Observation]) -> list[Observation]:
    """Those of some observations, in time order, that fit the time and the side that the question speaks of.

    [] if none fits. A question in the present means what is there now, or else what was there last.
    """
    question, notes = query.question, query.notes
    found = [one for one in candidates if not question.side or question.side in one.place]
    if question.main_colors and question.kind is not Kind.COLOR:
        found = [one for one in found if set(question.main_colors) & set(one.colors)]
    if not found:
        return []
    if question.time is Time.NOW:
        return notes.now(found)
    if question.time is Time.FIRST:
        return _starting_with(found, min(one.span.start for one in found))
    if question.time is Time.LAST:
        return _starting_with(found, max(one.span.start for one in found))
    if question.time is Time.MOMENT and question.moment_seconds is not None:
        at = question.moment_seconds
        return [one for one in found if one.span.start - MOMENT_SECONDS <= at <= one.span.end + MOMENT_SECONDS]
    if question.time in (Time.BEFORE, Time.AFTER):
        return _beside_anchor(query, found)
    if PRESENT.search(question.text) and not PAST.search(question.text):
        return notes.now(found) or found
    return found


def _starting_with(found: Sequence[Observation], start: float) -> list[Observation]:
    return [one for one in found if abs(one.span.start - start) <= TOGETHER_SECONDS]


def _beside_anchor(query: QueryContext, found: Sequence[Observation]) -> list[Observation]:
    """What came just before, or just after, the thing that the question names; without one, what is gone now."""
    question, notes = query.question, query.notes
    anchors = [one for target in question.anchor for one in query.things_of(target)]
    if not anchors:
        if question.time is Time.AFTER or any(not target.known for target in question.anchor):
            return []
        gone = [one for one in found if not notes.is_now(one)]
        return _starting_with(gone, max(one.span.start for one in gone)) if gone else []
    at = anchors[0].span.start
    others = [one for one in found if all(one is not anchor and one.label != anchor.label for anchor in anchors)]
    if question.time is Time.AFTER:
        later = [one for one in others if one.span.start > at]
        return _starting_with(later, min(one.span.start for one in later)) if later else []
    earlier = [one for one in others if one.span.start < at]
    return _starting_with(earlier, max(one.span.start for one in earlier)) if earlier else []


def best_per_label(found: Sequence[Observation], at_most: int) -> list[Observation]:
    """The surest observation of each name, in time order, detector's before classifier's."""
    best: dict[str, Observation] = {}
    for one in sorted(found, key=lambda one: (one.kind == "tag", -one.score)):
        best.setdefault(one.detail or one.label, one)
    return sorted(list(best.values())[:at_most], key=lambda one: one.span)
