"""Runs as they are read for a report, each with the name that it has there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluation import metrics
from evaluation.judging import grades_of
from evaluation.methods import label_of
from evaluation.metrics import Graded
from evaluation.records import Row, RunFolder
from streamchat.errors import InputError


@dataclass(frozen=True, slots=True)
class Loaded:
    """A run with all that was read of it."""

    label: str
    described: dict[str, Any]
    rows: list[Row]
    grades: dict[str, dict[str, Row]]

    @property
    def identity(self) -> dict[str, Any]:
        """What was run."""
        return dict(self.described["identity"])

    def graded(self, judge: str) -> list[Graded]:
        """Its answers with the grades of a judge."""
        return metrics.join(self.rows, self.grades.get(judge, {}))


def load(folders: Sequence[RunFolder]) -> list[Loaded]:
    """Read runs; each is called by its method and model, where that is too little by its folder or path too."""
    loaded = []
    for folder in folders:
        described, rows = folder.described(), folder.rows()
        if not rows:
            raise InputError(f"{folder.path} has no answers yet: run it first")
        label = _label(described["identity"])
        loaded.append(([label, f"{label} ({folder.path.name})", f"{label} ({folder.path})"], folder, described, rows))
    labels = [name for names, *_ in loaded for name in set(names)]
    return [
        Loaded(next((name for name in names if labels.count(name) == 1), names[-1]), described, rows, grades_of(folder))
        for names, folder, described, rows in loaded
    ]


def _label(identity: Mapping[str, Any]) -> str:
    """What a run is called: method, model, preset, and what of the method is not the product's default."""
    method = label_of(identity["method"], identity.get("options", {}).get("max_pictures"))
    parts = [method, Path(identity["model"]).name, identity["preset"]]
    if identity.get("as_in_paper"):
        parts.append("as in the paper")
    elif identity["method"] == "memory" and identity.get("options", {}).get("retrieval") == "tree":
        parts.append("tree")
    return ", ".join(parts)


def judges_of(runs: Sequence[Loaded]) -> list[str]:
    """Every judge that graded any of the runs."""
    return sorted({judge for run in runs for judge in run.grades})
