"""What is scored: a sample is one entry of a benchmark's file, a video with questions in time order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from streamchat.errors import InputError
from streamchat.types import Frame, Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One question of a sample."""

    index: int  # its number in the entry, as the file has it
    time_seconds: float  # when it is asked
    text: str
    reference: str  # the answer that is expected
    kind: str  # the benchmark's type, such as "OS"
    reference_span: Span | None = None  # where its evidence is to be seen; None: not known


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One entry: its own session, its own dialogue; entries that share a video are not merged."""

    entry: int  # its number in the file
    video: str  # as the file names it
    domain: str
    topic: str
    questions: tuple[Question, ...]  # in time order


class Frames(Protocol):
    """A video that can be read once, frame after frame."""

    duration_seconds: float | None

    def __iter__(self) -> Iterator[Frame]:
        """The frames in time order."""
        ...


class Benchmark(Protocol):
    """A set of samples on disk; made by the `build(choice)` of a file in evaluation/benchmarks/."""

    name: str
    repeats_pictures: bool  # the same arrays come again, so that a model need not encode them twice

    @property
    def problems(self) -> Sequence[str]:
        """What is wrong with the data, and was left out."""
        ...

    @property
    def provenance(self) -> Mapping[str, Any]:
        """What distinguishes this data from another: revision, digest, what was chosen of it."""
        ...

    def samples(self) -> list[Sample]:
        """The samples that are sound, in the order of the file."""
        ...

    def open(self, sample: Sample, *, max_side: int) -> Frames:
        """The sample's video; raises InputError if it is missing or cannot be read."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What is to be run of a benchmark."""

    root: Path | None = None  # the folder of its data, or its file of questions
    subset: int | None = None  # so many questions, shared out by type and domain
    repeats: bool = True  # also questions that stand there before, with the same video and time
    seed: int = 0

    @property
    def folder(self) -> Path:
        """The folder of the data; InputError if none was given or it is not there."""
        if self.root is None:
            raise InputError("this benchmark needs its data: give --root FOLDER")
        if self.root.is_file():
            return self.root.parent
        if not self.root.is_dir():
            raise InputError(f"there is no folder {str(self.root)!r}: give --root the folder of the benchmark's data")
        return self.root
