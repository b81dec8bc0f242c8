"""What a judge does, and the base of those that are language models."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

PROMPT_VERSION = "1"
SYSTEM = (
    "You grade answers to questions about a video. You see a question, the reference answer, and the answer to grade. "
    "Judge only whether the answer says what the reference says; wording, length and style do not matter. An answer "
    "that says it does not know is not correct."
)
ASK = (
    "Question: {question}\nReference answer: {reference}\nAnswer to grade: {answer}\n\n"
    'Reply with nothing but JSON: {{"correct": "yes" or "no", "score": a whole number from 0 (wrong) to 5 (the same)}}'
)
AGAIN = "That was not the JSON that was asked for. Reply with it and nothing else."
HIGHEST = 5
STAND_IN = "a stand-in"
ANOTHER = "another one than the paper's"


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """An answer to be graded."""

    question: str
    reference: str
    answer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Grade:
    """What a judge says of an answer; ungraded, with the reason, is a value of its own and never zero."""

    correct: bool | None = None
    score: float | None = None  # 0 to 5
    ungraded: str | None = None  # why there is no grade


class Judge(Protocol):
    """Grades answers; made by the `build(argument)` of a file in this folder."""

    name: str  # with all that tells it from other judges: model, revision, version of the prompt
    caveat: str  # why its figures cannot be compared with published ones; empty for the paper's judge
    batch: int  # answers that are graded at once

    def grade(self, items: Sequence[Item]) -> list[Grade]:
        """A grade for each item."""
        ...


Messages = list[dict[str, str]]


class PromptedJudge(ABC):
    """A language model that is asked for JSON: read strictly, asked once more, then ungraded."""

    name: str
    caveat = ANOTHER
    batch: int

    @abstractmethod
    def reply(self, conversations: Sequence[Messages]) -> list[str]:
        """What the model says to each conversation, greedily."""

    def grade(self, items: Sequence[Item]) -> list[Grade]:
        """A grade for each item, in at most two rounds of asking."""
        asked: list[Messages] = [_messages(item) for item in items]
        replies = self.reply(asked)
        grades = [parse(text) for text in replies]
        again = [number for number, grade in enumerate(grades) if grade.ungraded]
        if again:
            retries = self.reply(
                [
                    [*asked[n], {"role": "assistant", "content": replies[n]}, {"role": "user", "content": AGAIN}]
                    for n in again
                ]
            )
            for number, text in zip(again, retries, strict=True):
                grades[number] = parse(text)
        return grades


def _messages(item: Item) -> Messages:
    text = ASK.format(question=item.question, reference=item.reference, answer=item.answer)
    return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": text}]


def parse(reply: str) -> Grade:
    """The grade in a judge's reply, which must be the JSON asked for, in a code block at most; else ungraded."""
    text = reply.strip().removeprefix("```json").removeprefix("```").removesuffix("```").strip()
    try:
        found: Any = json.loads(text)
    except ValueError:
        return Grade(ungraded=f"the reply is no JSON: {reply[:200]!r}")
    if not isinstance(found, dict) or set(found) != {"correct", "score"}:
        return Grade(ungraded=f"the reply has not just correct and score: {reply[:200]!r}")
    correct, score = found["correct"], found["score"]
    if not isinstance(correct, str) or correct.strip().lower() not in ("yes", "no"):
        return Grade(ungraded=f"correct is neither yes nor no: {correct!r}")
    if isinstance(score, bool) or not isinstance(score, int | float) or score not in range(HIGHEST + 1):
        return Grade(ungraded=f"score is no whole number from 0 to {HIGHEST}: {score!r}")
    return Grade(correct=correct.strip().lower() == "yes", score=float(score))
