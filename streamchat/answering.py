"""An answer on its way, in pieces, and what becomes of it when it is complete."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from typing import Protocol

from streamchat import prompts
from streamchat.config import Options
from streamchat.errors import PromptTooLargeError
from streamchat.models.base import MOST_TRIES, Model, prompt_text
from streamchat.retrieval.context import compose, everything, in_words, short_of_memory
from streamchat.types import Answer, Context, Evidence, Given, Timing


class Session(Protocol):
    """What an answer belongs to."""

    model: Model
    options: Options

    def record(self, question: str, answer: str, at_seconds: float) -> None:
        """Put a round into the dialogue memory."""
        ...


class AnswerStream:
    """An answer on its way: iterate for the pieces of its text; afterwards `answer` is the whole.

    What was found for the question is cut to the model's prompt first. The round enters the dialogue memory when the
    text is complete, or with what was said until then when `close` stops it.
    """

    def __init__(
        self,
        chat: Session,
        found: Context,
        started: float,
        dropped_frames: int,
        on_first_piece: Callable[[], None] | None = None,
    ) -> None:
        self._chat = chat
        self._found = found
        self._context, self._given = self._composed(found, first=True)
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
    def given(self) -> Given:
        """What of it the model is given; it may change until the first piece is there."""
        return self._given

    @property
    def shown_prompt(self) -> str:
        """What the model is given, for people to read, and what was left out."""
        written = prompt_text(self._context)
        if self._chat.model.prompt is None:
            written = f"{self._chat.model.name} reads no prompt; this is what was found for it.\n\n{written}"
        return f"{written}\n\n({in_words(self._given)})"

    @property
    def asked_at_seconds(self) -> float:
        """The moment of the stream at which the question was asked."""
        return self._context.asked_at_seconds

    def __iter__(self) -> Iterator[str]:
        return self._pieces

    def close(self) -> None:
        """Stop the answer; what was said so far is kept."""
        self._pieces.close()
        self._finish()

    def _composed(self, found: Context, *, first: bool) -> tuple[Context, Given]:
        """What the model is given of a context: in the first of two steps the present alone."""
        prompt = self._chat.model.prompt
        if prompt is None:
            return found, everything(found)
        if first and self._chat.options.context == "two-step":
            found = short_of_memory(found)
        return compose(found, prompt, self._chat.options)

    def _run(self) -> Generator[str, None, None]:
        with closing(self._whole()) as pieces:
            for piece in pieces:
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

    def _whole(self) -> Generator[str | Evidence, None, None]:
        """The pieces of the answer, of its second step if the model said in the first that it needs the memory."""
        if not self._context.may_ask_for_memory:
            yield from self._said(first=False)
            return
        held: list[str | Evidence] = []
        text = ""
        with closing(self._said(first=True)) as pieces:
            for piece in pieces:
                held.append(piece)
                text = "".join(one for one in held if isinstance(one, str)).strip()
                if not prompts.MEMORY.startswith(text):
                    break
            if not text.startswith(prompts.MEMORY):
                yield from held
                yield from pieces
                return
        self._context, self._given = self._composed(self._found, first=False)
        yield from self._said(first=False)

    def _said(self, *, first: bool) -> Generator[str | Evidence, None, None]:
        """What the model says; a prompt that its server finds too large is made smaller, by what it was told."""
        for attempt in range(1, MOST_TRIES + 1):
            try:
                yield from self._chat.model.answer(self._context)
                return
            except PromptTooLargeError:
                if attempt == MOST_TRIES:
                    raise
                self._context, self._given = self._composed(self._found, first=first)

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
            given=self._given,
            timing=Timing(retrieval_seconds=self._retrieval_seconds, first_token_seconds=first, total_seconds=total),
            dropped_frames=self._dropped_frames,
        )
        if text:
            self._chat.record(self._context.question, text, self._context.asked_at_seconds)
