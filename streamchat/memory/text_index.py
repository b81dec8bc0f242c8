"""Texts that are found again by what they mean and by how they are written: captions and dialogue alike.

Vectors stand in one matrix, and the words in an FTS5 table of SQLite; the two rankings are fused by rank. Rows are only
ever appended, so that a view of the index stays as it was while others write. (At 10,000 texts the product with the
whole matrix takes no longer than a FAISS flat index with a selector, and needs no lock.) How rare a word is counts over
the texts that a question may see, which the table's own BM25 cannot: later texts would change what is found.
"""

from __future__ import annotations

import math
import re
import sqlite3
import threading
from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from streamchat.types import Span

FIRST_ROWS = 64
SAME_MEANING = 0.95  # cosine above which two texts say the same: the second comes after all that differ
DIGITS = 5  # of a cosine that are compared, as the last bits differ from one processor to another
FUSION = 10  # of weighted reciprocal rank fusion (Cormack et al. 2009): score = sum of weight / (10 + rank)
POOL = 128  # texts nearest in meaning that take part in the fusion, at least
WORD = re.compile(r"[^\W_]+")
UNSPACED = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")  # letters of scripts without spaces between words
MOST_WORDS = 32  # of a question that are searched for
RARE_SHARE, FEWEST_RARE, MOST_RARE = 0.05, 3, 200  # a word in more of the texts distinguishes none of them
FUNCTION_WORDS = frozenset(
    """
    about after all also an and any are as at be been before between but by came can come comes could did do does film
    first for from had happen happened happens has have he her him his how if image in into is it its just last left ll
    me minute minutes moment more most my no not now of on one or our out over picture pictures re right said say saw
    scene screen second seconds see seen she show showed shown shows so some tell than that the their them then there
    these they this those time to told up us ve video was we were what when where which while who whom whose why will
    with would you your
    """.split()  # noqa: SIM905 - to be read
)


class Match(NamedTuple):
    """A text that was found."""

    key: int  # that it was added with
    cosine: float  # of its vector with the question's, -1 to 1
    start_seconds: float  # of its span


class TextIndex:
    """The texts of one memory; its owner holds a lock when it writes or takes a view, and views are read without."""

    def __init__(self) -> None:
        self._rows = _Rows.of_width(0, 0)
        self._count = 0
        self._added = 0
        self._words = _Words()

    def add(self, key: int, span: Span, text: str, vector: np.ndarray) -> None:
        """Add a text with its vector [E], unit norm; several may have one key. What is no number counts as 0."""
        if self._count == len(self._rows.ids):
            self._make_room(len(vector))
        rows, place = self._rows, self._count
        rows.ids[place], rows.keys[place] = self._added, key
        rows.starts[place], rows.ends[place] = span
        rows.vectors[place], rows.alive[place] = np.nan_to_num(vector), True
        self._words.add(self._added, text)
        self._count += 1
        self._added += 1

    def remove(self, keys: Collection[int]) -> None:
        """Forget all texts with these keys."""
        self._rows.alive[: self._count][np.isin(self._rows.keys[: self._count], list(keys))] = False

    def view(self) -> TextView:
        """The texts as they are now, for as long as it is held."""
        return TextView(self._rows.first(self._count), self._words)

    def _make_room(self, width: int) -> None:
        """Copy the rows that are alive into arrays with twice the room; views keep the old ones."""
        is_alive = self._rows.alive[: self._count]
        self._words.remove(self._rows.ids[: self._count][~is_alive].tolist())
        alive = np.flatnonzero(is_alive)
        larger = _Rows.of_width(max(FIRST_ROWS, 2 * len(alive)), width)
        for new, old in zip(larger, self._rows, strict=True):
            if len(alive):
                new[: len(alive)] = old[alive]
        self._rows, self._count = larger, len(alive)


class _Rows(NamedTuple):
    """One row a text, in the order added."""

    ids: np.ndarray  # int64 [n], in the order added, never used again
    keys: np.ndarray  # int64 [n]
    starts: np.ndarray  # float64 [n], seconds
    ends: np.ndarray  # float64 [n], seconds
    vectors: np.ndarray  # float32 [n, E]
    alive: np.ndarray  # bool [n]

    @classmethod
    def of_width(cls, rows: int, width: int) -> _Rows:
        """Room for so many rows."""
        numbers, times = np.zeros((2, rows), np.int64), np.zeros((2, rows))
        vectors = np.zeros((rows, width), np.float32)
        return cls(numbers[0], numbers[1], times[0], times[1], vectors, np.zeros(rows, bool))

    def first(self, count: int) -> _Rows:
        """The first rows; which of them are alive is copied, as that may change."""
        cut = _Rows(*(column[:count] for column in self))
        return cut._replace(alive=cut.alive.copy())


