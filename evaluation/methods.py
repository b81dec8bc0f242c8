"""What is compared: the product, and the plain baselines that it has to beat, with the same model and prompts.

Every method is shown the frames in order, and answers from what it was shown so far, with at most
`Options.max_pictures` pictures. A baseline that sees always has that many, once so many frames were shown, so that it
never has fewer than the product; the dialogue goes on within a video for all of them.
"""

from __future__ import annotations

import time
import weakref
import zlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from evaluation import METHODS
from streamchat.embedding import TextEmbedder
from streamchat.errors import InputError
from streamchat.memory.dialogue import DialogueMemory
from streamchat.memory.short_term import OnePerSecond, last_seconds
from streamchat.models.base import Model
from streamchat.options import Options
from streamchat.session.answer import AnswerStream
from streamchat.session.engine import StreamChat
from streamchat.types import Clip, Context, DialogueTurn, Frame, Span, Visual

MOST_PICTURES = Options().max_pictures  # that a question is answered from, by default


class Baseline(ABC):
    """A session without memory but for the dialogue: the model is given some of the frames shown so far."""

    def __init__(self, model: Model, options: Options, embedder: TextEmbedder) -> None:
        self.model = model
        self.options = options
        self._embedder = embedder
        self._dialogue = DialogueMemory()
        self._tokens: dict[int, torch.Tensor] = {}  # by the frame's index, of the frames that are held
        self._newest: Frame | None = None

    @abstractmethod
    def hold(self, frame: Frame) -> bool:
        """Take a frame, or not; whether it was taken."""

    @abstractmethod
    def chosen(self, most: int) -> Sequence[Frame]:
        """Up to `most` of the frames held, in time order."""

    def push(self, frame: Frame) -> bool:
        """Show the next frame; True if it was held."""
        self._newest = frame
        return self.hold(frame)

    def stream_answer(self, question: str, at_seconds: float) -> AnswerStream:
        """Answer from the frames chosen and the newest one; InputError if there is none yet."""
        if self._newest is None:
            raise InputError("there is no frame yet: start the video before you ask")
        started = time.perf_counter()
        embedding = self._embedder.embed([question])[0]
        return AnswerStream(self, self._context(question, embedding, at_seconds, self._newest), started, 0)

    def record(self, question: str, answer: str, at_seconds: float) -> None:
        """Put a round into the dialogue."""
        embedding = self._embedder.embed([f"{question} {answer}"])[0]
        self._dialogue.add(DialogueTurn(question, answer, at_seconds, embedding))

    def _context(self, question: str, embedding: np.ndarray, at_seconds: float, newest: Frame) -> Context:
        frames = [frame for frame in self.chosen(self.options.max_pictures) if frame is not newest]
        frames = [*frames[max(0, len(frames) + 1 - self.options.max_pictures) :], newest]
        tokens = self._encoded(frames)
        visuals = [
            Visual(
                span=Span(frame.pts_seconds, frame.pts_seconds),
                tokens=token[None],
                size=frame.data.shape[:2],
                frame=frame,
                rank=rank,
            )
            for frame, token, rank in zip(frames, tokens, self.ranks(len(frames)), strict=True)
        ]
        span = Span(frames[0].pts_seconds, newest.pts_seconds)
        asked = self._asked(question, embedding, at_seconds, newest)
        return replace(asked, open_clip=Clip(tokens, tuple(frames), span), present=tuple(visuals))

    def ranks(self, count: int) -> list[int]:
        """Of so many frames in time order, the last of which is on the screen, which stay longest in a small prompt."""
        return list(range(count - 1, -1, -1))

    def _asked(self, question: str, embedding: np.ndarray, at_seconds: float, newest: Frame) -> Context:
        """The context without anything seen, the same for every baseline."""
        options, count = self.options, len(self._dialogue)
        return Context(
            question=question,
            question_embedding=embedding,
            asked_at_seconds=at_seconds,
            newest=newest,
            turns=self._dialogue.related(
                question, embedding, options.related_turns, count=count, until_seconds=at_seconds
            ),
            last_turn=self._dialogue.last(count=count, until_seconds=at_seconds),
            max_new_tokens=options.max_new_tokens,
            temperature=options.temperature,
            seed=zlib.crc32(f"{options.seed} {at_seconds:.3f} {question}".encode()),
        )

    def _encoded(self, frames: Sequence[Frame]) -> torch.Tensor:
        """Tokens [N, P, D] of frames, each encoded once for as long as it is held."""
        fresh = [frame for frame in frames if frame.index not in self._tokens]
        if fresh:
            self._tokens |= {f.index: token for f, token in zip(fresh, self.model.encode(fresh), strict=True)}
        self._tokens = {frame.index: self._tokens[frame.index] for frame in frames}
        return torch.stack(list(self._tokens.values()))


