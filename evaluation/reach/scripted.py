"""A deterministic model of any size that needs no weights and knows nothing but what it is given.

It knows some pictures by heart, as a real model knows what things look like, and so can say what one shows. What it
answers stands in the captions of its prompt, or is to be seen in the visuals there: what the memory lost, it lacks.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch

from streamchat.models import prompts
from streamchat.models.base import ChatModel, Message, parts_of
from streamchat.models.scheduler import CancelToken, Priority
from streamchat.types import Clip, Frame, Span, Visual
from streamchat.video.images import picture, picture_of

COPIES = 16  # of a cell's color in its token, so that tokens are large beside the pictures, as those of real models are
TOKEN_BYTES = COPIES * 3 * 4  # of a token in memory
CHARACTERS_PER_TOKEN = 4  # as is usual for English
PICTURE_GRID = 16  # rows and columns of mean colors that a JPEG is known by
CLEARLY = 0.5  # how far the nearest picture may be, as a share of the distance to any that shows something else
NAMED = 3  # captions that a lossy summary names
ASKED = re.compile(r"\b[A-Z]{4,}\b")  # the word that a question is about
UNKNOWN = "I do not know."

Summarize = Callable[[Sequence[str]], str]


class Known(NamedTuple):
    """A picture that the model knows, and what it says of it."""

    picture: np.ndarray  # uint8 [H, W, 3], RGB
    text: str


def lossy(captions: Sequence[str]) -> str:
    """A summary that names the first few of its captions and leaves the others out, as models do."""
    return " ".join(captions[:NAMED])


def general(captions: Sequence[str]) -> str:  # noqa: ARG001
    """A summary that could be of anything."""
    return "Several people are busy with different things in different places, one after the other."


class ScriptedModel(ChatModel):
    """Says of a clip what it knows of it, sums up by a rule, and answers with the number beside the word asked for.

    The tokens of a frame are its mean colors on a grid, so that an average of different frames looks like none of them.
    A model that takes pictures is given JPEGs instead, each of `tokens` in the prompt. Of a clip without a clear needle
    it says what is said of the nearest picture of the `background`.
    """

    name = "Scripted (it answers only from its prompt)"

    def __init__(
        self,
        needles: Sequence[Known],
        background: Sequence[Known] = (),
        *,
        tokens: int,
        max_context: int,
        takes_pictures: bool = False,
        summarize: Summarize = lossy,
    ) -> None:
        super().__init__()
        self.max_context = max_context
        self._tokens_in_prompt = tokens
        self._takes_pictures = takes_pictures
        self._grid = PICTURE_GRID if takes_pictures else max(1, math.isqrt(tokens))
        self.tokens_per_frame = 1 if takes_pictures else tokens
        self.dim = 3 * self._grid**2 if takes_pictures else 3 * COPIES
        self._summary_of = summarize
        self._known = (*needles, *background)
        self._needles = len(needles)
        self._colors = torch.stack([self._mean_colors(known.picture) for known in self._known])  # [M, grid * grid * 3]
        numbers: dict[str, int] = {}
        self._numbers = torch.tensor([numbers.setdefault(known.text, len(numbers)) for known in self._known])  # of text

    def encode(self, frames: Sequence[Frame]) -> torch.Tensor:
        """Mean colors, 0 to 1, of each frame: [N, tokens, 3 x COPIES], zero where the grid has fewer cells.

        For a model that takes pictures they are one vector a frame, [N, 1, dim], by which the memory tells them apart.
        """
        colors = torch.stack([self._mean_colors(frame.data) for frame in frames])
        if self._takes_pictures:
            return colors[:, None]
        tokens = torch.zeros(len(frames), self.tokens_per_frame, 3)
        tokens[:, : self._grid**2] = colors.reshape(len(frames), -1, 3)
        return tokens.repeat(1, 1, COPIES)

    def count_tokens(self, text: str) -> int:
        """One for every four characters."""
        return math.ceil(len(text) / CHARACTERS_PER_TOKEN)

    def picture_tokens(self, visual: Visual) -> int:
        """How many tokens a visual takes in the prompt."""
        given = not self._takes_pictures or visual.keyframe is not None or visual.frame is not None
        return self._tokens_in_prompt if given else 0

    def visuals_of_clip(self, clip: Clip) -> list[Visual]:
        """What a clip is described from: the pictures of its centroids, for a model that takes pictures."""
        if not self._takes_pictures:
            return super().visuals_of_clip(clip)
        return [Visual(span=Span(frame.pts_seconds, frame.pts_seconds), frame=frame) for frame in clip.keyframes]

    def stream(
        self,
        messages: Sequence[Message],
        visuals: Sequence[Visual] = (),
        *,
        max_new_tokens: int,
        temperature: float,  # noqa: ARG002 - it is always greedy
        seed: int,  # noqa: ARG002
        priority: Priority,  # noqa: ARG002 - there is one copy of it
        cancel: CancelToken,
    ) -> Generator[str, None, None]:
        """Reply to a prompt for a caption, for a summary, or with a question."""
        texts = [part["text"] for part in parts_of(messages[-1]) if part["type"] == "text"]
        if _begins(texts[0], prompts.CAPTION):
            reply = self._described(visuals)
        elif _begins(texts[0], prompts.SUMMARY):
            reply = self._summary_of(re.findall(r"^\d+\. (.+)$", texts[0], re.MULTILINE))
        else:
            reply = self._answered(texts, visuals)
        for word in _shortened(reply, max_new_tokens * CHARACTERS_PER_TOKEN).split():
            cancel.check()
            yield word + " "

    def _described(self, visuals: Sequence[Visual]) -> str:
        """What is said of a clip: every needle in it, else the background that most of its pictures show."""
        distances = self._distances(visuals)
        if seen := self._read(distances):
            return " ".join(dict.fromkeys(seen))
        background = self._known[self._needles :]
        if not background or not len(distances):
            return UNKNOWN
        nearest: Counter[int] = Counter(distances[:, self._needles :].argmin(1).tolist())
        return background[nearest.most_common(1)[0][0]].text

    def _answered(self, texts: Sequence[str], visuals: Sequence[Visual]) -> str:
        """The number that follows the word asked for, in the captions of the prompt or on one of its pictures."""
        *given, question = texts
        word = ASKED.findall(question)
        if not word:
            return UNKNOWN
        found = re.search(rf"\b{word[-1]}\b[^\d\n]*(\d+)", "\n".join((*given, *self._read(self._distances(visuals)))))
        return UNKNOWN if found is None else f"{word[-1]} {found[1]}"

    def _read(self, distances: torch.Tensor) -> list[str]:
        """What is said of the needles on pictures [K, M]; nothing of a picture that is not clearly one of them."""
        if not len(distances):
            return []
        least, nearest = distances.min(1)
        same = self._numbers == self._numbers[nearest][:, None]
        others = distances.masked_fill(same, torch.inf).min(1).values
        clear = (nearest < self._needles) & (least <= CLEARLY * others)
        return [self._known[int(number)].text for number in nearest[clear]]

    def _distances(self, visuals: Sequence[Visual]) -> torch.Tensor:
        """Of each picture that the model is given to each that it knows: [K, M]."""
        shown = [self._shown(visual) for visual in visuals]
        return torch.cdist(torch.cat([self._colors[:0], *shown]), self._colors)

    def _shown(self, visual: Visual) -> torch.Tensor:
        """Mean colors of a visual's pictures as the model is given them: [K, grid * grid * 3]."""
        if self._takes_pictures:
            jpeg = picture_of(visual)
            return self._colors[:0] if jpeg is None else self._mean_colors(picture(jpeg))[None]
        if visual.tokens is None:
            return self._colors[:0] if visual.frame is None else self._mean_colors(visual.frame.data)[None]
        return visual.tokens[:, : self._grid**2, :3].flatten(1)

    def _mean_colors(self, data: np.ndarray) -> torch.Tensor:
        """Mean colors of a picture on the grid, 0 to 1: [grid * grid * 3]."""
        cells = cv2.resize(data, (self._grid, self._grid), interpolation=cv2.INTER_AREA)
        return torch.from_numpy(cells).flatten().float() / 255


def _shortened(text: str, most: int) -> str:
    """The text, or as many of its first words as have so many characters at most."""
    return text if len(text) <= most else text[: most + 1].rpartition(" ")[0]


def _begins(text: str, template: str) -> bool:
    """Whether a prompt was made from a template."""
    return text.startswith(template.partition("{")[0])
