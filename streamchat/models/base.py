"""What the engine asks of a model, and the base of every generative backend."""

from __future__ import annotations

import logging
import re
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

import torch

from streamchat import prompts
from streamchat.errors import InputError
from streamchat.gate import Gate, Priority
from streamchat.images import jpeg
from streamchat.types import Caption, Clip, Clue, Context, Evidence, Frame, Span, Visual

log = logging.getLogger(__name__)

Message = dict[str, Any]  # {"role": ..., "content": text, or a list of {"type": "text"|"image", ...} parts}
CAPTION_TOKENS = 96  # length of a caption or summary at most
YES = re.compile(r"\W*yes\b[\s,.:;–—-]*(.*)", re.IGNORECASE | re.DOTALL)
LISTENING_SECONDS = 0.25  # an answer whose listener takes no longer than this for a piece is not held up by captions


@runtime_checkable
class Model(Protocol):
    """A model as the engine sees it. Methods may be called from different threads at the same time."""

    name: str  # shown to people, with what the model cannot do
    tokens_per_frame: int  # P
    dim: int  # D, as stored
    number_bytes: int  # of one number of a token, as stored
    answers_from_tokens: bool  # else from what it noted: then what is on the screen need not be encoded for a question
    captions_from_pictures: bool  # else from a clip's tokens: then no pictures are kept of pending clips

    def encode_frames(self, frames: Sequence[Frame]) -> torch.Tensor:
        """Visual tokens [N, P, D] of N frames, on the CPU; every frame is encoded by itself."""
        ...

    def caption(self, clip: Clip) -> Caption:
        """Say what a clip shows."""
        ...

    def summarize(self, captions: Sequence[Caption]) -> Caption:
        """Say in one caption what several captions, in time order, tell."""
        ...

    def answer(self, context: Context) -> Iterator[str | Evidence]:
        """Stream an answer in pieces, and the moments that it rests on as `Evidence`."""
        ...

    def look_ahead(self, frame: Frame) -> None:
        """Look at the newest kept frame while there is time, so that a question need not wait for it."""
        ...

    def notice(self, question: str, clip: Clip, caption: Caption) -> str | None:
        """Why a clip is what a standing question waits for, in a few words; None if it is not."""
        ...


