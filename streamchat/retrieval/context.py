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

from streamchat.errors import InputError
from streamchat.models import prompts
from streamchat.models.base import PromptReader, messages_of, same_captions, visuals_of
from streamchat.options import Options
from streamchat.retrieval.gather import in_reading_order
from streamchat.types import Context, DialogueTurn, Given, GivenCaption, RetrievedCaption, Span, Visual

log = logging.getLogger(__name__)

MISFITS = 8  # parts in a row that are too large, after which no smaller one is looked for
TURN_CHARACTERS = 600  # of a question and of an answer of the dialogue
FIRST_PICTURE_SHARE = 0.6  # of what the present leaves that one recalled picture may take in a small prompt
MOST_TIMES = 8  # of one text in a prompt
CORRECTIONS = 4  # of an estimated length, before parts are dropped one by one

T = TypeVar("T")


def compose(found: Context, model: PromptReader, options: Options, *, short: bool = False) -> tuple[Context, Given]:
    """The context cut to what a model's prompt holds, and what that is.

    `short` is the first of two steps: the present and the last round alone, and the model may say that it needs the
    memory. The cost does not depend on how much is left out. Raises InputError if the question is so long that what is
    on the screen does not fit beside it.
    """
    whole, room = found, model.max_context - found.max_new_tokens
    found = replace(found, turns=tuple(_short(turn) for turn in found.turns))
    if short:
        turns = found.turns[-1:] if found.last_turn is not None else ()
        found = replace(found, captions=(), recalled=(), recent=(), turns=turns, may_ask_for_memory=True)
    bare = replace(found, present=(), captions=(), recalled=(), recent=(), turns=())
    left = room - _length(bare, model)
    pictures = options.max_pictures if model.max_pictures is None else min(options.max_pictures, model.max_pictures)
    context, length = _fitting(bare, found, _Room(left, pictures), model, options)
    if left < 0 or (found.present and pictures and not context.present):
        raise InputError(
            f"the question is too long: {model.name} takes {model.max_context} tokens, of which "
            f"{found.max_new_tokens} are kept for the answer; ask with fewer words"
        )
    given = _given(context, whole, length)
    log.info("%s", in_words(given))
    return context, given


def everything(context: Context) -> Given:
    """What a model is given that reads no prompt: every caption found, and the frames that have none yet."""
    frames = [frame for clip in context.pending_clips for frame in clip.keyframes]
    frames += [] if context.open_clip is None else context.open_clip.keyframes
    frames += [context.newest] if context.present else []
    times = sorted({frame.pts_seconds for frame in frames})
    return Given(
        captions=tuple(GivenCaption(one.span, one.level) for one in context.captions),
        pictures=tuple(Span(time, time) for time in times),
        turns=len(context.turns),
    )


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


def _fitting(bare: Context, found: Context, room: _Room, model: PromptReader, options: Options) -> tuple[Context, int]:
    """The bare context with what of the found one fits into the room, and the length of its prompt in tokens."""
    most = model.max_context - found.max_new_tokens
    costs, lines = _Costs(model), _lines(found.captions)
    left = room.tokens
    for _ in range(CORRECTIONS):
        context = _filled(bare, found, lines, _Room(left, room.pictures), costs, options)
        length = _length(context, model)
        if length <= most:
            return context, length
        left -= length - most
    while length > most and (smaller := _without_last(context)) is not None:
        context, length = smaller, _length(smaller, model)
    return context, length


class _Costs:
    """What the parts of a prompt take, in tokens; each is counted once."""

    def __init__(self, model: PromptReader) -> None:
        self._model = model
        self._known: dict[int, int] = {}
        headings = (prompts.DIALOGUE, prompts.CAPTIONS, prompts.OTHER_CAPTIONS, prompts.PICTURES)
        self.headings = model.count_tokens("\n".join(headings))

    def of(self, part: Visual | DialogueTurn | list[RetrievedCaption]) -> int:
        """The tokens of a part with what is written around it."""
        if id(part) not in self._known:
            self._known[id(part)] = self._counted(part)
        return self._known[id(part)]

    def _counted(self, part: Visual | DialogueTurn | list[RetrievedCaption]) -> int:
        if isinstance(part, Visual):
            return self._model.count_tokens(prompts.label(part.span)) + self._model.picture_tokens(part)
        written = prompts.turn_lines(part) if isinstance(part, DialogueTurn) else prompts.caption_line(part)
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

    def take_first(self, tokens: float, room: _Room, cost: Callable[[T], int]) -> None:
        """Take the best of all, if it fits into so many tokens, and the part is wanted at all."""
        if self.share > 0 and self._left and cost(self._left[0]) <= tokens:
            self.fill(tokens, 1, room, cost)

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


def _filled(
    bare: Context,
    found: Context,
    lines: Sequence[list[RetrievedCaption]],
    room: _Room,
    costs: _Costs,
    options: Options,
) -> Context:
    """The bare context with what fits into the room, by quotas."""
    present = _Part(_best_first(found.present), 1.0, pictures=True)
    present.fill(room.tokens, room.pictures, room, costs.of)
    room.tokens -= costs.headings
    captions = _Part(lines, options.captions_share)
    recalled = _Part(_best_first(found.recalled), options.recalled_share, pictures=True)
    recent = _Part(_best_first(found.recent), options.recent_share, pictures=True)
    turns = _Part(list(reversed(found.turns)), options.dialogue_share)
    tokens, pictures = room.tokens, room.pictures
    share_of_pictures = max(recalled.share + recent.share, 1e-9)
    recalled.take_first(FIRST_PICTURE_SHARE * tokens, room, costs.of)
    parts: tuple[_Part[Any], ...] = (captions, turns, recalled, recent)
    for part in parts:
        part.fill(part.share * tokens, part.share / share_of_pictures * pictures, room, costs.of)
    for part in (recalled, recent, captions, turns):  # a picture needs more than its share of a small prompt
        if part.share > 0:
            part.fill(room.tokens, room.pictures, room, costs.of)
    return replace(
        bare,
        present=_in_time_order(present.taken),
        captions=tuple(sorted((one for line in captions.taken for one in line), key=in_reading_order)),
        recalled=_in_time_order(recalled.taken),
        recent=_in_time_order(recent.taken),
        turns=tuple(turn for turn in found.turns if any(turn is one for one in turns.taken)),
    )


def _lines(captions: Sequence[RetrievedCaption]) -> list[list[RetrievedCaption]]:
    """Captions in the lines that they make, best first: those that say the same are one, of so many times at most."""
    groups = same_captions(_best_first(captions))
    return [sorted(group[:MOST_TIMES], key=in_reading_order) for group in groups]


Ranked = TypeVar("Ranked", Visual, RetrievedCaption)


def _best_first(parts: Sequence[Ranked]) -> list[Ranked]:
    return sorted(parts, key=lambda part: part.rank)


def _in_time_order(visuals: Sequence[Visual]) -> tuple[Visual, ...]:
    return tuple(sorted(visuals, key=lambda visual: visual.span))


def _without_last(context: Context) -> Context | None:
    """The context less the part of least worth; what is on the screen goes last. None if it has no parts."""
    if context.turns:
        return replace(context, turns=context.turns[1:])
    for name in ("recent", "recalled", "captions", "present"):
        parts: Sequence[Any] = getattr(context, name)
        if parts:
            worst = max(parts, key=lambda part: part.rank)
            smaller: dict[str, Any] = {name: tuple(part for part in parts if part is not worst)}
            return replace(context, **smaller)
    return None


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
