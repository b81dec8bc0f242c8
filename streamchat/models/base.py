"""What the engine asks of a model, and the base of every generative backend."""

from __future__ import annotations

import logging
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

import torch

from streamchat.clock import time_range, timestamp
from streamchat.errors import InputError, PromptTooLargeError
from streamchat.models import prompts
from streamchat.models.scheduler import CancelToken, Priority, Scheduler
from streamchat.types import Caption, Clip, Context, Evidence, Frame, RetrievedCaption, Span, Visual
from streamchat.video.images import picture_of

log = logging.getLogger(__name__)

Message = dict[str, Any]  # {"role": ..., "content": text, or a list of {"type": "text"|"image", ...} parts}
CAPTION_TOKENS = 96  # length of a caption or summary at most
MOST_TRIES = 5  # of a prompt that a server finds too large
MOST_CITED = 3  # retrieved moments that an answer cites
LEAST_CITED = 0.6  # of the best one's relevance, that another must have to be cited beside it
YES = re.compile(r"\W*yes\b[\s,.:;–—-]*(.*)", re.IGNORECASE | re.DOTALL)


@runtime_checkable
class Model(Protocol):
    """A model as the engine sees it. Methods may be called from different threads at the same time.

    Whoever calls one that takes a token holds a slot of its scheduler; the model calls `check` on the token between
    tokens, or between the steps of its work, and does no scheduling of its own.
    """

    name: str  # shown to people, with what the model cannot do
    tokens_per_frame: int  # P at most: it may depend on the proportions of a stream's frames
    dim: int  # D, as stored
    number_bytes: int  # of one number of a token, as stored
    captions_from_pictures: bool  # else from a clip's tokens: then no pictures are kept of pending clips

    @property
    def prompt(self) -> PromptReader | None:
        """How much a prompt of this model holds; None: it reads none, and answers from all that is found."""
        ...

    def scheduler(self, priority: Priority) -> Scheduler:
        """Who serves calls of a priority: one and the same, unless there are several copies of the model."""
        ...

    def encode(self, frames: Sequence[Frame]) -> torch.Tensor:
        """Visual tokens [N, P, D] of N frames, on the CPU; every frame is encoded by itself."""
        ...

    def caption(self, clip: Clip, cancel: CancelToken) -> Caption:
        """Say what a clip shows."""
        ...

    def summarize(self, captions: Sequence[Caption], cancel: CancelToken) -> Caption:
        """Say in one caption what several captions, in time order, say."""
        ...

    def answer(self, context: Context, cancel: CancelToken) -> Generator[str | Evidence, None, None]:
        """Stream an answer in pieces, and the moments that it rests on as `Evidence`."""
        ...

    def check_alert(self, question: str, clip: Clip, caption: Caption, cancel: CancelToken) -> str | None:
        """Why a clip is what an alert waits for, in a few words; None if it is not."""
        ...

    def idle(self, cancel: CancelToken) -> bool:
        """Do one unit of background work, if there is any; False if there is none."""
        ...


class PromptReader(Protocol):
    """A model that is given a prompt: how much of it there can be."""

    name: str
    max_context: int  # tokens, the answer included
    max_pictures: int | None  # in one prompt; None: as many as there is room for

    def count_tokens(self, text: str) -> int:
        """How many tokens of the language model a text takes."""
        ...

    def picture_tokens(self, visual: Visual) -> int:
        """How many tokens of the language model a visual takes at most."""
        ...

    def prompt_tokens(self, messages: Sequence[Message], visuals: Sequence[Visual]) -> int:
        """How many tokens of the language model a whole prompt takes."""
        ...


