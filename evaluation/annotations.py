"""StreamBench's file of questions: read in one pass, checked, and put into a `datasets.Dataset` with declared types.

What is wrong is listed and left out; what is sound runs.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datasets import Dataset, Features, Value

from evaluation.samples import Question, Sample
from streamchat.errors import InputError
from streamchat.types import Span

FEATURES = Features(
    {
        "entry": Value("int32"),
        "index": Value("int32"),
        "video": Value("string"),
        "domain": Value("string"),
        "topic": Value("string"),
        "time_seconds": Value("float64"),
        "question": Value("string"),
        "reference": Value("string"),
        "kind": Value("string"),
        "evidence_start": Value("float64"),  # None: where the evidence is to be seen is not known
        "evidence_end": Value("float64"),
    }
)
KINDS = {
    "OS": "Object Search",
    "LM": "Long-term Memory Search",
    "SM": "Short-term Memory Search",
    "CI": "Conversational Interaction",
    "KG": "Knowledge-based Question Answering",
    "SF": "Simple Factual",
}
CODES = {name: code for code, name in KINDS.items()}
MOST_SECONDS = 1e9  # of a time in a video
PREFIX = "StreamBench/"  # before the paths in some copies of the file


@dataclass(frozen=True, slots=True)
class Annotations:
    """The questions of a file, one row each, in the order of the file; and what is wrong with it."""

    table: Dataset
    entries: int  # of the file, sound or not
    problems: tuple[str, ...]  # each names the file's entry or line; what it speaks of was left out
    remarks: tuple[str, ...]  # what is odd, and runs all the same

    def samples(self) -> list[Sample]:
        """The rows as samples, their questions in time order."""
        entries: dict[int, list[dict[str, Any]]] = {}
        for row in self.table:
            entries.setdefault(row["entry"], []).append(row)
        return [_sample(rows) for rows in entries.values()]


def read(path: Path) -> Annotations:
    """Read a file of StreamBench's form: a list of entries, or, if its name ends in .jsonl, an entry a line.

    Raises InputError if it is not JSON, or has no entries at all.
    """
    reader = _Reader()
    try:
        text = path.read_text(encoding="utf-8-sig")
        entries = reader.lines(text) if path.suffix == ".jsonl" else reader.listed(json.loads(text))
    except FileNotFoundError:
        raise InputError(f"there is no file {str(path)!r}: give --root a folder that holds it") from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read as JSON: {error}") from None
    if not reader.entries:
        raise InputError(
            f"{path} is not a file of questions: it must hold a list of entries "
            '{"info": {"video_path", "class_1", "class_2"}, "breakpoint": [{"time", "question", "answer", "class"}]}'
        )
    rows = [row for number, where, entry in entries for row in reader.rows(number, where, entry)]
    table = Dataset.from_dict({name: [row[name] for row in rows] for name in FEATURES}, features=FEATURES)
    return Annotations(table, reader.entries, tuple(reader.problems), tuple(reader.remarks))


@dataclass(slots=True)
class _Reader:
    """Checks entries one by one and notes what is wrong."""

    entries: int = 0  # met so far
    problems: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def listed(self, content: Any) -> list[tuple[int, str, Any]]:
        """The entries of a list, each with its number and what it is called; none if it is no list."""
        entries = content if isinstance(content, list) else []
        self.entries = len(entries)
        return [(number, f"entry {number}", entry) for number, entry in enumerate(entries)]

    def lines(self, text: str) -> list[tuple[int, str, Any]]:
        """The entries of a file that has one on each line; one that is no JSON is a problem, and keeps its number."""
        entries: list[tuple[int, str, Any]] = []
        for line_number, line in enumerate(text.split("\n"), 1):
            if not line.strip():
                continue
            try:
                entries.append((self.entries, f"line {line_number}", json.loads(line)))
            except (ValueError, RecursionError) as error:
                self.problems.append(f"line {line_number}: cannot be read as JSON: {error}")
            self.entries += 1
        return entries

    def rows(self, number: int, where: str, entry: Any) -> Iterator[dict[str, Any]]:
        """The sound questions of an entry, whose place in the file is `where`."""
        info = entry.get("info") if isinstance(entry, dict) else None
        points = entry.get("breakpoint") if isinstance(entry, dict) else None
        if not isinstance(info, dict) or not isinstance(points, list):
            self.problems.append(f'{where}: must be {{"info": {{...}}, "breakpoint": [...]}}')
            return
        missing = [key for key in ("video_path", "class_1") if not _is_text(info.get(key))]
        if missing:
            self.problems.append(f"{where}: info has no text {' and '.join(missing)}")
            return
        sound = [(index, point) for index, point in enumerate(points) if self._is_sound(f"{where}, {index}", point)]
        times = [point["time"] for _, point in sound]
        if times != sorted(times):
            self.remarks.append(f"{where} ({info['video_path']}): its questions are not in time order")
        for index, point in sound:
            evidence = point.get("evidence") or (None, None)
            yield {
                "entry": number,
                "index": index,
                "video": info["video_path"].removeprefix(PREFIX),
                "domain": info["class_1"],
                "topic": info["class_2"] if _is_text(info.get("class_2")) else "",
                "time_seconds": float(point["time"]),
                "question": point["question"].strip(),
                "reference": point["answer"].strip(),
                "kind": CODES.get(point["class"], point["class"]),
                "evidence_start": evidence[0],
                "evidence_end": evidence[1],
            }

    def _is_sound(self, where: str, point: Any) -> bool:
        if not isinstance(point, dict):
            self.problems.append(f"{where}: a question must be an object, got {point!r}")
            return False
        wrong = [key for key in ("question", "answer", "class") if not _is_text(point.get(key))]
        if wrong:
            self.problems.append(f"{where}: has no text {' and '.join(wrong)}")
            return False
        time: Any = point.get("time")
        evidence: Any = point.get("evidence")
        if not _is_time(time):
            self.problems.append(f"{where}: time must be a number of seconds, 0 or more, got {time!r:.80}")
            return False
        if evidence is not None and not _is_span(evidence, until_seconds=time):
            self.problems.append(
                f"{where}: evidence must be [start, end] in seconds, got {evidence!r}: "
                f"0 <= start <= end <= {time:g}, when it is asked; leave it out if it is not known"
            )
            return False
        return True


def _is_text(value: object) -> bool:
    if not isinstance(value, str) or not value.strip():
        return False
    try:
        value.encode()
    except UnicodeEncodeError:  # half a character, which no table can hold
        return False
    return True


def _is_time(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= MOST_SECONDS


def _is_span(value: object, *, until_seconds: float) -> bool:
    if not isinstance(value, list) or len(value) != 2 or not all(map(_is_time, value)):
        return False
    return bool(value[0] <= value[1] <= until_seconds)


def _sample(rows: list[dict[str, Any]]) -> Sample:
    questions = [
        Question(
            index=row["index"],
            time_seconds=row["time_seconds"],
            text=row["question"],
            reference=row["reference"],
            kind=row["kind"],
            reference_span=_span(row["evidence_start"], row["evidence_end"]),
        )
        for row in rows
    ]
    first = rows[0]
    return Sample(
        entry=first["entry"],
        video=first["video"],
        domain=first["domain"],
        topic=first["topic"],
        questions=tuple(sorted(questions, key=lambda question: (question.time_seconds, question.index))),
    )


def _span(start: float | None, end: float | None) -> Span | None:
    return None if start is None or end is None else Span(start, end)


def repeats(table: Dataset) -> list[int]:
    """The rows that repeat an earlier (video, question, time)."""
    seen: set[tuple[Any, ...]] = set()
    found = []
    for number, key in enumerate(_asked(table)):
        if key in seen:
            found.append(number)
        seen.add(key)
    return found


def without_repeats(table: Dataset) -> Dataset:
    """The table less its repeats."""
    dropped = set(repeats(table))
    return table.select([number for number in range(len(table)) if number not in dropped])


def chosen(table: Dataset, count: int | None, seed: int = 0, *, with_repeats: bool = True) -> Dataset:
    """A sample of `count` questions (None: all), and with them their repeats, if those are wanted.

    It is drawn from the table without repeats, so that with them it has the same videos as without. InputError if
    `count` is not from 1 to the number of different questions.
    """
    once = without_repeats(table)
    drawn = once if count is None else subset(once, count, seed)
    if not with_repeats:
        return drawn
    keys = set(_asked(drawn))
    return table.select([number for number, key in enumerate(_asked(table)) if key in keys])


def _asked(table: Dataset) -> Iterator[tuple[Any, ...]]:
    """What is the same in rows that repeat each other."""
    return zip(table["video"], table["question"], table["time_seconds"], strict=True)


def subset(table: Dataset, count: int, seed: int = 0) -> Dataset:
    """A sample of `count` questions whose types and domains are shared out as in the whole table.

    Whole entries are drawn, as a dialogue cannot be followed from its middle: at each step the one, of a shuffled
    table, that brings the shares nearest to those of the whole; of the last one only the earlier questions. InputError
    if `count` is not from 1 to the number of questions.
    """
    if not 1 <= count <= len(table):
        raise InputError(f"a subset must have from 1 to {len(table)} questions, got {count}")
    remaining: dict[int, list[dict[str, Any]]] = {}
    for row in table.shuffle(seed=seed):
        remaining.setdefault(row["entry"], []).append(row)
    for rows in remaining.values():
        rows.sort(key=lambda row: (row["time_seconds"], row["index"]))
    whole = _tally(table)
    wanted = {key: number / len(table) for key, number in whole.items()}
    tallies = {entry: _tally(rows) for entry, rows in remaining.items()}
    chosen: set[tuple[int, int]] = set()
    counts: Counter[str] = Counter()
    while len(chosen) < count:
        best = min(remaining, key=lambda entry: _distance(counts, tallies[entry], wanted))
        rows = remaining.pop(best)[: count - len(chosen)]
        counts += _tally(rows)
        chosen |= {(row["entry"], row["index"]) for row in rows}
    keys = zip(table["entry"], table["index"], strict=True)
    return table.select([number for number, key in enumerate(keys) if key in chosen])


def _tally(rows: Iterable[dict[str, Any]]) -> Counter[str]:
    return Counter(f"{column} {row[column]}" for row in rows for column in ("kind", "domain"))


def _distance(counts: Counter[str], more: Counter[str], wanted: dict[str, float]) -> float:
    """How far the shares would be from those wanted if an entry were taken too."""
    size = (counts.total() + more.total()) / 2  # every question has a kind and a domain
    return sum(((counts[key] + more[key]) / size - share) ** 2 for key, share in wanted.items())
