"""Dialogue memory: every round of the conversation, found again by meaning and by words (paper section 3.3).

The paper keeps all rounds for ever. Here the newest are kept in full, and older ones are folded, ten at a time, into
summaries with a line a round, and those into summaries of summaries, which keep fewer of the lines. So the memory is
bounded, however long the conversation, and no round is without something that stands for it.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from streamchat.clock import timestamp
from streamchat.memory.text_index import TextIndex
from streamchat.models import prompts
from streamchat.options import DIALOGUE_TURNS
from streamchat.types import DialogueTurn, Span

GROUP = 10  # rounds, or summaries of one level, that are folded into one summary of the next level
TOP_LEVEL = 3  # summaries of this level are folded among themselves
QUESTION_CHARACTERS = 90  # of a round in a summary
ANSWER_CHARACTERS = 90
SUMMARY_LINES = 20  # of a summary of any level
LINES_A_TURN = SUMMARY_LINES + GROUP  # found for each turn that is wanted, as many of them may be of one summary


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Remembered:
    """A round in full, or a summary of several."""

    turn: DialogueTurn  # of a summary: a line a round as its answer, asked when the latest of them was
    vectors: np.ndarray  # float32 [L, E]: the round's own embedding, or those of the rounds behind a summary's lines
    number: int  # of its newest round, counted from 0 in the order asked; never used again
    rounds: int = 1  # that it stands for
    level: int = 0  # 0 is a round in full


class DialogueMemory:
    """Rounds in the order in which they were asked, with an index of their texts. Thread-safe.

    At most `most_turns` are kept in full. A summary is found by each of its lines, so that a round of long ago is as
    near to a question as it was in full.
    """

    def __init__(self, most_turns: int = DIALOGUE_TURNS) -> None:
        self._most_turns = most_turns
        self._lock = threading.Lock()
        self._entries: list[Remembered] = []  # summaries first, as they are older
        self._added = 0
        self._index = TextIndex()  # of the entries' lines, by the entries' numbers

    def __len__(self) -> int:
        """How many rounds are remembered, those in summaries included."""
        with self._lock:
            return sum(entry.rounds for entry in self._entries)

    @property
    def added(self) -> int:
        """How many rounds were ever added, those forgotten included; what a snapshot keeps as its `count`."""
        return self._added

    @property
    def nbytes(self) -> int:
        """Bytes of the texts, and of the vectors, which the index holds once more."""
        with self._lock:
            texts = sum(len(one.turn.question.encode()) + len(one.turn.answer.encode()) for one in self._entries)
            return texts + sum(2 * one.vectors.nbytes + one.turn.embedding.nbytes for one in self._entries)

    @property
    def entries(self) -> tuple[Remembered, ...]:
        """All that is remembered, oldest first."""
        with self._lock:
            return tuple(self._entries)

    def add(self, turn: DialogueTurn) -> None:
        """Remember a round, and fold the oldest ones if they are too many."""
        with self._lock:
            self._entries.append(Remembered(turn=turn, vectors=turn.embedding[None], number=self._added))
            self._index_entry(self._entries[-1])
            self._added += 1
            self._fold()

    def forget_last(self, question: str | None = None) -> DialogueTurn | None:
        """Take out the newest round, and give it back; None, and nothing is done, if none is there in full.

        With `question`, only if that is what was asked in it: an answer that failed never became a round. Snapshots
        taken before see the round no more, nor the one asked in its place.
        """
        with self._lock:
            newest = self._entries[-1] if self._entries else None
            if newest is None or newest.level > 0 or question not in (None, newest.turn.question):
                return None
            self._entries.pop()
            self._index.remove([newest.number])
            return newest.turn

    def restore(self, entries: Sequence[Remembered]) -> None:
        """Take up what another dialogue memory held; the rounds are numbered anew.

        Raises ValueError if they are not in the order in which they are kept, or too many.
        """
        levels = [entry.level for entry in entries]
        if levels != sorted(levels, reverse=True) or not all(0 <= level <= TOP_LEVEL for level in levels):
            raise ValueError(f"the rounds of a dialogue go from summaries of level {TOP_LEVEL} down to level 0")
        for entry in entries:
            lines = len(entry.turn.answer.splitlines()) if entry.level > 0 else 1
            if entry.rounds < lines or (entry.level == 0 and entry.rounds > 1) or len(entry.vectors) != lines:
                raise ValueError("a round stands for itself, and a summary for as many as it has lines, or more")
        with self._lock:
            self._entries, self._added, self._index = [], 0, TextIndex()
            for entry in entries:
                self._added += entry.rounds
                self._entries.append(replace(entry, number=self._added - 1))
                self._index_entry(self._entries[-1])
            while self._fold():
                pass

    def related(
        self, question: str, embedding: np.ndarray, most: int, *, count: int, until_seconds: float
    ) -> tuple[DialogueTurn, ...]:
        """The `most` turns that a question with its embedding [E] is nearest to, in the order in which they were asked.

        Only rounds among the first `count` ever added are searched, those that were there when the snapshot was taken,
        and of them only those asked at `until_seconds` of the stream or before. A summary is one turn; it counts as
        asked when its latest round was.
        """
        with self._lock:
            visible = {self._entries[place].number: place for place in self._visible(count, until_seconds)}
            index = self._index.view()
            turns = {place: self._entries[place].turn for place in visible.values()}
        if not visible or most == 0:
            return ()
        matches = index.search(question, embedding, most * LINES_A_TURN, until_seconds=until_seconds)
        nearest = list(dict.fromkeys(visible[match.key] for match in matches if match.key in visible))[:most]
        return tuple(turns[place] for place in sorted(nearest))

    def last(self, *, count: int, until_seconds: float) -> DialogueTurn | None:
        """The latest of the first `count` rounds that was asked at `until_seconds` or before, if it is kept in full."""
        with self._lock:
            newest = max(self._visible(count, until_seconds), default=None)
            return None if newest is None or self._entries[newest].level > 0 else self._entries[newest].turn

    def _visible(self, count: int, until_seconds: float) -> frozenset[int]:
        return frozenset(
            place
            for place, entry in enumerate(self._entries)
            if entry.number < count and entry.turn.asked_at_seconds <= until_seconds
        )

    def _fold(self) -> bool:
        """Fold the oldest of each level that has too many into one of the next; False if no level had."""
        folded = False
        for level in range(TOP_LEVEL + 1):
            places = [index for index, entry in enumerate(self._entries) if entry.level == level]
            if len(places) > (self._most_turns if level == 0 else GROUP):
                group = places[: min(GROUP, len(places) - 1)]  # the newest round always stays in full
                summary = summary_of([self._entries[index] for index in group], min(level + 1, TOP_LEVEL))
                self._index.remove([self._entries[index].number for index in group])
                self._entries[group[0] : group[-1] + 1] = [summary]
                self._index_entry(summary)
                folded = True
        return folded

    def _index_entry(self, entry: Remembered) -> None:
        """Let an entry be found by each of its lines."""
        asked = Span(entry.turn.asked_at_seconds, entry.turn.asked_at_seconds)
        lines = _lines(entry) if entry.level > 0 else [f"{entry.turn.question} {entry.turn.answer}"]
        for line, vector in zip(lines, entry.vectors, strict=True):
            self._index.add(entry.number, asked, line, vector)


def summary_of(group: Sequence[Remembered], level: int) -> Remembered:
    """One entry that stands for several, in time order: a line a round, every other one left out until they are few."""
    lines = [line for entry in group for line in _lines(entry)]
    vectors = np.concatenate([entry.vectors for entry in group])
    while len(lines) > SUMMARY_LINES:
        lines, vectors = lines[::2], vectors[::2]
    rounds = sum(entry.rounds for entry in group)
    return Remembered(
        turn=DialogueTurn(
            question=prompts.ROUNDS.format(rounds=rounds),
            answer="\n".join(lines),
            asked_at_seconds=max(entry.turn.asked_at_seconds for entry in group),
            embedding=middle_of(vectors),
        ),
        vectors=vectors.copy(),
        number=group[-1].number,
        rounds=rounds,
        level=level,
    )


def middle_of(vectors: np.ndarray) -> np.ndarray:
    """The mean of unit vectors [L, E], of unit norm itself: float32 [E]; one vector is its own."""
    if len(vectors) == 1:
        return np.asarray(vectors[0])
    mean = vectors.mean(0)
    return np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-9), np.float32)


def _lines(entry: Remembered) -> list[str]:
    """What a summary says of an entry: of a round its time, its question and the first sentence of its answer."""
    turn = entry.turn
    if entry.level > 0:
        return turn.answer.splitlines()
    answer = re.split(r"(?<=[.!?])\s", turn.answer.strip(), maxsplit=1)[0]
    question, answer = _shortened(turn.question, QUESTION_CHARACTERS), _shortened(answer, ANSWER_CHARACTERS)
    return [prompts.ROUND.format(time=timestamp(turn.asked_at_seconds), question=question, answer=answer)]


def _shortened(text: str, most: int) -> str:
    """A text in one line of at most `most` characters."""
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1] + "…"
