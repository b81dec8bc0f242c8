"""A run's folder: `run.json` says what was run, `answers.N.jsonl` has one row a question, written as it comes.

The processes of one start hold the folder together, and each writes its own file; all are read together. A line that
was torn by a crash is cut off, so that its question is asked again.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, BinaryIO

from annotated_types import Len
from pydantic import BaseModel, ConfigDict, ValidationError

from streamchat.errors import InputError, StreamChatError

RUN = "run.json"
LOCK = "run.lock"  # held by the processes of one start, whose name it has
ANSWERS = "answers.*.jsonl"
PARTIAL = ".partial"  # a file that a crash may leave behind
IDENTITY = "identity"  # of run.json: what must be the same for a run to go on
STARTS = "starts"  # of run.json: when and with what the run was begun and gone on with

BUDGET = "memory_budget_bytes"  # of a start: what each session's memory could take; null of a method without one

Row = dict[str, Any]


class Form(BaseModel):
    """What a part of a run must have; it may have more."""

    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)


class AskedForm(Form):
    """What the row of every question has."""

    id: str
    entry: int
    index: int
    video: str
    domain: str
    kind: str
    time_seconds: float
    asked_at_seconds: float | None
    past_the_end: bool
    question: str
    reference: str
    answer: str | None
    error: str | None
    video_seconds: float | None = None
    reference_span: Annotated[list[float], Len(2, 2)] | None = None


class _TimingForm(Form):
    retrieval_seconds: float
    first_token_seconds: float


class _GivenForm(Form):
    pictures: list[Annotated[list[float], Len(2, 2)]] = []


class AnsweredForm(AskedForm):
    """What the row of a question that was answered has too."""

    answer: str
    timing: _TimingForm
    pictures: int
    given: _GivenForm | None = None
    frames_seen: int
    frames_kept: int
    ingest_seconds: float


class _OptionsForm(Form):
    selector: str | None = None
    retrieval: str | None = None
    max_pictures: int | None = None
    max_side: int | None = None
    memory_bytes: int | None = None
    seed: int | None = None


class _IdentityForm(Form):
    benchmark: str
    data: dict[str, Any]
    model: str
    model_name: str
    model_revision: str | None = None
    method: str
    preset: str
    options: _OptionsForm = _OptionsForm()


class _StartForm(Form):
    memory_budget_bytes: int | None = None
    streamchat: str | None = None
    commit: str | None = None


class _DescribedForm(Form):
    identity: _IdentityForm
    hash: str
    questions: int
    starts: list[_StartForm] = []


class RunError(StreamChatError):
    """What ends a run, and would end it again for the next question: the model's server, or the disk."""