class TextView:
    """The texts of an index as they were when it was taken."""

    def __init__(self, rows: _Rows, words: _Words) -> None:
        self._rows = rows
        self._words = words

    def search(
        self,
        question: str,
        vector: np.ndarray,
        most: int,
        *,
        until_seconds: float = np.inf,
        within: Span | None = None,
    ) -> list[Match]:
        """The `most` texts that a question [E] asks for, best first.

        Only texts that end by `until_seconds` are searched, and only those that share time with `within`. Of texts that
        say the same, all but the first come after the others; of equals the newest is first.
        """
        rows = self._rows
        allowed = rows.alive & (rows.ends <= until_seconds)
        if within is not None:
            allowed &= (rows.starts < within.end) & (rows.ends > within.start)
        places = np.flatnonzero(allowed)
        if not len(places):
            return []
        cosines = np.round(rows.vectors @ vector, DIGITS)
        by_meaning = dict.fromkeys(self._nearest(places, cosines, max(POOL, 2 * most)), 1.0)
        ranked = fused(by_meaning, self._words_shared(question, places))
        return [
            Match(int(rows.keys[place]), float(cosines[place]), float(rows.starts[place]))
            for place in self._diversified(ranked, most)
        ]

    def _nearest(self, places: np.ndarray, cosines: np.ndarray, most: int) -> list[int]:
        """Of some places, those nearest in meaning, best first; of equals the newest first."""
        if len(places) > most:
            bound = np.partition(cosines[places], -most)[-most]
            places = places[cosines[places] >= bound]
        order = np.lexsort((-self._rows.ids[places], -self._rows.ends[places], -cosines[places]))
        return [int(place) for place in places[order[:most]]]

    def _words_shared(self, question: str, places: np.ndarray) -> dict[int, float]:
        """Of some places, those that hold rare words of the question, with weights up to 1, best first."""
        ids = self._rows.ids[places]
        scores: dict[int, float] = {}
        for numbers in self._words.rows_with(question, int(ids[-1])):
            slots = np.searchsorted(ids, numbers).clip(max=len(ids) - 1)
            found = places[slots[ids[slots] == numbers]]
            if 0 < len(found) <= max(FEWEST_RARE, RARE_SHARE * len(places)):
                for place in found.tolist():
                    scores[place] = scores.get(place, 0.0) + math.log1p(len(places) / len(found))
        order = sorted(scores, key=lambda place: (-scores[place], -self._rows.ends[place], -place))
        rarest = math.log1p(len(places))
        return {place: min(1.0, scores[place] / rarest) for place in order}

    def _diversified(self, ranked: Sequence[int], most: int) -> list[int]:
        """The places in their order, but such as say what one before says at the end."""
        vectors = np.empty((min(most, len(ranked)), self._rows.vectors.shape[1]), np.float32)
        chosen: list[int] = []
        same: list[int] = []
        for place in ranked:
            if len(chosen) == most:
                break
            vector = self._rows.vectors[place]
            if chosen and float((vectors[: len(chosen)] @ vector).max()) > SAME_MEANING:
                same.append(place)
                continue
            vectors[len(chosen)] = vector
            chosen.append(place)
        return [*chosen, *same][:most]


def fused(*rankings: Mapping[int, float]) -> list[int]:
    """Rankings of places, each with its weight, fused by reciprocal rank; of equals that of the first ranking first."""
    scores: dict[int, float] = {}
    for ranking in rankings:
        for rank, (place, weight) in enumerate(ranking.items()):
            scores[place] = scores.get(place, 0.0) + weight / (FUSION + rank)
    return sorted(scores, key=lambda place: -scores[place])


def words_of(question: str) -> list[str]:
    """The words of a question that are worth searching for, each a phrase of the table."""
    words: dict[str, None] = {}
    for word in WORD.findall(question.lower()):
        if UNSPACED.search(word):
            pairs = [f"{first} {second}" for first, second in pairwise(word)] or [word]
            words |= dict.fromkeys(pairs)
        elif word not in FUNCTION_WORDS and (len(word) > 1 or word.isdigit()):
            words[word] = None
    return list(words)[:MOST_WORDS]


class _Words:
    """The words of texts, by the number of their row; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._table = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
        self._table.execute("CREATE VIRTUAL TABLE texts USING fts5(text, tokenize='porter unicode61')")

    def add(self, number: int, text: str) -> None:
        spaced = UNSPACED.sub(r" \g<0> ", text.encode(errors="replace").decode())
        with self._lock:
            self._table.execute("INSERT INTO texts(rowid, text) VALUES (?, ?)", (number, spaced))

    def remove(self, numbers: Sequence[int]) -> None:
        with self._lock:
            self._table.executemany("DELETE FROM texts WHERE rowid = ?", [(number,) for number in numbers])

    def rows_with(self, question: str, last: int) -> list[np.ndarray]:
        """For each word of a question the numbers, up to `last`, of the texts with it; common words are left out."""
        found = []
        for word in words_of(question):
            with self._lock:
                rows = self._table.execute(
                    "SELECT rowid FROM texts WHERE texts MATCH ? AND rowid <= ? LIMIT ?",
                    (f'"{word}"', last, MOST_RARE + 1),
                ).fetchall()
            if 0 < len(rows) <= MOST_RARE:
                found.append(np.array([number for (number,) in rows], np.int64))
        return found
