"""From a question and what was noted to an answer, with the moments that it rests on."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace

from streamchat.embedding import TextEmbedder
from streamchat.models.base import retrieved_evidence
from streamchat.models.embedded import answers, scene_answers
from streamchat.models.embedded.alerts import alert_reason
from streamchat.models.embedded.lexicon import Kind
from streamchat.models.embedded.notes import Analyzer, Notes, gather
from streamchat.models.embedded.observation import Observation
from streamchat.models.embedded.query import QueryContext, Reply
from streamchat.models.embedded.questions import Question, parse
from streamchat.types import Caption, Clip, Context, DialogueTurn, Evidence, Span

SAME_MEANING = 0.72  # cosine of two words' vectors; below it "elephant" would match "animal"
MAX_EVIDENCE = 5
ANALYZES_MORE = "Let me look more closely at what came last. "
SECOND_BUDGET_SECONDS = 3.0  # at most
NOT_ALL = " I have not looked at all of it yet."

HANDLERS: dict[Kind, Callable[[QueryContext], Reply]] = {
    Kind.SHOTS: scene_answers.shots,
    Kind.VIEW: scene_answers.view_changed,
    Kind.COUNT: answers.how_many,
    Kind.COLOR: answers.which_color,
    Kind.TEXT: scene_answers.written,
    Kind.TOWARDS: scene_answers.towards,
    Kind.LIGHT: scene_answers.light,
    Kind.CHOICE: scene_answers.choice,
    Kind.WHERE_TO: scene_answers.where_to,
    Kind.PLACE: scene_answers.place,
    Kind.WHERE: answers.where,
    Kind.WHEN: answers.when,
    Kind.WORN: scene_answers.worn,
    Kind.CHANGE: scene_answers.changed,
    Kind.SUMMARY: scene_answers.summary,
    Kind.UNSEEN: scene_answers.unseen,
    Kind.EXISTS: answers.is_there,
    Kind.WHICH: answers.which,
    Kind.WHAT: scene_answers.shown,
}
TALK = {Kind.ABILITIES: scene_answers.ABILITIES, Kind.SMALL_TALK: scene_answers.SMALL_TALK}


class Answerer:
    """Answers questions; `analyzer` sees frames that no caption speaks of yet."""

    def __init__(self, embedder: TextEmbedder, analyzer: Analyzer) -> None:
        self._embedder = embedder
        self._analyzer = analyzer

    def answer(self, context: Context, check: Callable[[], None]) -> Iterator[list[str | Evidence]]:
        """The pieces of the answer, word by word, and then the moments that it rests on, as lists: one, or two.

        If nothing is found in a hurry and not all was analyzed, the first says so, and the second comes once it was,
        or after some seconds. `check` is called between frames, and may end the answer by an error.
        """
        question = parse(context.question)
        if question.leans_on_the_last and context.last_turn is not None:
            question = _with_subject_of(question, context.last_turn)
        if question.kind in TALK:
            yield list(_words(TALK[question.kind]))
            return
        notes = gather(context, self._analyzer, check)
        reply = self._reply(question, notes)
        if reply.found_nothing and not notes.complete:
            yield list(_words(ANALYZES_MORE))
            notes = gather(replace(context, time_budget_seconds=SECOND_BUDGET_SECONDS), self._analyzer, check)
            reply = self._reply(question, notes)
        if (reply.found_nothing or reply.of_all) and not notes.complete:
            reply = replace(reply, text=reply.text + NOT_ALL)
        yield self._pieces(context, notes, reply)

    def _reply(self, question: Question, notes: Notes) -> Reply:
        return HANDLERS[question.kind](QueryContext(question, notes, self._similar))

    def _pieces(self, context: Context, notes: Notes, reply: Reply) -> list[str | Evidence]:
        """A reply in pieces."""
        pieces: list[str | Evidence] = list(_words(reply.text))
        if not reply.rests_on:  # nothing was noticed: what was searched
            return [*pieces, *retrieved_evidence(context)]
        seen: dict[tuple[Span, str, str], Observation] = {}
        for one in reply.rests_on:
            seen.setdefault((one.span, one.kind, one.label), one)
        return pieces + [notes.evidence(one) for one in list(seen.values())[:MAX_EVIDENCE]]

    def check_alert(self, question: str, clip: Clip, caption: Caption) -> str | None:
        """Why a clip is what an alert waits for; None if it is not."""
        return alert_reason(
            question, caption, clip.span.end, similar=self._similar, embed=lambda text: self._embedder.embed([text])[0]
        )

    def _similar(self, word: str, labels: frozenset[str]) -> frozenset[str]:
        """Those labels whose meaning is that of a word."""
        if not labels:
            return frozenset()
        names = sorted(labels)
        vectors = self._embedder.embed([word, *names])
        cosines = vectors[1:] @ vectors[0]
        return frozenset(name for name, cosine in zip(names, cosines, strict=True) if cosine > SAME_MEANING)


def _words(text: str) -> list[str]:
    """A text in words, each with the space after it."""
    return re.findall(r"\S+\s*", text)


def _with_subject_of(question: Question, turn: DialogueTurn) -> Question:
    """A question such as "and after that?" with its subject taken from the round before."""
    before = parse(turn.question)
    said = parse(turn.answer)
    it = re.search(r"\b(it|that|he|she|him|her)\b", question.text) is not None
    known = [target for target in before.targets if target.known]
    from_answer = [target for target in said.targets if target.labels]
    targets = tuple((from_answer[:1] or known) if it else (known or from_answer[:1]))
    if not targets:
        return question
    kind = before.kind if question.kind is Kind.WHAT and question.text.startswith("and ") else question.kind
    if question.kind in (Kind.WHAT, Kind.WHICH) and before.kind is Kind.WHICH:
        kind = Kind.WHICH
    return replace(question, kind=kind, main=targets[0], targets=(*targets, *question.targets))