class ChatModel(ABC):
    """A model that speaks: it is given messages and visuals, and streams text.

    The gates let a question go before a caption: the iterator of `stream` is advanced with the turn held, and
    implementations call `self.gates[priority].offer(priority)` between tokens.
    """

    name: str
    tokens_per_frame: int
    dim: int
    number_bytes: int = 4
    answers_from_tokens = True
    captions_from_pictures = False
    max_context: int  # tokens that the language model can take, answer included

    def __init__(self) -> None:
        self.gates = dict.fromkeys(Priority, Gate())  # one and the same, unless captions have a copy of the model

    @abstractmethod
    def encode_frames(self, frames: Sequence[Frame]) -> torch.Tensor:
        """Visual tokens [N, P, D] of N frames, on the CPU."""

    @abstractmethod
    def count_tokens(self, text: str) -> int:
        """How many tokens of the language model a text takes."""

    @abstractmethod
    def stream(
        self,
        messages: Sequence[Message],
        visuals: Sequence[Visual] = (),
        *,
        max_new_tokens: int,
        temperature: float,
        seed: int,
        priority: Priority,
    ) -> Generator[str, None, None]:
        """Stream the reply to messages whose image parts, in order, stand for `visuals`, one part each.

        `temperature` 0 is greedy; one seed gives one reply. Closing the generator ends the work within a token.
        """

    def prompt_tokens(self, messages: Sequence[Message], visuals: Sequence[Visual]) -> int:
        """How many tokens of the language model a whole prompt takes."""
        texts = [part["text"] for message in messages for part in parts_of(message) if part["type"] == "text"]
        return self.count_tokens("\n".join(texts)) + self.tokens_per_frame * sum(len(seen.tokens) for seen in visuals)

    def visuals_of_clip(self, clip: Clip) -> list[Visual]:
        """What a clip is described from: its centroids, as one visual, or each of its keyframes, without tokens."""
        if not self.captions_from_pictures:
            return [Visual(tokens=clip.tokens, span=clip.span)]
        return [
            Visual(tokens=clip.tokens[:0], span=Span(frame.pts_seconds, frame.pts_seconds), keyframe=jpeg(frame.data))
            for frame in clip.keyframes
        ]

    def caption(self, clip: Clip) -> Caption:
        """Describe a clip."""
        visuals = self.visuals_of_clip(clip)
        text = prompts.CAPTION.format(span=prompts.moment(clip.span))
        content = [*[{"type": "image"}] * len(visuals), {"type": "text", "text": text}]
        return self._say([{"role": "user", "content": content}], visuals)

    def summarize(self, captions: Sequence[Caption]) -> Caption:
        """Sum up captions that follow each other in time."""
        texts = [caption.text for caption in captions]
        budget = self.max_context - CAPTION_TOKENS - self.count_tokens(prompts.SUMMARY)
        while len(texts) > 1 and self.count_tokens(prompts.numbered(texts)) > budget:
            texts.pop(0)
        if len(texts) < len(captions):
            log.warning("%d of %d captions do not fit into a summary", len(captions) - len(texts), len(captions))
        return self._say([{"role": "user", "content": prompts.SUMMARY.format(captions=prompts.numbered(texts))}], [])

    def answer(self, context: Context) -> Iterator[str | Evidence]:
        """Stream the answer to a question in its context (paper section 3.4)."""
        context = fit(context, self)
        pieces = self.stream(
            messages_of(context),
            visuals_of(context),
            max_new_tokens=context.max_new_tokens,
            temperature=context.temperature,
            seed=context.seed,
            priority=Priority.QUESTION,
        )
        try:
            while (piece := self._next_piece(pieces)) is not None:
                yield piece
        finally:
            pieces.close()
            self.gates[Priority.QUESTION].let_go()
        yield from retrieved_evidence(context)

    def look_ahead(self, frame: Frame) -> None:  # noqa: B027 - a model that notes has something to do
        """Nothing: the tokens of a kept frame are there already."""

    def notice(self, question: str, clip: Clip, caption: Caption) -> str | None:  # noqa: ARG002 - pictures tell more
        """Ask for yes or no with a reason; anything else is no."""
        visuals = self.visuals_of_clip(clip)
        text = prompts.NOTICE.format(question=question, span=prompts.moment(clip.span))
        content = [*[{"type": "image"}] * len(visuals), {"type": "text", "text": text}]
        reply = YES.match(self._say([{"role": "user", "content": content}], visuals).text)
        return None if reply is None else reply[1].strip() or "yes"

    def _next_piece(self, pieces: Generator[str, None, None]) -> str | None:
        """The next piece of an answer; the turn is held only a little longer, so that a slow listener blocks nobody."""
        with self.gates[Priority.QUESTION].turn(Priority.QUESTION, keep_seconds=LISTENING_SECONDS):
            return next(pieces, None)

    def _say(self, messages: Sequence[Message], visuals: Sequence[Visual]) -> Caption:
        """A caption is greedy, so that the memory of a stream is the same every time."""
        with self.gates[Priority.CAPTION].turn(Priority.CAPTION):
            pieces = self.stream(
                messages, visuals, max_new_tokens=CAPTION_TOKENS, temperature=0.0, seed=0, priority=Priority.CAPTION
            )
            return Caption("".join(pieces).strip())


def parts_of(message: Message) -> list[dict[str, str]]:
    """The content of a message as parts, also if it is a plain text."""
    content = message["content"]
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def visuals_of(context: Context) -> list[Visual]:
    """Everything visual in a context, in time order: that of `messages_of`'s image parts."""
    return sorted((*context.recalled, *context.recent), key=lambda visual: visual.span)


