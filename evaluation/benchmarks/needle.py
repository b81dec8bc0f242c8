"""Memory put to the proof, without a download: a needle is shown once, and asked about at once to an hour later.

A needle is a card with a word and a number, or a short clip that is made here: a pan over a landscape of colors.

The stream is made of short stretches of given videos in random order, two frames a second of simulated time; a picture
that comes again is the same array, so that what a model saw of it need not be seen again.
"""

from __future__ import annotations

import hashlib
import importlib.util
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np

from evaluation.benchmarks.streambench import VIDEO_ENDINGS
from evaluation.samples import Choice, Question, Sample
from streamchat.errors import InputError
from streamchat.types import Frame, Span
from streamchat.video.file import open_video
from streamchat.video.images import letterboxed

FPS = 2.0
SIDE = 320  # pixels, the long side of the pictures
STREAM_SECONDS = 75 * 60.0
CARD_SECONDS = 3.0
CLIP_SECONDS = 5.0
LANDSCAPE_CELLS = (6, 10)  # rows and columns of colors that the camera of a clip pans over
PANNED = 0.25  # of a picture's width, in the whole clip
APART_SECONDS = 20.0  # between the beginnings of two needles at least
FIRST_SECONDS = 30.0
STRETCH_SECONDS = (5.0, 20.0)  # of one video at a time
VIDEO_SECONDS = 30.0  # of each video that are used
STREAMS = 4
DISTANCES = {"0 s": 0.0, "10 s": 10.0, "1 min": 60.0, "5 min": 300.0, "15 min": 900.0, "60 min": 3600.0}
MOST_DRAWS = 10_000  # for one needle; the most needles that there can be leave half of their time free
EACH = 5  # needles of each distance in one stream: 20 in all
WORDS = """
    ANCHOR BASKET CANDLE DESERT ENGINE FOREST GARDEN HARBOUR ISLAND JACKET KETTLE LANTERN MARBLE NEEDLE ORCHARD PALACE
    QUARRY RIBBON SADDLE TEMPLE UMBRELLA VALLEY WINDOW YARD ZEBRA BRIDGE CASTLE DOLPHIN FALCON GUITAR HAMMER LADDER
    MIRROR PENCIL ROCKET SPIDER THUNDER VIOLIN WALNUT COTTAGE
""".split()  # noqa: SIM905 - to be read
Kind = Literal["card", "clip"]
SECONDS: dict[Kind, float] = {"card": CARD_SECONDS, "clip": CLIP_SECONDS}
QUESTIONS: dict[Kind, str] = {
    "card": "Which number was shown together with the word {word}?",
    "clip": "Which part of the movie {word} was shown?",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How many streams there are, how long they last, and after how long they are asked about."""

    streams: int = STREAMS
    seconds: float = STREAM_SECONDS
    each: int = EACH
    distances: Mapping[str, float] = field(default_factory=lambda: DISTANCES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hidden:
    """A needle where it lies in its stream."""

    span: Span  # from its first picture to its last
    word: str  # that it is asked by
    number: str  # that is asked for
    distance: str


class Needle:
    """Some streams with needles of one kind in them; the same for the same videos and seed."""

    name = "needle"
    repeats_pictures = True
    problems: Sequence[str] = ()  # it is made on the spot

    def __init__(self, choice: Choice, *, kind: Kind = "card", layout: Layout | None = None) -> None:
        self._seed = choice.seed
        self.kind = kind
        self._layout = layout or Layout()
        self._each = self._layout.each if choice.subset is None else _each(choice.subset)
        self._videos = _videos(choice)

    @cached_property
    def provenance(self) -> Mapping[str, Any]:
        """The videos, and what was drawn."""
        digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest()[:16] for path in self._videos}
        return {
            "videos": digests,
            "kind": self.kind,
            "seed": self._seed,
            "streams": self._layout.streams,
            "needles_of_a_distance_and_stream": self._each,
        }

    def samples(self) -> list[Sample]:
        """The streams with their questions."""
        return [self._sample(number) for number in range(self._layout.streams)]

    def open(self, sample: Sample, *, max_side: int) -> Stream:  # noqa: ARG002 - the pictures are small already
        """The stream of a sample."""
        needles = {hidden.span.start: self.pictures(hidden) for hidden in self.hidden(sample.entry)}
        rng = np.random.default_rng([self._seed, sample.entry, 1])
        return Stream(self.stretches, needles, rng, self._layout.seconds)

    def _sample(self, number: int) -> Sample:
        questions = [
            Question(
                index=index,
                time_seconds=hidden.span.end + self._layout.distances[hidden.distance],
                text=QUESTIONS[self.kind].format(word=hidden.word),
                reference=hidden.number,
                kind=hidden.distance,
                reference_span=hidden.span,
            )
            for index, hidden in enumerate(self.hidden(number))
        ]
        return Sample(
            entry=number,
            video=f"stream {number}",
            domain="needle",
            topic=self.kind,
            questions=tuple(sorted(questions, key=lambda question: question.time_seconds)),
        )

    def hidden(self, number: int) -> list[Hidden]:
        """The needles of a stream, those first that are asked about last."""
        rng = np.random.default_rng([self._seed, number, 0])
        words = rng.permutation(WORDS)
        distances, lasts = self._layout.distances, SECONDS[self.kind]
        found: list[Hidden] = []
        for distance in sorted(distances, key=lambda name: -distances[name]):
            last = self._layout.seconds - distances[distance] - lasts - FIRST_SECONDS
            for _ in range(self._each):
                begins = _free(rng, last, [other.span.start for other in found])
                span = Span(begins, begins + lasts - 1 / FPS)
                word, digits = str(words[len(found)]), str(rng.integers(1000, 10000))
                found.append(Hidden(span=span, word=word, number=digits, distance=distance))
        return found

    def pictures(self, hidden: Hidden) -> list[np.ndarray]:
        """What is shown of a needle, a picture a frame."""
        shape = self.stretches[0][0].shape
        if self.kind == "clip":
            return clip(hidden.word, hidden.number, shape)
        return [card(hidden.word, hidden.number, shape)] * round(CARD_SECONDS * FPS)

    @cached_property
    def stretches(self) -> list[list[np.ndarray]]:
        """The pictures of each video, two a second, all of the size of the first: they make one stream."""
        stretches = [_pictures(path) for path in self._videos]
        size = stretches[0][0].shape[:2]
        return [[letterboxed(picture, size) for picture in stretch] for stretch in stretches]


class Stream:
    """A stream of simulated time."""

    def __init__(
        self,
        videos: Sequence[Sequence[np.ndarray]],
        needles: Mapping[float, Sequence[np.ndarray]],  # pictures, one a frame, by when they begin
        rng: np.random.Generator,
        seconds: float = STREAM_SECONDS,
    ) -> None:
        self.duration_seconds: float | None = seconds
        self._videos = videos
        self._needles = needles
        self._rng = rng

    def __iter__(self) -> Iterator[Frame]:
        """Frames in time order; a needle hides what would be shown."""
        shown: Iterator[np.ndarray] = iter(())
        for index, picture in zip(range(int((self.duration_seconds or 0) * FPS)), self._filler(), strict=False):
            seconds = index / FPS
            if seconds in self._needles:
                shown = iter(self._needles[seconds])
            yield Frame(next(shown, picture), seconds, index)

    def _filler(self) -> Iterator[np.ndarray]:
        while True:
            video = self._videos[int(self._rng.integers(len(self._videos)))]
            length = max(1, round(self._rng.uniform(*STRETCH_SECONDS) * FPS))
            start = int(self._rng.integers(len(video)))
            for number in range(length):
                yield video[(start + number) % len(video)]


def card(word: str, number: str, shape: tuple[int, ...]) -> np.ndarray:
    """A plain card with a word and a number, uint8 of the given shape."""
    height, width = shape[:2]
    picture = np.full((height, width, 3), (236, 233, 224), np.uint8)
    text, font = f"{word} {number}", cv2.FONT_HERSHEY_SIMPLEX
    (wide, high), _ = cv2.getTextSize(text, font, 1.0, 2)
    scale = min(0.86 * width / wide, 0.3 * height / high)
    place = (round((width - wide * scale) / 2), round((height + high * scale) / 2))
    return cv2.putText(picture, text, place, font, scale, (40, 44, 52), max(2, round(2 * scale)), cv2.LINE_AA)


def clip(word: str, number: str, shape: tuple[int, ...]) -> list[np.ndarray]:
    """Pictures, uint8 of the given shape, of a part of a movie: a camera pans over its own landscape of colors."""
    height, width = shape[:2]
    cells = np.random.default_rng(zlib.crc32(f"{word} {number}".encode())).integers(
        0, 256, (*LANDSCAPE_CELLS, 3), np.uint8
    )
    landscape = cv2.resize(cells, (round((1 + PANNED) * width), height), interpolation=cv2.INTER_LINEAR)
    starts = np.linspace(0, landscape.shape[1] - width, round(CLIP_SECONDS * FPS)).round().astype(int)
    return [landscape[:, start : start + width].copy() for start in starts]


def _each(count: int) -> int:
    """How many needles of each distance in one stream come nearest to `count` questions from below.

    InputError if that is less than one, or more than there are words for, or room in the stream.
    """
    least = STREAMS * len(DISTANCES)
    most = least * (len(WORDS) // len(DISTANCES))
    if not least <= count <= most:
        raise InputError(f"needles come {least} at a time: a subset must have from {least} to {most}, got {count}")
    return count // least


def _free(rng: np.random.Generator, last: float, taken: list[float]) -> float:
    """A time on the grid of frames, away from those that are taken; RuntimeError if there is none."""
    for _ in range(MOST_DRAWS):
        begins = round(rng.uniform(FIRST_SECONDS, last) * FPS) / FPS
        if all(abs(begins - other) >= APART_SECONDS for other in taken):
            return begins
    raise RuntimeError(f"no room for another card after {len(taken)}")


def _pictures(path: Path) -> list[np.ndarray]:
    """Pictures of the beginning of a video, two a second, of its own size."""
    pictures: list[np.ndarray] = []
    for frame in open_video(path, max_side=SIDE):
        if frame.pts_seconds >= VIDEO_SECONDS:
            break
        if frame.pts_seconds >= len(pictures) / FPS:
            pictures.append(frame.data)
    return pictures


def _videos(choice: Choice) -> list[Path]:
    """The videos of a folder, or those that Gradio ships."""
    if choice.root is not None:
        found = [path for path in sorted(choice.folder.rglob("*")) if path.suffix.lower() in VIDEO_ENDINGS]
    else:
        gradio = importlib.util.find_spec("gradio")
        places = gradio.submodule_search_locations if gradio else None
        folder = Path(places[0] if places else ".") / "media_assets" / "videos"
        found = [folder / name for name in ("a.mp4", "b.mp4", "world.mp4") if (folder / name).is_file()]
    found = [path for path in found if not path.name.startswith(".")]
    if not found:
        raise InputError("there are no videos to make streams of: give --root a folder with some")
    return found


def build(choice: Choice) -> Needle:
    """The benchmark for the command line and the app."""
    return Needle(choice)
