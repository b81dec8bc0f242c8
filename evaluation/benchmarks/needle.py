"""Memory put to the proof, without a download: a card is shown once, and asked about at once to an hour later.

The stream is made of short stretches of given films in random order, two frames a second of simulated time; a picture
that comes again is the same array, so that what a model saw of it need not be seen again.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from evaluation.benchmarks.streambench import VIDEO_ENDINGS
from evaluation.samples import Choice, Question, Sample
from streamchat.errors import InputError
from streamchat.images import letterboxed
from streamchat.types import Frame
from streamchat.video import open_video

FPS = 2.0
SIDE = 320  # pixels, the long side of the pictures
STREAM_SECONDS = 75 * 60.0
CARD_SECONDS = 3.0
APART_SECONDS = 20.0  # between the beginnings of two cards at least
FIRST_SECONDS = 30.0
STRETCH_SECONDS = (5.0, 20.0)  # of one film at a time
FILM_SECONDS = 30.0  # of each film that are used
STREAMS = 4
DISTANCES = {"0 s": 0.0, "10 s": 10.0, "1 min": 60.0, "5 min": 300.0, "15 min": 900.0, "60 min": 3600.0}
MOST_DRAWS = 10_000  # for one card; the most cards that there can be leave half of their time free
EACH = 5  # needles of each distance in one stream: 20 in all
WORDS = """
    ANCHOR BASKET CANDLE DESERT ENGINE FOREST GARDEN HARBOUR ISLAND JACKET KETTLE LANTERN MARBLE NEEDLE ORCHARD PALACE
    QUARRY RIBBON SADDLE TEMPLE UMBRELLA VALLEY WINDOW YARD ZEBRA BRIDGE CASTLE DOLPHIN FALCON GUITAR HAMMER LADDER
    MIRROR PENCIL ROCKET SPIDER THUNDER VIOLIN WALNUT COTTAGE