def messages_of(context: Context) -> list[Message]:
    """The prompt of a question: related dialogue, clues with their times, pictures with theirs, the question."""
    head = []
    if context.turns:
        head.append(prompts.DIALOGUE)
        for turn in context.turns:
            time = prompts.clock(turn.asked_at_seconds)
            head.append(prompts.TURN.format(time=time, question=turn.question, answer=turn.answer))
    if context.clues:
        head.append(prompts.CLUES)
        head += [prompts.CLUE.format(span=prompts.moment(clue.span), text=clue.caption.text) for clue in context.clues]
    parts: list[dict[str, str]] = []
    visuals = visuals_of(context)
    if visuals:
        head.append(prompts.PICTURES)
    if head:
        parts.append({"type": "text", "text": "\n".join(head)})
    for visual in visuals:
        parts.append({"type": "text", "text": f"\n[{prompts.moment(visual.span)}]"})
        parts.append({"type": "image"})
    question = prompts.QUESTION.format(time=prompts.clock(context.asked_at_seconds), question=context.question)
    parts.append({"type": "text", "text": f"\n{question}"})
    return [{"role": "system", "content": prompts.SYSTEM}, {"role": "user", "content": parts}]


def fit(context: Context, model: ChatModel) -> Context:
    """The context cut to the model's size, least related first; what is on the screen now stays to the last.

    Raises InputError if the question alone is too long.
    """
    dropped = 0
    room = model.max_context - context.max_new_tokens
    while model.prompt_tokens(messages_of(context), visuals_of(context)) > room:
        smaller = _without_least_related(context)
        if smaller is None:
            raise InputError(
                f"the question is too long: {model.name} takes {model.max_context} tokens, of which "
                f"{context.max_new_tokens} are kept for the answer; ask with fewer words"
            )
        context, dropped = smaller, dropped + 1
    if dropped:
        log.warning("the context is full: the %d least related of its parts were left out", dropped)
    return context


def _without_least_related(context: Context) -> Context | None:
    """The context less its least related visual or clue, the oldest of equals; the dialogue goes before the last one.

    None if nothing can be left out.
    """
    parts: list[Visual | Clue] = [*visuals_of(context), *context.clues]
    if context.turns and len(parts) <= 1:
        return replace(context, turns=())
    if not parts:
        return None
    least = min(parts, key=lambda part: (part.relevance, part.span))
    return replace(
        context,
        recent=tuple(visual for visual in context.recent if visual is not least),
        recalled=tuple(visual for visual in context.recalled if visual is not least),
        clues=tuple(clue for clue in context.clues if clue is not least),
    )


def retrieved_evidence(context: Context) -> tuple[Evidence, ...]:
    """The moments that were retrieved, for an answer of which the model cannot say on which of them it rests.

    They are the deepest nodes that the walk reached, and what has been on the screen since the last of them.
    """
    visited = [clue for clue in context.clues if clue.visited]
    deepest = [clue for clue in visited if not any(_inside(other.span, clue.span) for other in visited)]
    moments = [Evidence(span=clue.span, caption=clue.caption.text, keyframe=clue.keyframe) for clue in deepest]
    now = context.recent[-1] if context.recent else None
    if now is not None:
        start = context.open_clip.span.start if context.open_clip else now.span.start
        moments.append(
            Evidence(span=Span(start, now.span.end), caption="What was on the screen.", keyframe=now.picture())
        )
    return tuple(moments)


def _inside(inner: Span, outer: Span) -> bool:
    return inner != outer and outer.start <= inner.start and inner.end <= outer.end


def takes_nothing(name: str, argument: str, device: str | None) -> None:
    """Raise InputError if a model that has no choices was given some."""
    if argument:
        raise InputError(f"the model {name} takes nothing behind its name, got {argument!r}: write just {name!r}")
    if device not in (None, "cpu"):
        raise InputError(f"the model {name} runs on the CPU, got the device {device!r}: leave the device out")
