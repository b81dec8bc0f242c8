"""Needles through the scripted model: of how many the evidence reached the prompt, and how many were answered right."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from evaluation import metrics, runner
from evaluation.benchmarks.needle import Kind, Layout, Needle
from evaluation.judges.base import Item
from evaluation.judges.exact import ExactJudge
from evaluation.methods import with_frames
from evaluation.reach.scripted import TOKEN_BYTES, Known, ScriptedModel
from evaluation.records import Row, RunFolder
from evaluation.samples import Choice
from streamchat.embedding import TextEmbedder
from streamchat.errors import InputError, StreamChatError
from streamchat.options import MEBIBYTE, Options

PRESET = "base"
COMPARED = ("memory", "recent")
TEXTS: dict[Kind, str] = {
    "card": "A card with the word {word} and the number {number}.",
    "clip": "A scene of the movie {word}, part {number}.",
}
# What is said of each video, over and over in nearly the same words, as models do.
VIDEO_CAPTIONS = (
    "Some text is to be seen on a dark screen{more}.",
    "The Earth turns slowly in the dark of space{more}.",
    "People walk in a street{more}.",
    "A vehicle drives along a road{more}.",
    "An animal moves about in the grass{more}.",
)
MORE = ("", ", quietly", " while time passes", ", and nothing else happens", ", as before")
REAL_TOKEN_BYTES = 4096 * 2  # in memory: of a model of 7 billion weights, in half precision
REAL_BUDGET_BYTES = 512 * MEBIBYTE  # of its tree
FRAME_BYTES = 320 * 180 * 3  # of a frame of the streams, without its tokens
PICTURE_BYTES = 5_000  # about, of the small JPEGs here
CAPTIONS_BYTES = 2 * MEBIBYTE  # about, of two hours of captions with their vectors
PICTURES_OF_A_TEXT = 4  # pictures of a video in a row of which the same is said


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The sizes of the model, and what it is tried on."""

    tokens: int = 576  # that a frame or a picture takes in the prompt
    context: int = 4096  # tokens, the answer included
    pictures: int | None = None  # in a prompt at most, of a model that takes JPEGs; None: it takes tokens
    frames: int | None = None  # of `recent`; None: as many as every method has pictures
    seed: int = 0
    layout: Layout = field(default_factory=Layout)
    moments: int | None = None  # of the two hours of them; None: all

    def __post_init__(self) -> None:
        for name, least in (("tokens", 1), ("context", 1), ("pictures", 1), ("frames", 1), ("seed", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise InputError(f"--{name} must be {least} or more, got {value}")

    @property
    def options(self) -> Options:
        """The engine's options."""
        options = Options.preset(PRESET, seed=self.seed)
        if self.pictures is not None:
            return replace(options, max_pictures=self.pictures, memory_bytes=REAL_BUDGET_BYTES)
        # As many pictures of the past are held as for a real model, whose tokens are wider, beside the newest frames.
        held = REAL_BUDGET_BYTES // (self.tokens * REAL_TOKEN_BYTES)
        tree = CAPTIONS_BYTES + held * (self.tokens * TOKEN_BYTES + PICTURE_BYTES)
        frames = 2 * options.chunk_frames * (self.tokens * TOKEN_BYTES + FRAME_BYTES)
        return replace(options, memory_bytes=tree + frames)

    @property
    def recent_frames(self) -> int:
        """How many frames `recent` takes."""
        return with_frames(self.options, "recent", self.frames).max_pictures

    @property
    def model_spec(self) -> str:
        """The model in words, for a report."""
        given = "tokens" if self.pictures is None else "pictures"
        return f"scripted, takes {given}, {self.tokens} each, context {self.context}"


class EmbeddedOnce:
    """An embedder that embeds every text once: the videos are captioned in the same words over and over."""

    def __init__(self, embedder: TextEmbedder) -> None:
        self._embedder = embedder
        self._vectors: dict[str, np.ndarray] = {}

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors of texts: float32 [N, E], unit norm."""
        if fresh := [text for text in dict.fromkeys(texts) if text not in self._vectors]:
            self._vectors.update(zip(fresh, self._embedder.embed(fresh), strict=True))
        return np.stack([self._vectors[text] for text in texts])


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of one method with one kind of needle, as shares by seconds from the needle to the question."""

    method: str
    kind: Kind
    reached: dict[str, float]
    right: dict[str, float]

    @property
    def name(self) -> str:
        """What it is called in the figures."""
        return self.method if self.kind == "card" else f"{self.method}_clips"


def measure(
    settings: Settings, out: Path, embedder: TextEmbedder, show: Callable[[str, int, int], None]
) -> Iterator[Result]:
    """Run both methods over both kinds of needle; the runs are kept in folders below `out`, and go on there.

    `show` gets what is going on, and how many questions of how many are answered. Raises StreamChatError if a
    question fails, such as one for which the context is too small.
    """
    kinds: tuple[Kind, ...] = ("card", "clip")
    for kind in kinds:
        needle = Needle(Choice(seed=settings.seed), kind=kind, layout=settings.layout)
        model = scripted(needle, settings)
        for method in COMPARED:
            run = runner.Run(
                model=model,
                model_spec=settings.model_spec,
                method=method,
                options=with_frames(settings.options, method, settings.frames if method == "recent" else None),
                embedder=embedder,
            )
            folder = RunFolder(out / f"{method}-{kind}s")
            for progress in runner.answers(run, needle, folder):
                if progress.row is not None and progress.row["error"] is not None:
                    raise StreamChatError(f"a question could not be asked: {progress.row['error']}")
                show(f"{method}, {kind}s", progress.answered, progress.questions)
            yield _result(method, kind, folder.rows(), settings.layout)


def scripted(needle: Needle, settings: Settings) -> ScriptedModel:
    """The model that knows the needles of a benchmark and its videos."""
    needles = [
        Known(picture, TEXTS[needle.kind].format(word=hidden.word, number=hidden.number))
        for sample in needle.samples()
        for hidden in needle.hidden(sample.entry)
        for picture in _different(needle.pictures(hidden))
    ]
    videos = [
        Known(picture, _text_of_video(number, index))
        for number, pictures in enumerate(needle.stretches)
        for index, picture in enumerate(pictures)
    ]
    return ScriptedModel(
        needles,
        videos,
        tokens=settings.tokens,
        max_context=settings.context,
        takes_pictures=settings.pictures is not None,
    )


def _different(pictures: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The pictures, the same array only once."""
    return list({id(picture): picture for picture in pictures}.values())


def _text_of_video(number: int, index: int) -> str:
    more = MORE[index // PICTURES_OF_A_TEXT % len(MORE)]
    return VIDEO_CAPTIONS[number % len(VIDEO_CAPTIONS)].format(more=more)


def _result(method: str, kind: Kind, rows: Sequence[Row], layout: Layout) -> Result:
    """The shares of a run's rows."""
    reached, right = {}, {}
    for name, seconds in layout.distances.items():
        asked = [row for row in rows if row["kind"] == name]
        items = [Item(question=row["question"], reference=row["reference"], answer=row["answer"]) for row in asked]
        reached[f"{seconds:g}"] = _share([metrics.was_reached(row) for row in asked])
        right[f"{seconds:g}"] = _share([grade.correct for grade in ExactJudge().grade(items)])
    return Result(method=method, kind=kind, reached=reached, right=right)


def _share(found: Sequence[bool | None]) -> float:
    return sum(map(bool, found)) / len(found)
