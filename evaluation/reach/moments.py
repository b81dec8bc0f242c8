"""Two hours of distinct moments, each with a caption of one sentence: is the caption that is asked about given?

Every subject is seen at every place, and no two moments have two of subject, action and place in common: a question
names two of the three, in other words than the caption, and so asks about just one moment among many that are like it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from evaluation.reach.needles import Settings
from evaluation.reach.scripted import Known, ScriptedModel, Summarize, general, lossy
from evaluation.reach.wording import ACTIONS, PLACES, SUBJECTS
from streamchat.embedding import TextEmbedder
from streamchat.models.base import prompt_text
from streamchat.session.engine import StreamChat
from streamchat.types import Frame

COUNT = len(SUBJECTS) * len(PLACES)  # 480
ASKED = 120
MOMENT_SECONDS = 15.0
FRAME_SECONDS = 3.0
SUMMARIES: dict[str, Summarize] = {"lossy": lossy, "general": general}
SIZE = (128, 72)  # of a picture, pixels
CELLS = (9, 16)  # of random colors, by which every picture is unlike the others


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One moment: what is shown, what is said of it, and what is asked about it."""

    picture: np.ndarray  # uint8 [H, W, 3]
    caption: str
    question: str


def measure(settings: Settings, embedder: TextEmbedder, show: Callable[[str, int, int], None]) -> dict[str, int]:
    """Of how many questions the caption asked about is given, with either kind of summary, and of how many it is.

    One of four moments is asked about. `show` gets what is going on, and how many moments of how many were shown.
    """
    shown = moments(settings.seed)[: settings.moments]
    count = len(shown)
    drawn = np.random.default_rng([settings.seed, ASKED]).permutation(count)[: round(count * ASKED / COUNT)]
    asked = [int(number) for number in drawn]
    found = {"of": len(asked)}
    for name, summarize in SUMMARIES.items():
        model = ScriptedModel(
            [Known(moment.picture, moment.caption) for moment in shown],
            tokens=settings.tokens,
            max_context=settings.context,
            takes_pictures=settings.pictures is not None,
            summarize=summarize,
        )
        chat = StreamChat(model, settings.options, embedder)
        for frame in _frames(shown):
            chat.push(frame)
            show(f"{count} captions, {name} summaries", int(frame.pts_seconds / MOMENT_SECONDS), count)
        found[name] = sum(_is_given(chat, shown[number], number) for number in asked)
    return found


def moments(seed: int) -> list[Moment]:
    """All moments in the order in which they are shown; the same for the same seed."""
    rng = np.random.default_rng([seed, COUNT])
    found = [_moment(subject, place, rng) for subject in range(len(SUBJECTS)) for place in range(len(PLACES))]
    return [found[number] for number in rng.permutation(len(found))]


def _moment(subject: int, place: int, rng: np.random.Generator) -> Moment:
    (who, who_asked), (where, where_asked) = SUBJECTS[subject], PLACES[place]
    does, do_asked = ACTIONS[(subject + place) % len(ACTIONS)]
    questions = (
        f"What did {who_asked} do {where_asked}?",
        f"Where did {who_asked} {do_asked}?",
        f"Who could be seen to {do_asked} {where_asked}?",
    )
    colors = rng.integers(0, 256, (*CELLS, 3), np.uint8)
    return Moment(
        picture=cv2.resize(colors, SIZE, interpolation=cv2.INTER_NEAREST),
        caption=f"{who[0].upper()}{who[1:]} {does} {where}.",
        question=questions[rng.integers(len(questions))],
    )


def _frames(shown: Sequence[Moment]) -> Iterator[Frame]:
    """The moments one after the other, and a first frame of what comes next, which completes the last of them."""
    each = round(MOMENT_SECONDS / FRAME_SECONDS)
    for index in range(len(shown) * each + 1):
        picture = shown[index // each].picture if index < len(shown) * each else np.zeros((*SIZE[::-1], 3), np.uint8)
        yield Frame(picture, index * FRAME_SECONDS, index)


def _is_given(chat: StreamChat, moment: Moment, number: int) -> bool:
    """Whether the caption of the moment asked about, of its own leaf, stands in the prompt."""
    stream = chat.stream_answer(moment.question)
    start = number * MOMENT_SECONDS
    of_its_leaf = any(one.level == 0 and one.span.start <= start < one.span.end for one in stream.given.captions)
    written = moment.caption in prompt_text(stream.context)
    stream.close()
    return of_its_leaf and written
