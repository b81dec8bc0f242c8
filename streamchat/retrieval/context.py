"""What of a context fits into a model's prompt, by quotas.

Retrieval is in vain if the prompt leaves out what was found. So the room of a prompt is shared out: first the question,
what is on the screen and the last seconds; then retrieved captions, recalled pictures, the short-term draw and related
dialogue, each with a share of what is left, in the order of worth within it; what one does not use goes to the others.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from streamchat import prompts
from streamchat.config import Options
from streamchat.errors import InputError
from streamchat.models.base import PromptReader, messages_of, visuals_of
from streamchat.types import Context, DialogueTurn, Given, GivenCaption, RetrievedCaption, Span, Visual

log = logging.getLogger(__name__)

MISFITS = 8  # parts in a row that are too large, after which no smaller one is looked for
TURN_CHARACTERS = 600  # of a question and of an answer of the dialogue
CORRECTIONS = 4  # of an estimated length, before parts are dropped one by one

T = TypeVar("T")


def compose(found: Context, model: PromptReader, options: Options) -> tuple[Context, Given]:
    """The context cut to what a model's prompt holds, and what that is.

    Its cost does not depend on how much is left out. Raises InputError if the question alone is too long.
    """
    found = replace(found, turns=tuple(_short(turn) for turn in found.turns))
    room = model.max_context - found.max_new_tokens
    bare = replace(found, present=(), captions=(), recalled=(), recent=(), turns=())
    left = room - _length(bare, model)
    if left < 0:
        raise InputError(
            f"the question is too long: {model.name} takes {model.max_context} tokens, of which "
            f"{found.max_new_tokens} are kept for the answer; ask with fewer words"
        )
    most_pictures = (
        options.max_pictures if model.max_pictures is None else min(options.max_pictures, model.max_pictures)
    )
    costs = _Costs(model)
    for _ in range(CORRECTIONS):
        context = _filled(bare, found, _Room(left, most_pictures), costs, options)
        over = _length(context, model) - room
        if over <= 0:
            break
        left -= over
    while _length(context, model) > room:
        context = _without_last(context)
    given = _given(context, found, _length(context, model))
    log.info("%s", in_words(given))
    return context, given


def everything(context: Context) -> Given:
    """What a model is given that reads no prompt: every caption found, and the frames that have none yet."""
    frames = [frame for clip in context.waiting for frame in clip.keyframes]
    frames += [] if context.open_clip is None else context.open_clip.keyframes
    frames += [context.newest] if context.present else []
    times = sorted({frame.pts_seconds for frame in frames})
    return Given(
        captions=tuple(GivenCaption(one.span, one.level) for one in context.captions),
        pictures=tuple(Span(time, time) for time in times),
        turns=len(context.turns),
    )


def short_of_memory(context: Context) -> Context:
    """The context of the first of two steps: the present alone, and the model may say that it needs the memory."""
    return replace(context, captions=(), recalled=(), recent=(), turns=(), may_ask_for_memory=True)


def in_words(given: Given) -> str:
    """What was given, and what was left out, in a line."""
    parts = (
        (len(given.captions), given.captions_left_out, "captions"),
        (len(given.pictures), given.pictures_left_out, "pictures"),
        (given.turns, given.turns_left_out, "rounds of the dialogue"),
    )
    counts = ", ".join(f"{count} of {count + left_out} {name}" for count, left_out, name in parts)
    return f"given: {counts}" + ("" if given.prompt_tokens is None else f", {given.prompt_tokens} tokens")


def _length(context: Context, model: PromptReader) -> int:
    return model.prompt_tokens(messages_of(context), visuals_of(context))


class _Costs:
    """What the parts of a prompt take, in tokens; each is counted once."""

    def __init__(self, model: PromptReader) -> None:
        self._model = model
        self._known: dict[int, int] = {}
        self.headings = model.count_tokens("\n".join((prompts.DIALOGUE, prompts.CAPTIONS, prompts.PICTURES)))

    def of(self, part: Visual | RetrievedCaption | DialogueTurn) -> int:
        """The tokens of a part with what is written around it."""
        if id(part) not in self._known:
            self._known[id(part)] = self._counted(part)
        return self._known[id(part)]

    def _counted(self, part: Visual | RetrievedCaption | DialogueTurn) -> int:
        if isinstance(part, Visual):
            return self._model.count_tokens(prompts.label(part.span)) + self._model.picture_tokens(part)
        written = prompts.caption_line(part) if isinstance(part, RetrievedCaption) else prompts.turn_lines(part)
        return self._model.count_tokens(written) + 1  # the line's end


@dataclass(slots=True)
class _Room:
    """What is left of a prompt."""

    tokens: int
    pictures: int


class _Part(Generic[T]):
    """One part of a context while it is filled."""

    def __init__(self, candidates: Sequence[T], share: float, *, pictures: bool = False) -> None:
        self.share = share  # of the tokens that the present leaves
        self.taken: list[T] = []
        self._left = list(candidates)  # best first
        self._pictures = pictures

    def fill(self, tokens: float, pictures: float, room: _Room, cost: Callable[[T], int]) -> None:
        """Take the best that are left, as many as fit into a quota and into the room."""
        tokens = min(tokens, room.tokens)
        most = int(min(pictures, room.pictures)) if self._pictures else len(self._left)
        spent, misfits = 0, 0
        taken: list[T] = []
        for part in self._left:
            if misfits == MISFITS or len(taken) == most:
                break
            needed = cost(part)
            if spent + needed > tokens:
                misfits += 1
                continue
            taken.append(part)
            spent, misfits = spent + needed, 0
        numbers = {id(part) for part in taken}
        self._left = [part for part in self._left if id(part) not in numbers]
        self.taken += taken
        room.tokens -= spent
        room.pictures -= len(taken) if self._pictures else 0


def _filled(bare: Context, found: Context, room: _Room, costs: _Costs, options: Options) -> Context:
    """The bare context with what fits into the room, by quotas."""
    present = _Part(_best_first(found.present), 1.0, pictures=True)
    present.fill(room.tokens, room.pictures, room, costs.of)
    room.tokens -= costs.headings
    captions = _Part(_best_first(found.captions), options.captions_share)
    recalled = _Part(_best_first(found.recalled), options.recalled_share, pictures=True)
    recent = _Part(_best_first(found.recent), options.recent_share, pictures=True)
    turns = _Part(found.turns, options.dialogue_share)
    tokens, pictures = room.tokens, room.pictures
    share_of_pictures = max(recalled.share + recent.share, 1e-9)
    parts: tuple[_Part[Any], ...] = (captions, turns, recalled, recent)
    for part in parts:
        part.fill(part.share * tokens, part.share / share_of_pictures * pictures, room, costs.of)
    for part in (recalled, recent, captions, turns):  # a picture needs more than its share of a small prompt
        part.fill(room.tokens, room.pictures, room, costs.of)
    return replace(
        bare,
        present=_in_time_order(present.taken),
        captions=tuple(sorted(captions.taken, key=lambda one: (one.span, one.level))),
        recalled=_in_time_order(recalled.taken),
        recent=_in_time_order(recent.taken),
        turns=tuple(turn for turn in found.turns if any(turn is one for one in turns.taken)),
    )


Ranked = TypeVar("Ranked", Visual, RetrievedCaption)


def _best_first(parts: Sequence[Ranked]) -> list[Ranked]:
    return sorted(parts, key=lambda part: part.rank)


def _in_time_order(visuals: Sequence[Visual]) -> tuple[Visual, ...]:
    return tuple(sorted(visuals, key=lambda visual: visual.span))


def _without_last(context: Context) -> Context:
    """The context less the part of least worth; what is on the screen goes last."""
    if context.turns:
        return replace(context, turns=context.turns[1:])
    for name in ("recent", "recalled", "captions", "present"):
        parts: Sequence[Any] = getattr(context, name)
        if parts:
            worst = max(parts, key=lambda part: part.rank)
            smaller: dict[str, Any] = {name: tuple(part for part in parts if part is not worst)}
            return replace(context, **smaller)
    raise RuntimeError("a context without parts is as short as it was when it fitted")


def _short(turn: DialogueTurn) -> DialogueTurn:
    question, answer = (
        text if len(text) <= TURN_CHARACTERS else f"{text[: TURN_CHARACTERS - 1]}…"
        for text in (turn.question, turn.answer)
    )
    return replace(turn, question=question, answer=answer)


def _given(context: Context, found: Context, prompt_tokens: int) -> Given:
    pictures = visuals_of(context)
    return Given(
        captions=tuple(GivenCaption(one.span, one.level) for one in context.captions),
        pictures=tuple(visual.span for visual in pictures),
        turns=len(context.turns),
        captions_left_out=len(found.captions) - len(context.captions),
        pictures_left_out=len(visuals_of(found)) - len(pictures),
        turns_left_out=len(found.turns) - len(context.turns),
        prompt_tokens=prompt_tokens,
    )