class ChatModel(ABC):
    """A model that is given messages and visuals, and streams text."""

    name: str
    tokens_per_frame: int
    dim: int
    number_bytes: int = 4
    captions_from_pictures = False
    max_context: int  # tokens that the language model can take, answer included
    max_pictures: int | None = None  # in one prompt; None: as many as there is room for

    def __init__(self) -> None:
        self._scheduler = Scheduler()

    def scheduler(self, priority: Priority) -> Scheduler:  # noqa: ARG002 - there is one copy of the model
        """One for all priorities: questions go before captions, and pause them between tokens."""
        return self._scheduler

    @abstractmethod
    def encode(self, frames: Sequence[Frame]) -> torch.Tensor:
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
        cancel: CancelToken,
    ) -> Generator[str, None, None]:
        """Stream the reply to messages whose image parts, in order, stand for `visuals`, one part each.

        `temperature` 0 is greedy; one seed gives one reply. The token is checked between tokens: it ends the work with
        CancelledError. `priority` decides which copy of the model replies, if there are several.
        """

    @property
    def prompt(self) -> PromptReader:
        """How much a prompt of this model holds."""
        return self

    def picture_tokens(self, visual: Visual) -> int:
        """How many tokens of the language model a visual takes at most."""
        return self.tokens_per_frame if visual.tokens is None else visual.tokens.shape[:2].numel()

    def prompt_tokens(self, messages: Sequence[Message], visuals: Sequence[Visual]) -> int:
        """How many tokens of the language model a whole prompt takes."""
        texts = [part["text"] for message in messages for part in parts_of(message) if part["type"] == "text"]
        return self.count_tokens("\n".join(texts)) + sum(map(self.picture_tokens, visuals))

    def with_tokens(self, visuals: Sequence[Visual]) -> list[Visual]:
        """The visuals, all with tokens: frames that were not encoded before are encoded now, all at once."""
        missing = [visual.frame for visual in visuals if visual.tokens is None and visual.frame is not None]
        fresh = iter(self.encode(missing)) if missing else iter(())
        return [replace(visual, tokens=next(fresh)[None]) if visual.tokens is None else visual for visual in visuals]

    def visuals_of_clip(self, clip: Clip) -> list[Visual]:
        """What a clip is described from: its centroids, as one visual, or each of its keyframes, without tokens."""
        if not self.captions_from_pictures:
            return [Visual(tokens=clip.tokens, span=clip.span, size=clip.keyframes[0].data.shape[:2])]
        return [Visual(span=Span(frame.pts_seconds, frame.pts_seconds), frame=frame) for frame in clip.keyframes]

    def caption(self, clip: Clip, cancel: CancelToken) -> Caption:
        """Describe a clip."""
        text = prompts.CAPTION.format(span=time_range(clip.span))
        return self._asked_of_clip(clip, text, Priority.CAPTION, cancel)

    def summarize(self, captions: Sequence[Caption], cancel: CancelToken) -> Caption:
        """Sum up captions that follow each other in time."""
        return self._until_it_fits(lambda: self._summed_up(captions, cancel))

    def _summed_up(self, captions: Sequence[Caption], cancel: CancelToken) -> Caption:
        texts = [caption.text for caption in captions]
        budget = self.max_context - CAPTION_TOKENS - self.count_tokens(prompts.SUMMARY)
        while len(texts) > 1 and self.count_tokens(prompts.numbered(texts)) > budget:
            texts.pop(0)
        if len(texts) < len(captions):
            log.warning("%d of %d captions do not fit into a summary", len(captions) - len(texts), len(captions))
        asked = [{"role": "user", "content": prompts.SUMMARY.format(captions=prompts.numbered(texts))}]
        return self._say(asked, [], Priority.CAPTION, cancel)

    def answer(self, context: Context, cancel: CancelToken) -> Generator[str | Evidence, None, None]:
        """Stream the answer to a question in its context (paper section 3.4), which must fit into a prompt."""
        pieces = self.stream(
            messages_of(context),
            visuals_of(context),
            max_new_tokens=context.max_new_tokens,
            temperature=context.temperature,
            seed=context.seed,
            priority=Priority.QUESTION,
            cancel=cancel,
        )
        with closing(pieces):
            yield from pieces
        yield from retrieved_evidence(context)

    def check_alert(self, question: str, clip: Clip, caption: Caption, cancel: CancelToken) -> str | None:  # noqa: ARG002 - pictures say more
        """Ask for yes or no with a reason; anything else is no."""
        text = prompts.ALERT.format(question=question, span=time_range(clip.span))
        reply = YES.match(self._asked_of_clip(clip, text, Priority.ALERT, cancel).text)
        return None if reply is None else reply[1].strip() or "yes"

    def idle(self, cancel: CancelToken) -> bool:  # noqa: ARG002
        """Nothing: the tokens of all frames are there already."""
        return False

    def _asked_of_clip(self, clip: Clip, text: str, priority: Priority, cancel: CancelToken) -> Caption:
        """The reply to a text below the pictures of a clip."""

        def ask() -> Caption:
            visuals = self.visuals_of_clip(clip)
            content = [*[{"type": "image"}] * len(visuals), {"type": "text", "text": text}]
            return self._say([{"role": "user", "content": content}], visuals, priority, cancel)

        return self._until_it_fits(ask)

    @staticmethod
    def _until_it_fits(ask: Callable[[], Caption]) -> Caption:
        """Ask again while the model's server finds the prompt too large, and says how large it may be."""
        for _ in range(MOST_TRIES - 1):
            try:
                return ask()
            except PromptTooLargeError:
                continue
        return ask()

    def _say(
        self, messages: Sequence[Message], visuals: Sequence[Visual], priority: Priority, cancel: CancelToken
    ) -> Caption:
        """A caption is greedy, so that the memory of a stream is the same every time."""
        settings = {"max_new_tokens": CAPTION_TOKENS, "temperature": 0.0, "seed": 0}
        with closing(self.stream(messages, visuals, **settings, priority=priority, cancel=cancel)) as pieces:  # type: ignore[arg-type]
            return Caption("".join(pieces).strip())