""".split()  # noqa: SIM905 - to be read
QUESTION = "Which number was shown together with the word {word}?"


class Needle:
    """Some streams with cards in them; the same for the same films and seed."""

    name = "needle"
    repeats_pictures = True
    problems = ()  # it is made on the spot

    def __init__(self, choice: Choice) -> None:
        self._seed = choice.seed
        self._each = EACH if choice.subset is None else _each(choice.subset)
        self._films = _films(choice)

    @cached_property
    def provenance(self) -> Mapping[str, Any]:
        """The films, and what was drawn."""
        digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest()[:16] for path in self._films}
        return {
            "films": digests,
            "seed": self._seed,
            "streams": STREAMS,
            "needles_of_a_distance_and_stream": self._each,
        }

    def samples(self) -> list[Sample]:
        """The streams with their questions."""
        return [self._sample(number) for number in range(STREAMS)]

    def open(self, sample: Sample, *, max_side: int) -> Stream:  # noqa: ARG002 - the pictures are small already
        """The stream of a sample."""
        cards = {begins: (word, number) for begins, word, number, _ in self._plan(sample.entry)}
        return Stream(self._stretches, cards, np.random.default_rng([self._seed, sample.entry, 1]))

    def _sample(self, number: int) -> Sample:
        questions = [
            Question(
                index=index,
                time_seconds=begins + CARD_SECONDS - 1 / FPS + DISTANCES[distance],
                text=QUESTION.format(word=word),
                reference=digits,
                kind=distance,
            )
            for index, (begins, word, digits, distance) in enumerate(self._plan(number))
        ]
        return Sample(
            entry=number,
            video=f"stream {number}",
            domain="needle",
            topic="card",
            questions=tuple(sorted(questions, key=lambda question: question.time_seconds)),
        )

    def _plan(self, number: int) -> list[tuple[float, str, str, str]]:
        """When each card begins, its word, its number, and after how long it is asked about."""
        rng = np.random.default_rng([self._seed, number, 0])
        words = rng.permutation(WORDS)
        taken: list[float] = []
        plan: list[tuple[float, str, str, str]] = []
        for distance in sorted(DISTANCES, key=lambda name: -DISTANCES[name]):
            last = STREAM_SECONDS - DISTANCES[distance] - CARD_SECONDS - FIRST_SECONDS
            for _ in range(self._each):
                begins = _free(rng, last, taken)
                taken.append(begins)
                plan.append((begins, str(words[len(plan)]), str(rng.integers(1000, 10000)), distance))
        return plan

    @cached_property
    def _stretches(self) -> list[list[np.ndarray]]:
        """The pictures of each film, two a second, all of the size of the first: they make one stream."""
        stretches = [_pictures(path) for path in self._films]
        size = stretches[0][0].shape[:2]
        return [[letterboxed(picture, size) for picture in stretch] for stretch in stretches]


class Stream:
    """A stream of simulated time."""

    duration_seconds: float | None = STREAM_SECONDS

    def __init__(
        self, films: list[list[np.ndarray]], cards: Mapping[float, tuple[str, str]], rng: np.random.Generator
    ) -> None:
        self._films = films
        self._cards = cards
        self._rng = rng

    def __iter__(self) -> Iterator[Frame]:
        """Frames in time order; a card hides what would be shown."""
        shown: np.ndarray | None = None
        until = -1.0
        filler = self._filler()
        for index in range(int(STREAM_SECONDS * FPS)):
            seconds = index / FPS
            picture = next(filler)
            if seconds in self._cards:
                shown, until = card(*self._cards[seconds], picture.shape), seconds + CARD_SECONDS
            yield Frame(shown if shown is not None and seconds < until else picture, seconds, index)

    def _filler(self) -> Iterator[np.ndarray]:
        while True:
            film = self._films[self._rng.integers(len(self._films))]
            length = max(1, round(self._rng.uniform(*STRETCH_SECONDS) * FPS))
            start = int(self._rng.integers(len(film)))
            for number in range(length):
                yield film[(start + number) % len(film)]


def card(word: str, number: str, shape: tuple[int, ...]) -> np.ndarray:
    """A plain card with a word and a number, uint8 of the given shape."""
    height, width = shape[:2]
    picture = np.full((height, width, 3), (236, 233, 224), np.uint8)
    text, font = f"{word} {number}", cv2.FONT_HERSHEY_SIMPLEX
    (wide, high), _ = cv2.getTextSize(text, font, 1.0, 2)
    scale = min(0.86 * width / wide, 0.3 * height / high)
    place = (round((width - wide * scale) / 2), round((height + high * scale) / 2))
    return cv2.putText(picture, text, place, font, scale, (40, 44, 52), max(2, round(2 * scale)), cv2.LINE_AA)


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
    """Pictures of the beginning of a film, two a second, of its own size."""
    pictures: list[np.ndarray] = []
    for frame in open_video(path, max_side=SIDE):
        if frame.pts_seconds >= FILM_SECONDS:
            break
        if frame.pts_seconds >= len(pictures) / FPS:
            pictures.append(frame.data)
    return pictures


def _films(choice: Choice) -> list[Path]:
    """The films of a folder, or those that Gradio ships."""
    if choice.root is not None:
        found = [path for path in sorted(choice.folder.rglob("*")) if path.suffix.lower() in VIDEO_ENDINGS]
    else:
        gradio = importlib.util.find_spec("gradio")
        places = gradio.submodule_search_locations if gradio else None
        folder = Path(places[0] if places else ".") / "media_assets" / "videos"
        found = [folder / name for name in ("a.mp4", "b.mp4", "world.mp4") if (folder / name).is_file()]
    found = [path for path in found if not path.name.startswith(".")]
    if not found:
        raise InputError("there are no films to make streams of: give --root a folder with some")
    return found


def build(choice: Choice) -> Needle:
    """The benchmark for the command line and the app."""
    return Needle(choice)
