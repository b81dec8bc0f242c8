"""Whether the reference stands in the answer, word for word: for needles, whose answer is one word or number.

An answer that also names another number of as many digits does not decide, and is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from evaluation.judges.base import HIGHEST, STAND_IN, Grade, Item, Prompt, takes_nothing


class ExactJudge:
    """Yes and 5, or no and 0; letter case, punctuation and what stands around do not matter."""

    name = "exact"
    caveat = STAND_IN
    batch = 1000

    def grade(self, items: Sequence[Item]) -> list[Grade]:
        """A grade for each item."""
        found = [_says(item.answer, item.reference) for item in items]
        return [Grade(correct=yes, score=float(HIGHEST if yes else 0)) for yes in found]


def _says(said: str, wanted: str) -> bool:
    answer, reference = _words(said), _words(wanted)
    if not reference.strip():  # nothing but signs, such as "+": they must stand alone
        return wanted.strip() in said.split()
    rivals = [word for word in answer.split() if word.isdigit() and len(word) == len(reference.strip())]
    return reference in answer and (not reference.strip().isdigit() or set(rivals) == {reference.strip()})


def _words(text: str) -> str:
    """The words of a text with a space before and after each, so that whole words are found in it."""
    return " ".join(["", *re.findall(r"[^\W_]+", text.lower()), ""])


def build(argument: str = "", prompt: Prompt | None = None) -> ExactJudge:
    """The judge; InputError for an argument or a prompt, as it takes none."""
    takes_nothing("exact", argument, prompt)
    return ExactJudge()
