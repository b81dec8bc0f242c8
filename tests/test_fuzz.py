"""What we read, spoilt in any way: it is read, or refused in our words. What once failed is kept as an example."""

from __future__ import annotations

import copy
import functools
import io
import json
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from conftest import WordEmbedder, picture
from hypothesis import example, given, settings
from hypothesis import strategies as st

from evaluation import judging, report
from evaluation.annotations import read as read_annotations
from evaluation.benchmarks.jsonl import OwnVideos
from evaluation.judges.base import parse
from evaluation.judges.exact import ExactJudge
from evaluation.records import RUN, RunFolder
from evaluation.samples import Choice
from streamchat.errors import StreamChatError
from streamchat.models.fake import FakeModel
from streamchat.options import Options
from streamchat.session.engine import StreamChat
from streamchat.session.storage import load_session, save_session
from streamchat.types import Frame

OPTIONS = Options(selector="uniform", heartbeat_seconds=1.0, chunk_frames=3, group_nodes=2, clusters=2)
MOST_SAID = 2000  # characters of a message
DEEP = "[" * 2000 + "]" * 2000
NUMBERS = (-1, 0, 1, 3, 10**9, 10**400, -0.5, 1e308, float("nan"), float("inf"))
TEXTS = ("", " ", "a", "\ud800", "\0", "../../etc/passwd", "=1+1", "<b>", "$\\undefined$", "x" * 5000)
ODD: st.SearchStrategy[Any] = st.sampled_from([None, True, *NUMBERS, *TEXTS, [], {}, [[]], [None], {"a": 1}])
JSON: st.SearchStrategy[Any] = st.recursive(
    ODD | st.text(max_size=5), lambda one: st.lists(one, max_size=2), max_leaves=4
)
quickly = settings(max_examples=60)


@st.composite
def spoilt(draw: st.DrawFn, whole: Any, most: int = 2) -> Any:
    """A document in which something is something else, is gone, or is there twice."""
    document = [copy.deepcopy(whole)]
    for _ in range(draw(st.integers(1, most))):
        place: Any = document
        key: Any = 0
        while isinstance(place[key], dict | list) and place[key] and (place is document or draw(st.integers(0, 4)) > 0):
            place = place[key]
            key = draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        change = draw(st.integers(0, 3))
        if change == 0 and place is not document:
            del place[key]
        elif change == 1 and isinstance(place, list) and place is not document:
            place.append(copy.deepcopy(place[key]))
        else:
            place[key] = draw(JSON)
    return document[0]


def refused_or(read: Callable[[], object]) -> bool:
    """Whether something was read; all else must be refused in our words."""
    try:
        read()
    except StreamChatError as error:
        said = str(error)
    else:
        return True
    assert 0 < len(said) < MOST_SAID
    return False


@functools.cache
def session() -> tuple[Any, dict[str, bytes]]:
    """What a small saved session says, and its other parts."""
    chat = StreamChat(FakeModel(), OPTIONS, WordEmbedder())
    for index in range(40):
        chat.push(Frame(picture(6 * index), index / 2, index))
    chat.ask("What is shown?")
    chat.ask("And now?")
    file = io.BytesIO()
    save_session(chat, file, extra={"questions": ["What is shown?"], "seconds": 3.5})
    with zipfile.ZipFile(file) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    return json.loads(parts.pop("session.json")), parts


def zipped(described: bytes, parts: dict[str, bytes]) -> io.BytesIO:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, data in {"session.json": described, **parts}.items():
            archive.writestr(name, data)
    return file


def use(file: io.BytesIO) -> None:
    """Load a session; one that loads can be asked, goes on, and is saved again."""
    chat, _ = load_session(file, FakeModel(), WordEmbedder())
    after = 0.0 if chat.newest is None else chat.newest.pts_seconds + 1
    chat.push(Frame(picture(7), after, 1000))
    assert chat.ask("What is shown?").text
    save_session(chat, io.BytesIO())


class TestSessions:
    @quickly
    @given(st.data())
    def test_of_other_values(self, data: st.DataObject) -> None:
        described, parts = session()
        changed = data.draw(spoilt(described))
        refused_or(lambda: use(zipped(json.dumps(changed).encode(), parts)))

    @quickly
    @given(st.data())
    def test_of_other_bytes(self, data: st.DataObject) -> None:
        described, parts = session()
        name = data.draw(st.sampled_from(sorted(parts)))
        old = parts[name]
        place = data.draw(st.integers(0, len(old) - 1))
        new = data.draw(st.sampled_from([old[:place], old[:place] + b"\xff" * 9 + old[place + 9 :], old + old, b""]))
        refused_or(lambda: use(zipped(json.dumps(described).encode(), {**parts, name: new})))

    @quickly
    @given(st.data())
    def test_of_another_file(self, data: st.DataObject) -> None:
        described, parts = session()
        whole = zipped(json.dumps(described).encode(), parts).getvalue()
        place = data.draw(st.integers(0, len(whole) - 1))
        kept = data.draw(st.sampled_from([whole[:place], whole[place:], whole[:place] + b"\0PK" + whole[place + 3 :]]))
        refused_or(lambda: use(io.BytesIO(kept)))

    def test_of_brackets(self) -> None:
        _, parts = session()
        assert not refused_or(lambda: use(zipped(DEEP.encode(), parts)))
        assert not refused_or(lambda: use(zipped(b'{"a":' * 100_000, parts)))


