"""A long stream in simulated time: what the memory holds, hour by hour, and what a question costs.

Frames come once a second, as kept ones, with tokens and captions that are made up: the engine, its memory and its
retrieval are the real ones, the model is the fake one. The budget is small enough to be reached within hours.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import psutil
import torch

from evaluation.speed.growing import vector
from evaluation.speed.measuring import Part, Series, Settings, interleaved, median, ratio, seconds_of
from streamchat.embedding import TextEmbedder, minilm
from streamchat.models.fake import FakeModel
from streamchat.models.scheduler import CancelToken
from streamchat.options import Options
from streamchat.session.engine import StreamChat
from streamchat.types import Caption, Clip, EncodedFrame, Frame, MemoryNode

HOUR_SECONDS = 3600
STEP_SECONDS = 1  # between kept frames
SCENE_FRAMES = 40  # from cut to cut
BUDGET_BYTES = 32 * 2**20  # of the memory: filled within some six hours
SHOWN = (72, 128)  # height, width of a picture
PICTURES = 32  # shown in turn
YOUNG_SECONDS = 600  # the other stream, with which the old one is compared at the end
ROUND_SECONDS = 60  # between two rounds of the conversation
REPEATS = 5  # of an hour's question
COMPARISONS = 25


class MadeUpModel(FakeModel):
    """Sees and says nothing: tokens, captions and their vectors follow from a seed."""

    name = "Made up (for measuring)"
    tokens_per_frame, dim = 16, 64

    def __init__(self) -> None:
        super().__init__()
        self._random = np.random.default_rng(0)
        self._captions_made = 0

    def encode(self, frames: Sequence[Frame]) -> torch.Tensor:
        """Tokens [N, 16, 64]."""
        shape = (len(frames), self.tokens_per_frame, self.dim)
        return torch.from_numpy(self._random.standard_normal(shape, np.float32))

    def caption(self, clip: Clip, cancel: CancelToken) -> Caption:  # noqa: ARG002 - it has no pictures
        """A sentence, with a vector of its own."""
        self._captions_made += 1
        text = (
            f"Stretch {self._captions_made} of the stream: people come and go, something is carried from left to right."
        )
        return Caption(text, embedding=vector(self._random))

    def summarize(self, captions: Sequence[Caption], cancel: CancelToken) -> Caption:  # noqa: ARG002
        """As long as a sentence, however much is summed up."""
        self._captions_made += 1
        return Caption(
            f"{len(captions)} stretches in which people come and go ({self._captions_made}).",
            None,
            vector(self._random),
        )


@dataclass(slots=True)
class Hour:
    """How the stream stands after an hour of it."""

    hour: float
    parts: dict[str, int] = field(default_factory=dict)  # bytes
    process_bytes: int = 0
    question_seconds: float = 0.0

    @property
    def nbytes(self) -> int:
        """Bytes of the whole memory."""
        return sum(self.parts.values())


class TimedEmbedder:
    """Another embedder, and how long it took."""

    def __init__(self, embedder: TextEmbedder) -> None:
        self._embedder = embedder
        self.seconds = 0.0

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors of texts."""
        started = time.perf_counter()
        vectors = self._embedder.embed(texts)
        self.seconds += time.perf_counter() - started
        return vectors


