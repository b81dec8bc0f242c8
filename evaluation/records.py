"""A run's folder: `run.json` says what was run, `answers.N.jsonl` has one row a question, written as it comes.

Every process writes its own file, which it holds by a lock; all are read together. A line that was torn by a crash is
cut off, so that its question is asked again.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from streamchat.errors import InputError

RUN = "run.json"
ANSWERS = "answers.*.jsonl"
PARTIAL = ".partial"  # a file that a crash may leave behind
IDENTITY = "identity"  # of run.json: what must be the same for a run to go on

Row = dict[str, Any]


def digest(identity: Mapping[str, Any]) -> str:
    """A short name of a configuration: the same for the same, whatever the order of its parts."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]


class RunFolder:
    """The folder of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def begin(self, identity: Mapping[str, Any], about: Mapping[str, Any]) -> None:
        """Make the folder for a configuration, or go on in it.

        `about` is written too, and may differ when the run goes on. Raises InputError if the folder holds another
        configuration, or something that is no run.
        """
        file = self.path / RUN
        if file.exists():
            before = self.described()[IDENTITY]
            if before != json.loads(json.dumps(identity)):
                changed = sorted(key for key in {*before, *identity} if before.get(key) != identity.get(key))
                raise InputError(
                    f"{self.path} holds another run, which differs in {', '.join(changed)}: give --out another folder"
                )
            return
        if self.path.exists() and any(entry.suffix != PARTIAL for entry in self.path.iterdir()):
            raise InputError(f"{self.path} is not empty and holds no run: give --out a new folder")
        self.path.mkdir(parents=True, exist_ok=True)
        whole = {IDENTITY: dict(identity), "hash": digest(identity), **about}
        partial = file.with_suffix(f".{os.getpid()}{PARTIAL}")
        partial.write_text(json.dumps(whole, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        partial.replace(file)

    def described(self) -> dict[str, Any]:
        """What `run.json` says; InputError if it is not there or not whole."""
        try:
            found = json.loads((self.path / RUN).read_text(encoding="utf-8"))
            if IDENTITY in found:
                return dict(found)
        except (OSError, ValueError, TypeError) as error:
            raise InputError(f"{self.path} is not the folder of a run: {RUN} cannot be read ({error})") from None
        raise InputError(f"{self.path} is not the folder of a run: its {RUN} has no {IDENTITY}")

    def rows(self) -> list[Row]:
        """Every answer, in the order of the benchmark; InputError names a line that is not one."""
        rows = [row for file in sorted(self.path.glob(ANSWERS)) for row in read_rows(file)]
        return sorted(rows, key=lambda row: (row["entry"], row["asked_at_seconds"], row["index"]))

    def writer(self, rank: int) -> Writer:
        """The file of one process, held by it alone; InputError if another process holds it."""
        return Writer(self.path / ANSWERS.replace("*", str(rank)))


def read_rows(file: Path) -> list[Row]:
    """The whole lines of a file of JSON lines; one that was torn at the end does not count.

    Raises InputError for any other line that is not a JSON object.
    """
    rows = []
    lines = file.read_text(encoding="utf-8", errors="replace").split("\n")
    for number, line in enumerate(lines[:-1], 1):
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if not isinstance(row, dict):
            raise InputError(f"line {number} of {file} is damaged: delete that line and start again")
        rows.append(row)
    return rows


class Writer:
    """Appends rows, each safe on disk before the next; use it as a context."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._open: TextIO | None = None

    def __enter__(self) -> Writer:
        opened = self._file.open("a+", encoding="utf-8")
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            opened.close()
            raise InputError(
                f"{self._file} is being written by another process: wait for it, or give --out another folder"
            ) from None
        opened.seek(0)
        whole = opened.read().rpartition("\n")
        opened.truncate(len((whole[0] + whole[1]).encode()))
        self._open = opened
        return self

    def write(self, row: Row) -> None:
        """Append a row."""
        if self._open is None:
            raise RuntimeError("the writer is not open")
        self._open.write(json.dumps(row, ensure_ascii=False) + "\n")
        self._open.flush()
        os.fsync(self._open.fileno())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._open is not None:
            self._open.close()  # which also gives the lock back
