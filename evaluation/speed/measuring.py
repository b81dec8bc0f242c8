"""What the measurements share: settings, results, and how two things are timed beside each other."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

FULL_SIZE = ("qwen3-vl-8b", "llava-onevision-7b", "longva-7b")  # models that are measured with random weights


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What is measured, and with what."""

    folder: Path  # for the videos that are measured with, and other passing files
    say: Callable[[str], None]  # progress
    video: Path | None = None  # a video whose beginning is taken instead of a made one
    model: str = "embedded"  # that ingests and answers, as of `load_model`
    soak_hours: int = 24  # of simulated stream


@dataclass(frozen=True, slots=True)
class Series:
    """Points of one plot; lines that share a `plot` are drawn into one."""

    plot: str
    line: str
    x_label: str
    y_label: str
    points: Sequence[tuple[float, float]]
    log: bool = False  # sizes grow by factors


@dataclass(frozen=True, slots=True)
class Part:
    """What one measurement found."""

    figures: Mapping[str, float]  # by name, as in the JSON
    series: Sequence[Series] = field(default=())


def seconds_of(work: Callable[[], Any]) -> float:
    """How long a call takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def interleaved(works: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, list[float]]:
    """Seconds of each repeat of several works, taken in turn: A B A B, so that a busy machine hurts all alike."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(repeats):
        for name, work in works.items():
            times[name].append(seconds_of(work))
    return times


def session_threads() -> int:
    """How many threads of live sessions there are now."""
    return sum(thread.name.startswith("streamchat-") for thread in threading.enumerate())


def median(values: Sequence[float]) -> float:
    """The middle value."""
    return float(np.median(values))


def p95(values: Sequence[float]) -> float:
    """What 95 of 100 values do not pass."""
    return float(np.percentile(values, 95))


def ratio(times: Mapping[str, Sequence[float]], of: str, to: str) -> float:
    """How many times as long `of` takes as `to`: the median over the repeats, each within itself."""
    return median([one / other for one, other in zip(times[of], times[to], strict=True)])
