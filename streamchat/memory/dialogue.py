"""Dialogue memory: every round of the conversation, found again by meaning (paper section 3.3)."""

from __future__ import annotations

import threading

import faiss
import numpy as np

from streamchat.types import DialogueTurn


class DialogueMemory:
    """Turns in the order in which they were asked, with a FAISS index of their embeddings."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._turns: list[DialogueTurn] = []
        self._index: faiss.IndexFlatIP | None = None  # made with the width of the first embedding

    def __len__(self) -> int:
        return len(self._turns)

    def add(self, turn: DialogueTurn) -> None:
        """Remember a round."""
        with self._lock:
            if self._index is None:
                self._index = faiss.IndexFlatIP(len(turn.embedding))
            self._index.add(turn.embedding[None])
            self._turns.append(turn)

    def related(
        self, embedding: np.ndarray, most: int, *, count: int, until_seconds: float
    ) -> tuple[DialogueTurn, ...]:
        """The `most` turns nearest to an embedding [E], in the order in which they were asked.

        Only the first `count` turns are searched, those that were there when the snapshot was taken, and of them only
        those asked at `until_seconds` of the stream or before.
        """
        with self._lock:
            visible = self._visible(count, until_seconds)
            if not visible or most == 0 or self._index is None:
                return ()
            selector = faiss.IDSelectorBatch(np.array(visible, dtype=np.int64))
            parameters = faiss.SearchParameters(sel=selector)  # type: ignore[call-arg]
            _, found = self._index.search(embedding[None], min(most, len(visible)), params=parameters)
            return tuple(self._turns[index] for index in sorted(found[0]) if index >= 0)

    def last(self, *, count: int, until_seconds: float) -> DialogueTurn | None:
        """The latest of the first `count` turns that was asked at `until_seconds` or before."""
        with self._lock:
            visible = self._visible(count, until_seconds)
            return self._turns[visible[-1]] if visible else None

    def _visible(self, count: int, until_seconds: float) -> list[int]:
        return [i for i, turn in enumerate(self._turns[:count]) if turn.asked_at_seconds <= until_seconds]
