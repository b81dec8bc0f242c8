"""What the tests of runs share: a benchmark of three videos, one of which is missing, and runs of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import benchmark_roots
import pytest
from conftest import WordEmbedder

from evaluation import runner
from evaluation.benchmarks.streambench import StreamBench
from evaluation.records import RunFolder
from evaluation.runner import Run
from evaluation.samples import Choice
from streamchat.models.base import Model
from streamchat.options import Options

TIMED = ("timing", "ingest_seconds")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    gone = {
        "info": {"video_path": "gone.mp4", "class_1": "Movie"},
        "breakpoint": [benchmark_roots.point(1, "Where?", "There.", "CI")],
    }
    return benchmark_roots.write(tmp_path_factory.mktemp("bench") / "root", [*benchmark_roots.entries(), gone])


@pytest.fixture
def bench(root: Path) -> StreamBench:
    return StreamBench(Choice(root=root))


def config(model: Model, method: str = "memory", **changes: Any) -> Run:
    return Run(
        model=model,
        model_spec="fake",
        method=method,
        options=Options(**changes),
        embedder=WordEmbedder(),
    )


def play(run: Run, bench: StreamBench, folder: RunFolder, **more: Any) -> int:
    """Run to the end, and return how many questions failed."""
    return max((progress.failed for progress in runner.answers(run, bench, folder, **more)), default=0)


def untimed(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key not in TIMED} for row in rows]


def answered(**changes: Any) -> dict[str, Any]:
    """A row as a run writes it for a question that was answered."""
    return {
        "id": "0-0",
        "entry": 0,
        "index": 0,
        "video": "a.mp4",
        "domain": "Ego",
        "kind": "OS",
        "time_seconds": 0.0,
        "asked_at_seconds": 0.0,
        "past_the_end": False,
        "question": "What?",
        "reference": "That.",
        "answer": "A.",
        "error": None,
        "timing": {"retrieval_seconds": 0.1, "first_token_seconds": 0.2, "total_seconds": 0.3},
        "pictures": 0,
        "frames_seen": 1,
        "frames_kept": 1,
        "ingest_seconds": 0.5,
        **changes,
    }