class Spread:
    """Frames spread evenly over all that was shown, at least `count` of them and at most twice as many."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._frames: list[Frame] = []
        self._stride, self._seen = 1, 0

    def add(self, frame: Frame) -> bool:
        """Keep every n-th; n doubles whenever there are twice as many as are needed, so that memory stays bounded."""
        kept = self._seen % self._stride == 0
        self._seen += 1
        if kept:
            self._frames.append(frame)
        if len(self._frames) > 2 * self._count:
            self._frames = self._frames[::2]
            self._stride *= 2
        return kept

    def chosen(self, most: int) -> Sequence[Frame]:
        """Evenly spread ones."""
        places = np.linspace(0, len(self._frames) - 1, min(most, len(self._frames))).round().astype(int)
        return [self._frames[place] for place in places]


class Recent(Baseline):
    """The newest frames, one a second; before so many seconds were shown, as many spread over all of them."""

    def __init__(self, model: Model, options: Options, embedder: TextEmbedder) -> None:
        super().__init__(model, options, embedder)
        self._newest_seconds = OnePerSecond(options.max_pictures)  # the newest frame may stand for one of them
        self._beginning = Spread(options.max_pictures)

    def hold(self, frame: Frame) -> bool:
        """Keep one frame of each second, as many as are shown at most, and until there are so many the beginning."""
        begins = not self._full and self._beginning.add(frame)
        return self._newest_seconds.add(frame) or begins

    def chosen(self, most: int) -> Sequence[Frame]:
        """The newest."""
        if not self._full or self._newest is None:
            return self._beginning.chosen(most)
        return last_seconds(self._newest_seconds.frames, self._newest, most)

    @property
    def _full(self) -> bool:
        return len(self._newest_seconds.frames) >= self.options.max_pictures


class Uniform(Baseline):
    """Frames spread evenly over all that was shown so far."""

    def __init__(self, model: Model, options: Options, embedder: TextEmbedder) -> None:
        super().__init__(model, options, embedder)
        self._spread = Spread(options.max_pictures)

    def hold(self, frame: Frame) -> bool:
        """Keep it if its turn has come."""
        return self._spread.add(frame)

    def chosen(self, most: int) -> Sequence[Frame]:
        """Evenly spread ones."""
        return self._spread.chosen(most)

    def ranks(self, count: int) -> list[int]:
        """What is on the screen first, then halves of halves, so that what stays is evenly spread as well."""
        order = sorted(range(count - 1), key=lambda place: _bits_reversed(place, count))
        ranks = dict(zip([count - 1, *order], range(count), strict=True))
        return [ranks[place] for place in range(count)]


def _bits_reversed(number: int, below: int) -> int:
    """A number below another with its binary digits in reverse order: neighbours come far apart."""
    return int(f"{number:0{below.bit_length()}b}"[::-1], 2)


class Blind(Baseline):
    """No video at all: what the question alone gives away. A model that must look looks at black."""

    def hold(self, frame: Frame) -> bool:  # noqa: ARG002
        """Keep nothing."""
        return False

    def chosen(self, most: int) -> Sequence[Frame]:  # noqa: ARG002
        """None."""
        return []

    def _context(self, question: str, embedding: np.ndarray, at_seconds: float, newest: Frame) -> Context:
        black = Frame(np.zeros_like(newest.data), newest.pts_seconds, newest.index)
        return self._asked(question, embedding, at_seconds, black)


SESSIONS = dict(zip(METHODS, (StreamChat, Recent, Uniform, Blind), strict=True))


def begin(name: str, model: Model, options: Options, embedder: TextEmbedder) -> StreamChat | Baseline:
    """A session of a method; InputError for an unknown one."""
    check_method(name)
    session: StreamChat | Baseline = SESSIONS[name](model, options, embedder)
    return session


def check_method(name: str) -> None:
    """Raise InputError, with the choices, for a method that there is not."""
    if name not in METHODS:
        raise InputError(f"unknown method {name!r}: choose one of {', '.join(METHODS)}")


def with_frames(options: Options, method: str, frames: int | None) -> Options:
    """The options with which `recent` takes so many frames; None: as many as every method.

    Raises InputError for less than one, and for a method that has no such choice.
    """
    if frames is None:
        return options
    if method != "recent":
        raise InputError(f"--frames is for the method recent, got --frames {frames} with {method!r}: leave it out")
    if frames < 1:
        raise InputError(f"--frames must be 1 or more, got {frames}")
    return replace(options, max_pictures=frames)


def label_of(method: str, max_pictures: int | None) -> str:
    """What a method is called in a report: `recent-4` if it takes 4 frames, where others have 32 pictures."""
    return f"{method}-{max_pictures}" if method == "recent" and max_pictures not in (None, MOST_PICTURES) else method


class EncodeCache:
    """A model that encodes a picture once for as long as it lives: for streams in which the same arrays come again."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self.name, self.number_bytes = model.name, model.number_bytes
        self.tokens_per_frame, self.dim = model.tokens_per_frame, model.dim
        self.caption, self.summarize = model.caption, model.summarize
        self.answer, self.check_alert, self.idle = model.answer, model.check_alert, model.idle
        self.prompt, self.scheduler = model.prompt, model.scheduler
        self.captions_from_pictures = model.captions_from_pictures
        self._seen: dict[int, tuple[weakref.ref[np.ndarray], torch.Tensor]] = {}

    def encode(self, frames: Sequence[Frame]) -> torch.Tensor:
        """Visual tokens [N, P, D] of N frames; those of pictures seen before are taken from then."""
        fresh = [frame for frame in frames if self._known(frame) is None]
        if fresh:
            for frame, tokens in zip(fresh, self._model.encode(fresh), strict=True):
                self._remember(frame.data, tokens)
        return torch.stack([self._seen[id(frame.data)][1] for frame in frames])

    def _remember(self, picture: np.ndarray, tokens: torch.Tensor) -> None:
        key = id(picture)
        self._seen[key] = (weakref.ref(picture, lambda _: self._seen.pop(key, None)), tokens)

    def _known(self, frame: Frame) -> torch.Tensor | None:
        found = self._seen.get(id(frame.data))
        return found[1] if found is not None and found[0]() is frame.data else None
