"""A stand-in that needs no download: likeness of meaning (MiniLM) and of words (token F1) with the reference.

Its figures cannot be compared with published scores, which come from a language model that judges.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from evaluation.judges.base import HIGHEST, STAND_IN, Grade, Item, Prompt, takes_nothing
from streamchat.embedding import TextEmbedder, minilm

CORRECT_FROM = 0.6  # likeness from which an answer counts as correct
VERSION = "1"


class SemanticJudge:
    """The greater of the cosine of the texts' vectors and the F1 of their words, scaled to 0-5."""

    name = f"semantic v{VERSION}, a stand-in"
    caveat = STAND_IN
    batch = 256

    def __init__(self, embedder: TextEmbedder) -> None:
        self._embedder = embedder

    def grade(self, items: Sequence[Item]) -> list[Grade]:
        """A grade for each item."""
        vectors = self._embedder.embed([text for item in items for text in (item.reference, item.answer)])
        grades = []
        for item, reference, answer in zip(items, vectors[::2], vectors[1::2], strict=True):
            likeness = max(float(reference @ answer), token_f1(item.reference, item.answer)) if item.answer else 0.0
            score = float(round(HIGHEST * min(max(likeness, 0.0), 1.0)))
            grades.append(Grade(correct=likeness >= CORRECT_FROM, score=score))
        return grades


def token_f1(reference: str, answer: str) -> float:
    """The harmonic mean of how many words of each text stand in the other, 0 to 1."""
    one, other = (Counter(re.findall(r"\w+", text.lower())) for text in (reference, answer))
    common = (one & other).total()
    return 2 * common / (one.total() + other.total()) if common else 0.0


def build(argument: str = "", prompt: Prompt | None = None) -> SemanticJudge:
    """The judge; InputError for an argument or a prompt, as it takes none."""
    takes_nothing("semantic", argument, prompt)
    return SemanticJudge(minilm())