class Soak:
    """One stream, ingested as fast as it can be."""

    def __init__(self, embedder: TextEmbedder, budget_bytes: int = BUDGET_BYTES) -> None:
        self._model = MadeUpModel()
        self.embedder = TimedEmbedder(embedder)
        self.chat = StreamChat(self._model, Options(memory_bytes=budget_bytes), self.embedder)
        random = np.random.default_rng(1)
        self._pictures = [random.integers(0, 255, (*SHOWN, 3), np.uint8) for _ in range(PICTURES)]
        self.seconds = 0

    def play(self, seconds: int) -> None:
        """Ingest so much more of the stream, caption it, and talk once a minute."""
        end = self.seconds + seconds
        for now in range(self.seconds, end, STEP_SECONDS):
            frame = Frame(self._pictures[now % PICTURES], float(now), now)
            tokens = self._model.encode([frame])[0]
            self.chat.remember([EncodedFrame(frame, tokens, cut=now % SCENE_FRAMES == 0)])
            while self.chat.describe_next():
                pass
            if now % ROUND_SECONDS == 0:
                question, answer = f"What happened in minute {now // 60}?", "Someone came, and someone went."
                self.chat.record(question, answer, float(now))
        self.seconds = end

    def ask(self, number: int) -> None:
        """Ask one question about now."""
        self.chat.ask(f"What was carried in stretch {number}?", float(self.seconds))

    def roots(self) -> tuple[MemoryNode, ...]:
        """Of the tree, as of now."""
        return self.chat.memory.snapshot(float(self.seconds)).roots

    def measured(self) -> Hour:
        """How it stands now; asks a few questions."""
        memory = self.chat.memory
        times = [seconds_of(lambda: self.ask(number)) for number in range(REPEATS)]  # noqa: B023 - called at once
        parts = {
            "tree": memory.tree_nbytes,
            "frames": memory.nbytes - memory.tree_nbytes,
            "dialogue": memory.dialogue.nbytes,
        }
        return Hour(
            hour=self.seconds / HOUR_SECONDS,
            parts=parts,
            process_bytes=psutil.Process().memory_info().rss,
            question_seconds=median(times),
        )


def measure(settings: Settings) -> Part:
    """Play the stream; then ask it and a young one the same questions, in turn."""
    embedder = minilm()
    old, young = Soak(embedder), Soak(embedder)
    young.play(YOUNG_SECONDS)
    hours = []
    for hour in range(1, settings.soak_hours + 1):
        settings.say(f"soak: hour {hour}")
        old.play(HOUR_SECONDS)
        hours.append(old.measured())
    return Part({**_figures(hours), **compared(old, young, settings.soak_hours)}, _series(hours))


def _figures(hours: Sequence[Hour]) -> dict[str, float]:
    last = hours[-1]
    figures = {f"soak_bytes_{name}": float(nbytes) for name, nbytes in last.parts.items()}
    figures |= {"soak_hours": last.hour, "soak_bytes": float(last.nbytes)}
    if len(hours) > 1:
        figures["soak_last_hour_growth"] = last.nbytes / hours[-2].nbytes - 1
        figures["soak_process_last_hour_growth"] = last.process_bytes / hours[-2].process_bytes - 1
    return figures


def compared(old: Soak, young: Soak, hours: int) -> dict[str, float]:
    """What a question costs after all of the stream, in shares of what it costs after its first minutes."""
    beyond: dict[str, list[float]] = {"old": [], "young": []}

    def ask(soak: Soak, name: str) -> None:
        before = soak.embedder.seconds
        beyond[name].append(seconds_of(lambda: soak.ask(next(asked[name]))) - (soak.embedder.seconds - before))

    asked = {"old": iter(range(COMPARISONS)), "young": iter(range(COMPARISONS))}
    times = interleaved({"old": lambda: ask(old, "old"), "young": lambda: ask(young, "young")}, COMPARISONS)
    roots = old.roots()
    return {
        f"question_{hours}h_over_10min": ratio(times, "old", "young"),
        f"question_beyond_embedding_{hours}h_over_10min": ratio(beyond, "old", "young"),
        "soak_question_ms": 1000 * median(times["old"]),
        "soak_timeline_gaps": float(sum(one.span.end != other.span.start for one, other in pairwise(roots))),
        "soak_roots": float(len(roots)),
        "soak_levels": float(len(old.chat.counts().nodes_by_level)),
    }


def _series(hours: Sequence[Hour]) -> list[Series]:
    series = [
        Series("Memory", name, "hours", "MiB", [(one.hour, one.parts[name] / 2**20) for one in hours])
        for name in hours[0].parts
    ]
    points = [(one.hour, 1000 * one.question_seconds) for one in hours]
    return [*series, Series("A question", "embedding included", "hours", "milliseconds", points)]
