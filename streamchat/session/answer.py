"""An answer on its way, in pieces, and what becomes of it when it is complete."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, suppress
from typing import Protocol

from streamchat.errors import PromptTooLargeError, StreamChatError
from streamchat.models import prompts
from streamchat.models.base import MOST_TRIES, Model, prompt_text
from streamchat.models.scheduler import NEVER, CancelledError, CancelToken, Priority
from streamchat.options import Options
from streamchat.retrieval.context import compose, everything, in_words
from streamchat.session.checked import MOST_TOKEN_CHARACTERS, checked_text
from streamchat.types import Answer, Context, Evidence, Given, Timing


class Session(Protocol):
    """What an answer belongs to."""

    @property
    def model(self) -> Model:
        """Which answers."""
        ...

    @property
    def options(self) -> Options:
        """By which the prompt is made."""
        ...

    def record(self, question: str, answer: str, at_seconds: float) -> None:
        """Put a round into the dialogue memory."""
        ...


class AnswerStream:
    """An answer on its way: iterate for the pieces of its text; afterwards `answer` is the whole.

    What was found for the question is cut to the model's prompt first. The round enters the dialogue memory when the
    text is complete, or with what was said until then when `stop` or `close`, or the session's end, stops it.
    """

    def __init__(
        self,
        chat: Session,
        found: Context,
        started: float,
        dropped_frames: int,
        on_first_piece: Callable[[], None] | None = None,
        cancel: CancelToken = NEVER,
    ) -> None:
        self._cancel = CancelToken(cancel)
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

    def stop(self) -> None:
        """Stop the answer at its next token, from any thread: whoever iterates gets no more pieces."""
        self._cancel.cancel()

    def close(self) -> None:
        """Stop the answer in the thread that iterates over it; what was said so far is kept."""
        self._cancel.cancel()
        self._pieces.close()
        self._finish()

    def _composed(self, found: Context, *, first: bool) -> tuple[Context, Given]:
        """What the model is given of a context: in the first of two steps the present alone."""
        prompt = self._chat.model.prompt
        if prompt is None:
            return found, everything(found)
        short = first and self._chat.options.context == "two-step"
        return compose(found, prompt, self._chat.options, short=short)

    def _run(self) -> Generator[str, None, None]:
        with suppress(CancelledError), closing(self._whole()) as pieces:
            for piece in self._checked(pieces):
                if self._first_token_seconds is None:
                    self._first_token_seconds = time.perf_counter() - self._started
                    if self._on_first_piece is not None:
                        self._on_first_piece()
                self._texts.append(piece)
                yield piece
        self._finish()

    def _checked(self, pieces: Iterator[str | Evidence]) -> Iterator[str]:
        """The text of an answer, as long as it may be and in whole characters; its evidence is put aside."""
        left = MOST_TOKEN_CHARACTERS * self._context.max_new_tokens
        half = ""  # of a character, whose other half is in the next piece
        for piece in pieces:
            if isinstance(piece, Evidence):
                self._evidence.append(piece)
                continue
            if not isinstance(piece, str):
                name = self._chat.model.name
                raise StreamChatError(f"the model {name!r} gave {type(piece).__name__} as a piece of an answer")
            text = half + piece
            half = text[-1:] if "\ud800" <= text[-1:] <= "\udbff" else ""
            text = checked_text(text.removesuffix(half), left)
            if text:
                yield text
            left -= len(text)
            if left <= 0:
                return

    def _whole(self) -> Generator[str | Evidence, None, None]:
        """The pieces of the answer, of its second step if the model said in the first that it needs the memory."""
        if not self._context.may_ask_for_memory:
            yield from self._pieces_of_step(first=False)
            return
        held: list[str | Evidence] = []
        with closing(self._pieces_of_step(first=True)) as pieces:
            for piece in pieces:
                held.append(piece)
                if not _may_become_call("".join(one for one in held if isinstance(one, str))):
                    break
            if not _is_call("".join(one for one in held if isinstance(one, str))):
                yield from held
                yield from pieces
                return
        self._context, self._given = self._composed(self._found, first=False)
        yield from self._pieces_of_step(first=False)

    def _pieces_of_step(self, *, first: bool) -> Generator[str | Evidence, None, None]:
        """What the model says; a prompt that its server finds too large is made smaller, by what the server said."""
        for attempt in range(1, MOST_TRIES + 1):
            try:
                scheduler = self._chat.model.scheduler(Priority.QUESTION)
                with closing(scheduler.stream(self._begin, Priority.QUESTION, self._cancel)) as pieces:
                    yield from pieces
                return
            except PromptTooLargeError:
                if attempt == MOST_TRIES:
                    raise
                self._context, self._given = self._composed(self._found, first=first)

    def _begin(self, token: CancelToken) -> Generator[str | Evidence, None, None]:
        return self._chat.model.answer(self._context, token)

    def _finish(self) -> None:
        if self._answer is not None:
            return
        self._cancel.detach()
        if self._first_token_seconds is None and self._on_first_piece is not None:
            self._on_first_piece()
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


def _may_become_call(text: str) -> bool:
    """Whether what was said so far may still be nothing but the call for the memory."""
    letters = re.sub(r"\W", "", text).upper()
    return prompts.MEMORY.startswith(letters)


def _is_call(text: str) -> bool:
    """Whether a model said, with whatever marks around it, the word for that it needs the memory, and nothing else."""
    return re.sub(r"\W", "", text).upper() == prompts.MEMORY
