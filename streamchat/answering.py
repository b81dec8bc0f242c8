"""An answer on its way, in pieces, and what becomes of it when it is complete."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from typing import Protocol

from streamchat.models.base import Model
from streamchat.types import Answer, Context, Evidence, Timing


class Session(Protocol):
    """What an answer belongs to."""

    model: Model

    def record(self, question: str, answer: str, at_seconds: float) -> None:
        """Put a round into the dialogue memory."""
        ...


class AnswerStream:
    """An answer on its way: iterate for the pieces of its text; afterwards `answer` is the whole.

    The round enters the dialogue memory when the text is complete, or with what was said until then when `close` stops
    it.
    """

    def __init__(
        self,
        chat: Session,
        context: Context,
        started: float,
        dropped_frames: int,
        on_first_piece: Callable[[], None] | None = None,
    ) -> None:
        self._chat = chat
        self._context = context
        self._started = started
        self._retrieval_seconds = time.perf_counter() - started
        self._first_token_seconds: float | None = None
        self._dropped_frames = dropped_frames
        self._on_first_piece = on_first_piece
        self._texts: list[str] = []
        self._evidence: list[Evidence] = []
        self._answer: Answer | None = None
        self._pieces: Generator[str, None, None] = self._run()

    @property
    def answer(self) -> Answer:
        """The whole answer; RuntimeError while it is still on its way."""
        if self._answer is None:
            raise RuntimeError("the answer is not complete: iterate over it or close it first")
        return self._answer

    @property
    def context(self) -> Context:
        """What the question is answered from."""
        return self._context

    @property
    def asked_at_seconds(self) -> float:
        """The moment of the stream at which the question was asked."""
        return self._context.asked_at_seconds

    @property
    def pictures(self) -> int:
        """How many token maps, of frames or averages of them, the question is answered from."""
        return sum(len(visual.tokens) for visual in (*self._context.recent, *self._context.recalled))

    @property
    def visual_tokens(self) -> int:
        """How many tokens these maps have together."""
        visuals = (*self._context.recent, *self._context.recalled)
        return sum(visual.tokens.shape[:2].numel() for visual in visuals)

    def __iter__(self) -> Iterator[str]:
        return self._pieces

    def close(self) -> None:
        """Stop the answer; what was said so far is kept."""
        self._pieces.close()
        self._finish()

    def _run(self) -> Generator[str, None, None]:
        for piece in self._chat.model.answer(self._context):
            if isinstance(piece, Evidence):
                self._evidence.append(piece)
                continue
            if self._first_token_seconds is None:
                self._first_token_seconds = time.perf_counter() - self._started
                if self._on_first_piece is not None:
                    self._on_first_piece()
            self._texts.append(piece)
            yield piece
        self._finish()

    def _finish(self) -> None:
        if self._answer is not None:
            return
        text = "".join(self._texts).strip()
        total = time.perf_counter() - self._started
        first = total if self._first_token_seconds is None else self._first_token_seconds
        self._answer = Answer(
            text=text,
            asked_at_seconds=self._context.asked_at_seconds,
            evidence=tuple(self._evidence),
            timing=Timing(retrieval_seconds=self._retrieval_seconds, first_token_seconds=first, total_seconds=total),
            dropped_frames=self._dropped_frames,
        )
        if text:
            self._chat.record(self._context.question, text, self._context.asked_at_seconds)
