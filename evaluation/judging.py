"""Grading a run's answers: a step of its own, which can be resumed; any number of judges may grade one run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from evaluation.judges.base import Grade, Item, Judge
from evaluation.records import Row, RunFolder, Writer, read_rows

GRADES = "grades.{}.ndjson"  # not .jsonl: only answers are
LONGEST_NAME = 80


def grades_file(folder: RunFolder, judge_name: str) -> Path:
    """Where the grades of a judge stand."""
    return folder.path / GRADES.format(re.sub(r"[^\w.]+", "-", judge_name).strip("-")[:LONGEST_NAME])


def judge(folder: RunFolder, judge: Judge) -> Iterator[tuple[int, int]]:
    """Grade what this judge has not graded yet; gives how many answers have been judged, and how many there are.

    A question without an answer is ungraded.
    """
    rows = folder.rows()
    file = grades_file(folder, judge.name)
    with Writer(file) as writer:
        done = {row["id"]: row for row in read_rows(file)}
        waiting = [row for row in rows if row["id"] not in done]
        yield len(done), len(rows)
        for start in range(0, len(waiting), judge.batch):
            batch = waiting[start : start + judge.batch]
            for row, grade in zip(batch, _graded(judge, batch), strict=True):
                done[row["id"]] = {
                    "id": row["id"],
                    "judge": judge.name,
                    "comparable": judge.comparable,
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
        for row in read_rows(file):
            found.setdefault(row["judge"], {})[row["id"]] = row
    return found