def digest(identity: Mapping[str, Any]) -> str:
    """A short name of a configuration: the same for the same, whatever the order of its parts."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]


class RunFolder:
    """The folder of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def begin(self, identity: Mapping[str, Any], about: Mapping[str, Any]) -> None:
        """Make the folder for a configuration, or go on in it.

        `about` is written too when the folder is made. Raises InputError if the folder holds another configuration or
        something that is no run, or if it cannot be made.
        """
        if (self.path / RUN).exists():
            before = self.described()[IDENTITY]
            if before != json.loads(json.dumps(identity)):
                changed = sorted(key for key in {*before, *identity} if before.get(key) != identity.get(key))
                raise InputError(
                    f"{self.path} holds another run, which differs in {', '.join(changed)}: give --out another folder"
                )
            return
        make_folder(self.path)
        if any(entry.suffix != PARTIAL for entry in self.path.iterdir()):
            raise InputError(f"{self.path} is not empty and holds no run: give --out a new folder")
        self._write({IDENTITY: dict(identity), "hash": digest(identity), **about, STARTS: []})

    def add_start(self, facts: Mapping[str, Any]) -> None:
        """Note when and with what the run was begun or gone on with; only the first process of a start does."""
        described = self.described()
        self._write({**described, STARTS: [*described.get(STARTS, []), dict(facts)]})

    def described(self) -> dict[str, Any]:
        """What `run.json` says; InputError if it is not there or not whole."""
        try:
            found = json.loads((self.path / RUN).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise InputError(f"{self.path} is not the folder of a run: {RUN} cannot be read ({error})") from None
        try:
            _DescribedForm.model_validate(found)
        except ValidationError as error:
            raise InputError(f"{self.path} is not the folder of a run: its {RUN} {_wrong(error)}") from None
        return dict(found)

    @contextmanager
    def held(self, start: str) -> Iterator[None]:
        """Hold the folder for a start of this name, together with its other processes.

        Raises InputError if another start holds it. Only who finds nobody there writes the name; all others read it.
        """
        with _opened(self.path / LOCK) as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                lock.truncate(0)
                lock.write(start.encode())
            except BlockingIOError:
                pass
            fcntl.flock(lock, fcntl.LOCK_SH)  # alone it is held only for as long as a name takes to write
            lock.seek(0)
            if lock.read() != start.encode():
                raise _busy(self.path)
            yield

    def rows(self) -> list[Row]:
        """One row a question, in the order of the benchmark; InputError names a line that is none.

        Of several rows of a question an answer counts before an error, and then the last.
        """
        found: dict[str, Row] = {}
        for file in sorted(self.path.glob(ANSWERS)):
            for row in read_rows(file, lambda row: AskedForm if row.get("error") else AnsweredForm):
                if row["error"] is None or found.get(row["id"], row)["error"] is not None:
                    found[row["id"]] = row
        return sorted(found.values(), key=lambda row: (row["entry"], row["time_seconds"], row["index"]))

    def writer(self, rank: int) -> Writer:
        """The file of one process, held by it alone; InputError if another process holds it."""
        return Writer(self.path / ANSWERS.replace("*", str(rank)))

    def _write(self, described: Mapping[str, Any]) -> None:
        """Replace run.json as a whole."""
        partial = (self.path / RUN).with_suffix(f".{os.getpid()}{PARTIAL}")
        try:
            partial.write_text(json.dumps(described, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
            partial.replace(self.path / RUN)
        except OSError as error:
            raise _unwritten(self.path / RUN, error) from error


def make_folder(path: Path) -> None:
    """Make a folder, with those above it; InputError if it cannot be made."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{path} cannot be made a folder ({error.strerror}): give --out another one") from None


def answer_digest(row: Row) -> str:
    """What distinguishes the answer of a row from another answer to the same question, or from none."""
    return digest({"answer": row["answer"], "error": row["error"]})


def read_rows(file: Path, form_of: Callable[[Row], type[BaseModel]] = lambda _: Form) -> list[Row]:
    """The whole lines of a file of JSON lines; one that was torn at the end does not count.

    Raises InputError for any other line that is not a JSON object of the form that it should have.
    """
    rows = []
    for number, line in enumerate(file.read_bytes().split(b"\n")[:-1], 1):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict):
            raise InputError(f"line {number} of {file} is damaged: delete that line and start again")
        try:
            form_of(row).model_validate(row)
        except ValidationError as error:
            raise InputError(f"line {number} of {file} {_wrong(error)}: delete that line and start again") from None
        rows.append(row)
    return rows


def _wrong(error: ValidationError) -> str:
    """What is wrong with a row, in words."""
    faults = error.errors(include_url=False)
    missing = [".".join(map(str, fault["loc"])) for fault in faults if fault["type"] == "missing"]
    if missing:
        return f"lacks {', '.join(missing)}"
    first = faults[0]
    place = ".".join(map(str, first["loc"])) or "content"
    return f"has a wrong {place}, {first['input']!r:.80}: {first['msg']}"


class Writer:
    """Appends rows, each safe on disk before the next; use it as a context."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._open: BinaryIO | None = None

    def __enter__(self) -> Writer:
        opened = _opened(self._file)
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            opened.close()
            raise _busy(self._file) from None
        opened.seek(0)
        opened.truncate(opened.read().rfind(b"\n") + 1)
        self._open = opened
        return self

    def write(self, row: Row) -> None:
        """Append a row; RunError if the disk does not take it, and what it took of it is cut off later."""
        if self._open is None:
            raise RuntimeError("the writer is not open")
        line = json.dumps(row, ensure_ascii=False).encode() + b"\n"
        try:
            if self._open.write(line) != len(line):
                raise OSError("the disk is full")
            os.fsync(self._open.fileno())
        except OSError as error:
            raise _unwritten(self._file, error) from error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._open is not None:
            self._open.close()  # which also gives the lock back


def _opened(file: Path) -> BinaryIO:
    """A file to read and append to, whose writes are in no buffer of this process."""
    try:
        return file.open("a+b", buffering=0)
    except OSError as error:
        raise unwritable(file, error) from None


def unwritable(file: Path, error: OSError) -> InputError:
    """The error to raise for a file that cannot be written where it was asked for."""
    return InputError(f"{file} cannot be written ({error.strerror}): give --out another folder")


def _busy(path: Path) -> InputError:
    return InputError(f"{path} is being written by another process: wait for it, or give --out another folder")


def _unwritten(file: Path, error: OSError) -> RunError:
    said = error.strerror or str(error)
    return RunError(f"{file} cannot be written ({said}): mend that, and the same command goes on from here")
