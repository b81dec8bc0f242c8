"""The figures of a run (paper, appendix D), each with a 95% interval from a bootstrap over videos."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from evaluation.records import Row, answer_digest

RESAMPLES = 1000
FEWEST_VIDEOS = 5  # that an interval is taken of: drawing fewer anew says next to nothing
LEVEL = (2.5, 97.5)  # percentiles of a 95% interval
LENGTHS = (
    (60, "under 1 min"),
    (180, "1-3 min"),
    (600, "3-10 min"),
    (float("inf"), "over 10 min"),
)  # of a video, seconds
DISTANCES = (
    (10, "under 10 s"),
    (60, "10-60 s"),
    (300, "1-5 min"),
    (900, "5-15 min"),
    (3600, "15-60 min"),
    (float("inf"), "60 min or more"),
)  # from the end of the evidence to the question, seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Graded:
    """An answer with its grade."""

    row: Row
    correct: bool | None
    score: float | None

    @property
    def is_graded(self) -> bool:
        """Whether the judge gave a grade."""
        return self.correct is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A mean and its interval; None where there is nothing, or too little, to take it of."""

    value: float | None
    videos: int  # that it was taken of
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """What the judge's grades come to."""

    questions: int
    graded: int
    accuracy: Figure  # percent of the graded answers that are correct
    score: Figure  # mean of 0-5
    coherence: Figure  # mean change of the score between rounds that follow each other; lower is better

    @property
    def ungraded(self) -> int:
        """Answers without a grade; they are in no mean."""
        return self.questions - self.graded


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """What was measured beside, idle: nothing was ingested while an answer was made."""

    rpd_median: float | None  # request processing delay: seconds from the question to the first piece of the answer
    rpd_p95: float | None
    retrieval_median: float | None  # the part of it until the context is put together
    retrieval_p95: float | None
    fps: float | None  # frames of the stream ingested a second, everything included
    pictures_median: float | None  # token maps that a question was answered from


def join(rows: Iterable[Row], grades: dict[str, Row]) -> list[Graded]:
    """The answers with their grades; one that the judge has not seen is ungraded."""
    joined = []
    for row in rows:
        grade = grades.get(row["id"], {})
        if grade.get("answer_digest") != answer_digest(row):
            grade = {}  # of an answer, or of none, that this one has replaced
        joined.append(Graded(row=row, correct=grade.get("correct"), score=grade.get("score")))
    return joined


def scores(graded: Sequence[Graded]) -> Scores:
    """Accuracy, score and coherence of some answers of one run."""
    seen = [one for one in graded if one.is_graded]
    return Scores(
        questions=len(graded),
        graded=len(seen),
        accuracy=_figure([(one.row["video"], 100.0 * bool(one.correct)) for one in seen]),
        score=_figure([(one.row["video"], float(one.score or 0)) for one in seen]),
        coherence=_figure(changes(graded)),
    )


def changes(graded: Sequence[Graded]) -> list[tuple[str, float]]:
    """Every |score(i+1) - score(i)| of rounds that follow each other in one sample, both graded, with its video."""
    samples: dict[int, list[Graded]] = {}
    for one in sorted(graded, key=lambda one: (one.row["time_seconds"], one.row["index"])):
        samples.setdefault(one.row["entry"], []).append(one)
    return [
        (before.row["video"], abs(after.score - before.score))
        for rounds in samples.values()
        for before, after in pairwise(rounds)
        if before.score is not None and after.score is not None
    ]


def groups(graded: Sequence[Graded], key: Callable[[Row], str]) -> dict[str, list[Graded]]:
    """The answers by something of theirs, in the order of its first appearance."""
    found: dict[str, list[Graded]] = {}
    for one in graded:
        found.setdefault(key(one.row), []).append(one)
    return found


def length_of(row: Row) -> str:
    """Which class of length a row's video belongs to."""
    return _class_of(row.get("video_seconds"), LENGTHS)


def distance_of(row: Row) -> str:
    """How long before the question its evidence ended, as a class."""
    span = row.get("reference_span")
    return _class_of(None if span is None else row["asked_at_seconds"] - span[1], DISTANCES)