def parts_of(message: Message) -> list[dict[str, str]]:
    """The content of a message as parts, also if it is a plain text."""
    content = message["content"]
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def visuals_of(context: Context) -> list[Visual]:
    """Everything visual in a context, in time order: that of `messages_of`'s image parts."""
    return sorted((*context.recalled, *context.recent, *context.present), key=lambda visual: visual.span)


def messages_of(context: Context) -> list[Message]:
    """The prompt of a question: related dialogue, captions with their times, pictures with theirs, the question."""
    head = []
    if context.turns:
        head += [prompts.DIALOGUE, *map(prompts.turn_lines, context.turns)]
    lines = same_captions(context.captions)
    for heading, chosen in (
        (prompts.CAPTIONS, [line for line in lines if any(one.found for one in line)]),
        (prompts.OTHER_CAPTIONS, [line for line in lines if not any(one.found for one in line)]),
    ):
        if chosen:
            head += [heading, *map(prompts.caption_line, chosen)]
    parts: list[dict[str, str]] = []
    visuals = visuals_of(context)
    if visuals:
        head.append(prompts.PICTURES)
    if head:
        parts.append({"type": "text", "text": "\n".join(head)})
    for visual in visuals:
        parts.append({"type": "text", "text": prompts.label(visual.span)})
        parts.append({"type": "image"})
    asked = prompts.QUESTION_OR_MEMORY if context.may_ask_for_memory else prompts.QUESTION
    question = asked.format(time=timestamp(context.asked_at_seconds), question=context.question)
    if context.stretch is not None:
        question = f"{question}\n{prompts.stretch_line(context.stretch, context.moment_seconds)}"
    parts.append({"type": "text", "text": f"\n{question}"})
    return [{"role": "system", "content": prompts.SYSTEM}, {"role": "user", "content": parts}]


def same_captions(captions: Sequence[RetrievedCaption]) -> list[list[RetrievedCaption]]:
    """Captions in groups that say the same, each in the order of its first."""
    groups: dict[tuple[str, bool], list[RetrievedCaption]] = {}
    for one in captions:
        groups.setdefault((one.caption.text, one.level == 0), []).append(one)
    return list(groups.values())


def prompt_text(context: Context) -> str:
    """The prompt of a question for people to read, with a mark in the place of each picture."""
    return "\n\n".join(
        f"{message['role']}:\n"
        + "".join(part["text"] if part["type"] == "text" else " <picture>" for part in parts_of(message))
        for message in messages_of(context)
    )


def retrieved_evidence(context: Context) -> tuple[Evidence, ...]:
    """The moments that were retrieved, for an answer of which the model cannot say on which of them it rests.

    They are the best that were found and have nothing found inside them, in time order, and what has been on the screen
    since the last leaf.
    """
    found = [one for one in context.captions if one.found]
    deepest = [one for one in found if not any(_inside(other.span, one.span) for other in found)]
    ranked = sorted(deepest, key=lambda one: one.rank)
    least = LEAST_CITED * max((one.relevance for one in ranked), default=0.0)
    cited = [one for one in ranked if context.stretch is not None or one.relevance >= least]
    best = sorted(cited[:MOST_CITED], key=lambda one: one.span)
    moments = [Evidence(span=one.span, caption=one.caption.text, keyframe=one.keyframe) for one in best]
    now = context.present[-1] if context.present else None
    if now is not None:
        start = context.open_clip.span.start if context.open_clip else now.span.start
        span = Span(min(start, now.span.end), now.span.end)
        moments.append(Evidence(span=span, caption="What was on the screen.", keyframe=picture_of(now)))
    return tuple(moments)


def _inside(inner: Span, outer: Span) -> bool:
    return inner != outer and outer.start <= inner.start and inner.end <= outer.end


def takes_nothing(name: str, argument: str, device: str | None) -> None:
    """Raise InputError if a model that has no choices was given some."""
    if argument:
        raise InputError(f"the model {name} takes nothing behind its name, got {argument!r}: write just {name!r}")
    if device not in (None, "cpu"):
        raise InputError(f"the model {name} runs on the CPU, got the device {device!r}: leave the device out")
