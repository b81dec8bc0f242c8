"""What a judge does, and the base of those that are language models."""

from __future__ import annotations

import ast
import hashlib
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from streamchat.errors import InputError

SYSTEM = (
    "You grade answers to questions about a video. You see a question, the reference answer, and the answer to grade. "
    "Judge only whether the answer says what the reference says; wording, length and style do not matter. An answer "
    "that says it does not know is not correct."
)
ASK = (
    "Question: {question}\nReference answer: {reference}\nAnswer to grade: {answer}\n\n"
    'Reply with nothing but JSON: {"correct": "yes" or "no", "score": a whole number from 0 (wrong) to 5 (the same)}'
)
AGAIN = "That was not the JSON that was asked for. Reply with it and nothing else."
AGAIN_IN_ITS_FORM = "That was not in the form that was asked for. Reply in it and with nothing else."
PLACEHOLDER = re.compile(r"\{(question|reference|answer)\}")  # other braces are text
MOST_PROMPT_BYTES = 2**16
HIGHEST = 5
STAND_IN = "a stand-in"
ANOTHER = "another one than the paper's"
PAPERS_MODEL = "the paper's model with"  # begins the caveat of one whose figures are near the published ones


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

    name: str  # with all that distinguishes it from other judges: model, revision, version of the prompt
    caveat: str  # what it is, beside the paper's judge with the paper's prompt
    batch: int  # answers that are graded at once

    def grade(self, items: Sequence[Item]) -> list[Grade]:
        """A grade for each item."""
        ...


Messages = list[dict[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """What a judge that is a language model is asked for every answer, and once more after a reply that is no grade."""

    name: str  # the same for the same prompt only
    origin: str  # for people
    ask: str  # with {question}, {reference} and {answer}
    again: str
    system: str | None = None

    def messages(self, item: Item) -> Messages:
        """The conversation that asks for a grade."""
        text = PLACEHOLDER.sub(lambda found: str(getattr(item, found[1])), self.ask)
        head = [] if self.system is None else [{"role": "system", "content": self.system}]
        return [*head, {"role": "user", "content": text}]


OWN_PROMPT = Prompt(name="prompt version 1", origin="a prompt of our own", ask=ASK, again=AGAIN, system=SYSTEM)


def read_prompt(file: Path) -> Prompt:
    """The prompt in a text file, named by its SHA-256; InputError for a file that is none."""
    try:
        with file.open("rb") as opened:
            data = opened.read(MOST_PROMPT_BYTES + 1)
    except OSError as error:
        raise InputError(f"the prompt {file} cannot be read ({error.strerror}): give --prompt a file of text") from None
    if len(data) > MOST_PROMPT_BYTES:
        raise InputError(f"the prompt {file} has more than the {MOST_PROMPT_BYTES} bytes that are allowed: shorten it")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"the prompt {file} is not text in UTF-8: save it as that") from None
    missing = [name for name in ("question", "reference", "answer") if f"{{{name}}}" not in text]
    if missing:
        lacking = " and ".join(f"{{{name}}}" for name in missing)
        raise InputError(f"the prompt {file} lacks {lacking}: write each where that part of an answer is to stand")
    name = f"prompt {hashlib.sha256(data).hexdigest()[:12]}"
    return Prompt(name=name, origin="a prompt from a file", ask=text, again=AGAIN_IN_ITS_FORM)


class PromptedJudge(ABC):
    """A language model that is asked for a grade: read strictly, asked once more, then ungraded."""

    name: str
    caveat = ANOTHER
    batch: int
    prompt = OWN_PROMPT

    @abstractmethod
    def reply(self, conversations: Sequence[Messages]) -> list[str]:
        """What the model says to each conversation, greedily."""

    def grade(self, items: Sequence[Item]) -> list[Grade]:
        """A grade for each item, in at most two rounds of asking."""
        asked = [self.prompt.messages(item) for item in items]
        replies = self.reply(asked)
        grades = [parse(text) for text in replies]
        again = [number for number, grade in enumerate(grades) if grade.ungraded]
        if again:
            retries = self.reply(
                [
                    [
                        *asked[n],
                        {"role": "assistant", "content": replies[n]},
                        {"role": "user", "content": self.prompt.again},
                    ]
                    for n in again
                ]
            )
            for number, text in zip(again, retries, strict=True):
                grades[number] = parse(text)
        return grades


def parse(reply: str) -> Grade:
    """The grade in a judge's reply, in a code block at most; else ungraded.

    It is the JSON that our prompt asks for, or `pred` and `score`, as JSON or as a dictionary of Python, which the
    script that was released with the paper asks for.
    """
    text = reply.strip().removeprefix("```json").removeprefix("```").removesuffix("```").strip()
    found = _value_in(text)
    if found is None:
        return Grade(ungraded=f"the reply is no JSON: {reply[:200]!r}")
    if not isinstance(found, dict) or set(found) not in ({"correct", "score"}, {"pred", "score"}):
        return Grade(ungraded=f"the reply has not just correct and score: {reply[:200]!r}")
    correct, score = found.get("correct", found.get("pred")), found["score"]
    if not isinstance(correct, str) or correct.strip().lower() not in ("yes", "no"):
        return Grade(ungraded=f"neither yes nor no: {correct!r}")
    if isinstance(score, bool) or not isinstance(score, int | float) or score not in range(HIGHEST + 1):
        return Grade(ungraded=f"score is no whole number from 0 to {HIGHEST}: {score!r}")
    return Grade(correct=correct.strip().lower() == "yes", score=float(score))


def _value_in(text: str) -> Any:
    """What a text says as JSON, or as a dictionary of Python with `pred`; None if it is neither."""
    with suppress(ValueError, RecursionError):
        return json.loads(text)
    with suppress(ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        found = ast.literal_eval(text)
        return found if isinstance(found, dict) and "pred" in found else None
    return None


def takes_nothing(name: str, argument: str, prompt: Prompt | None) -> None:
    """Raise InputError if a judge that is no language model was given something to go by."""
    if argument:
        raise InputError(f"the judge {name} takes nothing behind its name, got {argument!r}")
    if prompt is not None:
        raise InputError(f"the judge {name} asks nobody: --prompt is for llama3 and openai, leave it out")