def _class_of(seconds: float | None, classes: Sequence[tuple[float, str]]) -> str:
    return "unknown" if seconds is None else next(name for limit, name in classes if seconds < limit)


def was_reached(row: Row) -> bool | None:
    """Whether the evidence of a question stood in its prompt; None if that, or where it is to be seen, is not known.

    A picture reaches it if it shows a moment of its span, give or take half the mean time between frames. A caption
    reaches it if it is of a leaf whose span overlaps, by more than 0 seconds: a summary speaks of so much else that it
    says little of one moment. Evidence that lasts no time is reached by the leaf that it lies in.
    """
    span, given = row.get("reference_span"), row.get("given")
    if span is None or given is None:
        return None
    start, end = span
    slack = 0.5 * row["asked_at_seconds"] / max(1, row["frames_seen"] - 1)
    shown = any(start - slack <= first and last <= end + slack for first, last in given["pictures"])
    return shown or any(
        level == 0 and ((first < end and start < last) or first <= start == end < last)
        for first, last, level in given["captions"]
    )


def reached(rows: Iterable[Row]) -> Figure:
    """Percent of the questions whose evidence reached the prompt, of those of which that is known."""
    found = [(row["video"], was_reached(row)) for row in rows]
    return _figure([(video, 100.0 * yes) for video, yes in found if yes is not None])


def without_repeats(graded: Sequence[Graded]) -> list[Graded]:
    """The answers less those to a question that was asked before, of the same video at the same time."""
    found: dict[tuple[Any, ...], Graded] = {}
    for one in graded:
        found.setdefault((one.row["video"], one.row["question"], one.row["time_seconds"]), one)
    return list(found.values())


def speed(rows: Sequence[Row]) -> Speed:
    """Delays and frames a second of the answers that came."""
    answered = [row for row in rows if row["error"] is None]
    rpd = [row["timing"]["first_token_seconds"] for row in answered]
    retrieval = [row["timing"]["retrieval_seconds"] for row in answered]
    last = {row["entry"]: row for row in sorted(answered, key=lambda row: row["frames_seen"])}.values()
    seconds = sum(row["ingest_seconds"] for row in last)
    return Speed(
        rpd_median=_percentile(rpd, 50),
        rpd_p95=_percentile(rpd, 95),
        retrieval_median=_percentile(retrieval, 50),
        retrieval_p95=_percentile(retrieval, 95),
        fps=sum(row["frames_seen"] for row in last) / seconds if seconds else None,
        pictures_median=_percentile([row["pictures"] for row in answered], 50),
    )


def difference(run: Sequence[Graded], baseline: Sequence[Graded]) -> Figure:
    """Accuracy of a run less that of a baseline, in points, over the questions that both have graded."""
    other = {one.row["id"]: one for one in baseline if one.is_graded}
    pairs = [
        (one.row["video"], 100.0 * (bool(one.correct) - bool(other[one.row["id"]].correct)))
        for one in run
        if one.is_graded and one.row["id"] in other
    ]
    return _figure(pairs)


def _figure(values: Sequence[tuple[str, float]], seed: int = 0) -> Figure:
    """The mean of values with their videos, and the interval of the mean when videos are drawn anew."""
    if not values:
        return Figure(value=None, videos=0)
    videos: dict[str, list[float]] = {}
    for video, value in values:
        videos.setdefault(video, []).append(value)
    sums = np.array([sum(of) for of in videos.values()])
    counts = np.array([len(of) for of in videos.values()])
    mean = float(sums.sum() / counts.sum())
    if len(sums) < FEWEST_VIDEOS:
        return Figure(value=mean, videos=len(sums))
    drawn = np.random.default_rng(seed).integers(0, len(sums), (RESAMPLES, len(sums)))
    means = sums[drawn].sum(1) / counts[drawn].sum(1)
    low, high = np.percentile(means, LEVEL)
    return Figure(value=mean, videos=len(sums), low=float(low), high=float(high))


def _percentile(values: Sequence[float], percent: float) -> float | None:
    return float(np.percentile(values, percent)) if values else None