ENTRY = {
    "info": {"video_path": "Ego/kitchen.mp4", "class_1": "Ego", "class_2": "Cooking"},
    "breakpoint": [
        {"time": 30, "question": "Where is it?", "answer": "There.", "class": "SM", "evidence": [12.5, 14]},
        {"time": 40.5, "question": "And now?", "answer": "Gone.", "class": "Object Search"},
    ],
}


class TestAnnotations:
    @quickly
    @given(spoilt([ENTRY, ENTRY], most=4), st.booleans())
    def test_of_other_values(self, entries: Any, by_line: bool) -> None:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / ("questions.jsonl" if by_line else "questions.json")
            lines = entries if isinstance(entries, list) else [entries]
            text = "\n".join(map(json.dumps, lines)) if by_line else json.dumps(entries)
            file.write_text(text)
            refused_or(lambda: read_annotations(file).samples())
            if by_line:
                refused_or(lambda: OwnVideos(Choice(root=Path(folder), subset=None, seed=0)).missing())

    @quickly
    @given(st.binary(max_size=60), st.booleans())
    @example(DEEP.encode(), False)
    @example(DEEP.encode(), True)
    @example(b"\xef\xbb\xbf[]", False)
    @example(b"1" * 5000, False)
    @example(b"1" * 5000, True)
    def test_of_any_bytes(self, data: bytes, by_line: bool) -> None:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / ("questions.jsonl" if by_line else "questions.json")
            file.write_bytes(data)
            refused_or(lambda: read_annotations(file).samples())


IDENTITY = {
    "benchmark": "jsonl",
    "data": {"questions": 2},
    "model": "fake",
    "model_name": "Fake",
    "method": "memory",
    "preset": "base",
}
ROW = {
    "id": "0-0",
    "entry": 0,
    "index": 0,
    "video": "kitchen.mp4",
    "domain": "Ego",
    "kind": "SM",
    "time_seconds": 30.0,
    "asked_at_seconds": 30.0,
    "past_the_end": False,
    "question": "Where is it?",
    "reference": "There.",
    "answer": "There.",
    "error": None,
    "timing": {"retrieval_seconds": 0.1, "first_token_seconds": 0.2, "total_seconds": 0.3},
    "pictures": 3,
    "given": {"pictures": [[0.0, 1.0]], "captions": []},
    "evidence": [],
    "frames_seen": 100,
    "frames_kept": 10,
    "ingest_seconds": 1.5,
    "video_seconds": 60.0,
    "reference_span": [12.5, 14.0],
}
GRADE = {"id": "0-0", "judge": "exact", "correct": True, "score": 5.0, "ungraded": None}


def lines(rows: Any) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in (rows if isinstance(rows, list) else [rows]))


def judged_and_reported(described: Any, rows: Any, grades: Any) -> None:
    """What `judge` and `report` make of a folder."""
    with tempfile.TemporaryDirectory() as path:
        folder = RunFolder(Path(path))
        (folder.path / RUN).write_text(json.dumps(described))
        (folder.path / "answers.0.jsonl").write_bytes(lines(rows))
        (folder.path / "grades.other.ndjson").write_bytes(lines(grades))
        refused_or(lambda: list(judging.judge(folder, ExactJudge())))
        refused_or(lambda: report.inner_html(report.load([folder])))


class TestRunFolders:
    whole = (
        {"identity": IDENTITY, "hash": "a", "questions": 2, "starts": [{"at": "now"}]},
        [ROW, {**ROW, "id": "0-1"}],
    )

    def test_that_are_whole(self) -> None:
        described, rows = self.whole
        with tempfile.TemporaryDirectory() as path:
            folder = RunFolder(Path(path))
            (folder.path / RUN).write_text(json.dumps(described))
            (folder.path / "answers.0.jsonl").write_bytes(lines(rows))
            assert refused_or(lambda: list(judging.judge(folder, ExactJudge())))
            assert refused_or(lambda: report.inner_html(report.load([folder])))

    @settings(quickly, max_examples=40)
    @given(st.data())
    def test_of_other_values(self, data: st.DataObject) -> None:
        described, rows = self.whole
        grades = [GRADE, {**GRADE, "id": "0-1"}]
        which = data.draw(st.integers(0, 2))
        if which == 0:
            described = data.draw(spoilt(described))
        elif which == 1:
            rows = data.draw(spoilt(rows, most=3))
        else:
            grades = data.draw(spoilt(grades))
        judged_and_reported(described, rows, grades)


class TestReplies:
    @quickly
    @given(spoilt({"correct": "yes", "score": 4}, most=2), st.sampled_from(["", "```json\n", "{", "Sure: "]))
    def test_of_judges(self, said: Any, before: str) -> None:
        for text in (json.dumps(said), repr(said)):
            grade = parse(before + text)
            assert (grade.ungraded is None) == (grade.correct is not None)
            assert grade.score is None or 0 <= grade.score <= 5

    @quickly
    @given(st.text())
    @example(DEEP)
    @example("{" * 5000)
    @example("-" * 100_000 + "1")
    @example("9" * 5000)
    @example('{"correct": "yes", "score": 1e999}')
    @example("{'pred': 'yes', 'score': " + "9" * 5000 + "}")
    @example("\0")
    @example("{'pred': {}: 1}")
    def test_of_judges_in_any_text(self, text: str) -> None:
        assert parse(text).ungraded or parse(text).score is not None
