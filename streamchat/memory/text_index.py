"""Texts that are found again by what they mean and by how they are written: captions and dialogue alike.

Vectors stand in one matrix, and the words in an FTS5 table of SQLite, which ranks by BM25; the two rankings are fused
by rank. Rows are only ever appended, so that a view of the index stays as it was while others write. (At 10,000 texts
the product with the whole matrix takes no longer than a FAISS flat index with a selector, and needs no lock.)
"""

from __future__ import annotations

import re
import sqlite3
import threading
from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np

from streamchat.types import Span

FIRST_ROWS = 64
SAME_MEANING = 0.95  # cosine above which two texts say the same: the second comes after all that differ
DIGITS = 5  # of a cosine that are compared, as the last bits differ from one processor to another
FUSION = 60  # of reciprocal rank fusion (Cormack et al. 2009): score = sum of 1 / (60 + rank)
POOL = 128  # texts nearest in meaning that take part in the fusion, at least
WORD = re.compile(r"\w+")
MOST_WORDS = 32  # of a question that are searched for
RARE_SHARE, RARE_TEXTS = 0.2, 200  # a word in more of the texts than that tells none of them from the others
FUNCTION_WORDS = frozenset(
    """
    a about after all also an and any are as at be been before between but by can could did do does for from had has
    have he her him his how i if in into is it its just me more most my no not now of on one or our out over said see
    seen she shown so some tell than that the their them then there these they this those to told up us was we were
    what when where which while who whom whose why will with would you your
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
        """Add a text with its vector [E], unit norm; several may have one key."""
        if self._count == len(self._rows.ids):
            self._make_room(len(vector))
        rows, place = self._rows, self._count
        rows.ids[place], rows.keys[place] = self._added, key
        rows.starts[place], rows.ends[place] = span
        rows.vectors[place], rows.alive[place] = vector, True
        self._words.add(self._added, text)
        self._count += 1
        self._added += 1

    def remove(self, keys: Collection[int]) -> None:
        """Forget all texts with these keys."""
        gone = np.isin(self._rows.keys[: self._count], list(keys)) & self._rows.alive[: self._count]
        self._words.remove(self._rows.ids[: self._count][gone].tolist())
        self._rows.alive[: self._count][gone] = False

    def view(self) -> TextView:
        """The texts as they are now, for as long as it is held."""
        return TextView(self._rows.first(self._count), self._words)

    def _make_room(self, width: int) -> None:
        """Copy the rows that are alive into arrays with twice the room; views keep the old ones."""
        alive = np.flatnonzero(self._rows.alive[: self._count])
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
            allowed &= (rows.starts <= within.end) & (rows.ends >= within.start)
        places = np.flatnonzero(allowed)
        if not len(places):
            return []
        cosines = np.round(rows.vectors @ vector, DIGITS)
        by_meaning = self._nearest(places, cosines, max(POOL, 2 * most))
        by_words = self._written(question, places)
        ranked = _fused(by_meaning, by_words)
        return [
            Match(int(rows.keys[place]), float(cosines[place]), float(rows.starts[place]))
            for place in self._varied(ranked, most)
        ]

    def _nearest(self, places: np.ndarray, cosines: np.ndarray, most: int) -> list[int]:
        """Of some places, those nearest in meaning, best first; of equals the newest first."""
        if len(places) > most:
            bound = np.partition(cosines[places], -most)[-most]
            places = places[cosines[places] >= bound]
        order = np.lexsort((-self._rows.ids[places], -self._rows.ends[places], -cosines[places]))
        return [int(place) for place in places[order[:most]]]

    def _written(self, question: str, places: np.ndarray) -> list[int]:
        """Of some places, those that hold rare words of the question, best first."""
        ids = self._rows.ids[places]
        found = np.array(self._words.search(question, len(places)), np.int64)
        if not len(found):
            return []
        slots = np.searchsorted(ids, found).clip(max=len(ids) - 1)
        return [int(place) for place in places[slots[ids[slots] == found]]]

    def _varied(self, ranked: Sequence[int], most: int) -> list[int]:
        """The places in their order, but such as say what one before says at the end."""
        vectors = self._rows.vectors
        chosen: list[int] = []
        same: list[int] = []
        for place in ranked:
            if len(chosen) == most:
                break
            alike = bool(chosen) and float((vectors[chosen] @ vectors[place]).max()) > SAME_MEANING
            (same if alike else chosen).append(place)
        return [*chosen, *same][:most]


def _fused(*rankings: Sequence[int]) -> list[int]:
    """Rankings of places fused by reciprocal rank; of equals that first which the first ranking has first."""
    scores: dict[int, float] = {}
    for ranking in rankings:
        for rank, place in enumerate(ranking):
            scores[place] = scores.get(place, 0.0) + 1 / (FUSION + rank)
    return sorted(scores, key=lambda place: -scores[place])


class _Words:
    """The words of texts, by the number of their row; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._table = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
        self._table.execute("CREATE VIRTUAL TABLE texts USING fts5(text, tokenize='porter unicode61')")

    def add(self, number: int, text: str) -> None:
        with self._lock:
            self._table.execute("INSERT INTO texts(rowid, text) VALUES (?, ?)", (number, text))

    def remove(self, numbers: Sequence[int]) -> None:
        with self._lock:
            self._table.executemany("DELETE FROM texts WHERE rowid = ?", [(number,) for number in numbers])

    def search(self, question: str, texts: int) -> list[int]:
        """The numbers of all texts with a word of the question that few of so many texts have, best first."""
        words = dict.fromkeys(word for word in WORD.findall(question.lower()) if word not in FUNCTION_WORDS)
        most = min(RARE_TEXTS, max(1, int(RARE_SHARE * texts)))
        with self._lock:
            rare = [word for word in list(words)[:MOST_WORDS] if 0 < self._texts_with(word, most + 1) <= most]
            if not rare:
                return []
            wanted = " OR ".join(f'"{word}"' for word in rare)
            found = self._table.execute(
                "SELECT rowid FROM texts WHERE texts MATCH ? ORDER BY rank, rowid DESC", (wanted,)
            )
            return [number for (number,) in found]

    def _texts_with(self, word: str, most: int) -> int:
        """How many texts have a word, counted up to `most`."""
        counted = self._table.execute(
            "SELECT count(*) FROM (SELECT 1 FROM texts WHERE texts MATCH ? LIMIT ?)", (f'"{word}"', most)
        )
        return int(counted.fetchone()[0])
