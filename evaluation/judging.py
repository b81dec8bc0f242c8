"""Grading a run's answers: a step of its own, which can be resumed; any number of judges may grade one run."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from evaluation.judges.base import Grade, Item, Judge
from evaluation.records import Form, Row, RunFolder, Writer, answer_digest, read_rows
from streamchat.errors import InputError

GRADES = "grades.{}.ndjson"  # not .jsonl: only answers are
LONGEST_NAME = 80


class GradeForm(Form):
    """What the row of a grade has."""

    id: str
    judge: str
    correct: bool | None
    score: float | None
    ungraded: str | None
    caveat: str | None = None
    answer_digest: str | None = None


def grades_file(folder: RunFolder, judge_name: str) -> Path:
    """Where the grades of a judge stand; judges whose names differ only in signs have different files."""
    name = re.sub(r"[^\w.]+", "-", judge_name).strip("-")[:LONGEST_NAME]
    return folder.path / GRADES.format(f"{name}.{hashlib.sha256(judge_name.encode()).hexdigest()[:8]}")


def judge(folder: RunFolder, judge: Judge) -> Iterator[tuple[int, int]]:
    """Grade what this judge has not graded yet; gives how many answers have been judged, and how many there are.

    A question without an answer is ungraded; when it is answered later, that answer is judged. Raises InputError if
    nothing was asked yet.
    """
    rows = folder.rows()
    if not rows:
        raise InputError(f"{folder.path} has no answers yet: run it first")
    file = grades_file(folder, judge.name)
    with Writer(file) as writer:
        digests = {row["id"]: answer_digest(row) for row in rows}
        of_this = (grade for grade in read_rows(file, lambda _: GradeForm) if grade["judge"] == judge.name)
        done = {grade["id"]: grade for grade in of_this if grade.get("answer_digest") == digests.get(grade["id"])}
        ungraded = [row for row in rows if row["id"] not in done]
        yield len(done), len(rows)
        for start in range(0, len(ungraded), judge.batch):
            batch = ungraded[start : start + judge.batch]
            for row, grade in zip(batch, _graded(judge, batch), strict=True):
                done[row["id"]] = {
                    "id": row["id"],
                    "judge": judge.name,
                    "caveat": judge.caveat,
                    "answer_digest": digests[row["id"]],
                    **asdict(grade),
                }
                writer.write(done[row["id"]])
            yield len(done), len(rows)


def _graded(judge: Judge, rows: list[Row]) -> list[Grade]:
    answered = [row for row in rows if row["error"] is None]
    items = [Item(question=row["question"], reference=row["reference"], answer=row["answer"]) for row in answered]
    grades = dict(zip((row["id"] for row in answered), judge.grade(items) if items else [], strict=True))
    return [grades.get(row["id"]) or Grade(ungraded=f"there is no answer: {row['error']}") for row in rows]


def grades_of(folder: RunFolder) -> dict[str, dict[str, Row]]:
    """The grades of a run by judge and question."""
    found: dict[str, dict[str, Row]] = {}
    for file in sorted(folder.path.glob(GRADES.format("*"))):
        for row in read_rows(file, lambda _: GradeForm):
            found.setdefault(row["judge"], {})[row["id"]] = row
    return found
