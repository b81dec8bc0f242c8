"""The visitors of the app, without a browser."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest
import videos
from conftest import picture

from streamchat.errors import InputError
from streamchat.options import Options
from streamchat.session import engine
from streamchat.types import Frame
from streamchat.ui import components, examples, session_manager
from streamchat.ui.session_manager import SessionManager, _history
from streamchat.ui.settings import SettingsPanel
from streamchat.ui.shared_model import SharedModel
from streamchat.ui.user_session import UserSession
from streamchat.ui.view import gauges
from streamchat.video.file import VideoFile, open_video

WAIT_SECONDS = 60.0


def session_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("streamchat")]


@pytest.fixture
def sessions() -> Iterator[SessionManager]:
    sessions = SessionManager(SharedModel("fake"), Options())
    yield sessions
    sessions.close_all()
    assert session_threads() == []


def test_each_visitor_has_a_video_and_a_conversation_of_their_own(sessions: SessionManager) -> None:
    sessions.open("one", videos.bikes())
    sessions.open("two", videos.bigbuckbunny())
    assert "".join(sessions.watching("one", videos.bikes()).session.ask("Is it mine?", 0.0))
    assert len(sessions.watching("one", None).session._engine.memory.dialogue) == 1
    assert len(sessions.watching("two", None).session._engine.memory.dialogue) == 0
    sessions.close("one")
    assert sessions.get("one") is None
    assert sessions.watching("two", None).video_path == videos.bigbuckbunny()


def test_a_second_video_takes_the_place_of_the_first_however_quickly_it_comes(sessions: SessionManager) -> None:
    opening = [threading.Thread(target=sessions.open, args=("one", videos.bikes())) for _ in range(4)]
    for thread in opening:
        thread.start()
    for thread in opening:
        thread.join(WAIT_SECONDS)
    assert len(sessions) == 1
    assert len(session_threads()) <= 3
    sessions.close("one")
    assert session_threads() == []


def test_a_question_after_a_seek_waits_until_the_gap_was_ingested(sessions: SessionManager) -> None:
    sessions.open("one", videos.bikes())
    user_session = sessions.watching("one", None)
    user_session.follow(1.0)
    for seconds in user_session.until_ingested(8.0):
        assert seconds < 8.0
    assert user_session.session.stats().position_seconds >= 7.5


class Hanging(VideoFile):
    """A video of which no frame comes until it is released."""

    released = threading.Event()

    def __iter__(self) -> Generator[Frame, None, None]:
        assert self.released.wait(WAIT_SECONDS)
        yield from super().__iter__()


def test_a_reader_that_hangs_keeps_no_other_session_from_ending(
    sessions: SessionManager, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def open_hanging(path: Path, **how: Any) -> VideoFile:
        return Hanging(open_video(path, **how)._facts)

    with monkeypatch.context() as patched:
        patched.setattr(session_manager, "open_video", open_hanging)
        sessions.open("stuck", videos.bikes())
    sessions.open("well", videos.bikes())
    monkeypatch.setattr(session_manager, "CLOSE_SECONDS", 0.5)
    sessions.close_all()
    assert len(session_threads()) == 1
    assert "the thread streamchat-stacking did not end" in caplog.text
    Hanging.released.set()
    for thread in threading.enumerate():
        if thread.name.startswith("streamchat"):
            thread.join(WAIT_SECONDS)


def test_a_file_that_is_no_video_leaves_what_was_before(sessions: SessionManager, tmp_path: Path) -> None:
    sessions.open("one", videos.bikes())
    (tmp_path / "notes.mp4").write_text("no video")
    with pytest.raises(InputError, match="not a video"):
        sessions.open("one", tmp_path / "notes.mp4")
    assert sessions.watching("one", None).video_path == videos.bikes()


def test_who_never_opened_anything_is_refused(sessions: SessionManager) -> None:
    with pytest.raises(InputError, match="no video yet"):
        sessions.watching("one", None)


def test_a_question_waits_for_the_end_only_when_it_is_about_it_and_can_be_stopped(
    sessions: SessionManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions.open("one", videos.bikes())
    user_session = sessions.watching("one", None)
    assert list(user_session.until_ingested(0.0)) == []
    monkeypatch.setattr(user_session.session, "play_until", lambda _: None)  # so the end does not come
    positions = user_session.until_ingested(None)
    assert next(positions) < 1.2
    sessions.close("one")
    assert list(positions) == []


def test_only_so_many_visitors_at_once_and_a_place_that_is_left_is_free() -> None:
    sessions = SessionManager(SharedModel("fake"), Options(), most=1)
    sessions.open("one", videos.bikes())
    sessions.open("one", videos.bikes())  # who has a place may open another video
    with pytest.raises(InputError, match=r"the app is full \(1 at once\): try again"):
        sessions.open("two", videos.bikes())
    sessions.close("one")
    sessions.open("two", videos.bikes())
    sessions.close_all()


def test_a_page_is_known_by_a_secret_that_is_forgotten_with_it(sessions: SessionManager) -> None:
    sessions.open("one", videos.bikes())
    key = sessions.key_of("one")
    assert key == sessions.key_of("one") != sessions.key_of("two")
    assert sessions.by_key(key) is sessions.get("one")
    assert sessions.by_key("one") is None
    sessions.goodbye(key)
    assert sessions.by_key(key) is None
    assert session_threads() == []


def push(user_session: UserSession, start: float, count: int) -> None:
    seen = user_session.session.stats().frames_seen
    for number in range(count):
        user_session.push(picture(10 * number, 90, 160), start + number / 10)
    assert user_session.session.wait_until(lambda stats: stats.frames_seen == seen + count, WAIT_SECONDS)


def test_a_camera_that_was_stopped_goes_on_in_the_same_memory(sessions: SessionManager) -> None:
    sessions.open_camera("one")
    push(sessions.watching("one", None), 0.0, 20)
    assert "".join(sessions.watching("one", None).session.ask("What is shown?"))
    sessions.open_camera("one")
    user_session = sessions.watching("one", None)
    push(user_session, 0.0, 5)
    assert user_session.session.stats().position_seconds == pytest.approx(1.9 + 1.0 + 0.4)
    assert len(user_session.session.engine.memory.dialogue) == 1
    sessions.choose("one", Options(memory_bytes=2**24))
    sessions.open_camera("one")
    user_session = sessions.watching("one", None)
    assert user_session.session.engine.options.memory_bytes == 2**24
    assert user_session.session.stats().frames_seen == 0


def test_what_the_old_session_still_ingests_comes_before_the_clock_of_the_new_one(
    sessions: SessionManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions.open_camera("one")
    first = sessions.watching("one", None)
    push(first, 0.0, 3)
    assert first.session.wait_until(lambda stats: stats.frames_seen == 3, WAIT_SECONDS)
    engine, may, entered = first.session.engine, threading.Event(), threading.Event()
    select, stop = engine.select, first.session.stop

    def slow(frame: Frame) -> object:
        entered.set()
        assert may.wait(WAIT_SECONDS)
        return select(frame)

    def stopping() -> None:  # only once the session ends may its last frame be ingested
        stop()
        may.set()

    monkeypatch.setattr(engine, "select", slow)
    monkeypatch.setattr(first.session, "stop", stopping)
    first.push(picture(200, 90, 160), 50.0)
    assert entered.wait(WAIT_SECONDS)
    sessions.open_camera("one")
    assert engine.newest is not None
    assert engine.newest.pts_seconds == 50.0
    assert sessions.watching("one", None).camera_began == 50.0 + session_manager.PAUSE_SECONDS


def test_a_saved_session_goes_on_in_its_own_video_and_not_in_another(sessions: SessionManager, tmp_path: Path) -> None:
    file = tmp_path / "a.streamchat"
    sessions.open("one", videos.bikes())
    user_session = sessions.watching("one", None)
    user_session.session.play_until(5.0)
    assert user_session.session.wait_until(lambda stats: stats.position_seconds > 4.9, WAIT_SECONDS)
    sessions.save("one", file)
    sessions.load("two", file)
    loaded = sessions.watching("two", None)
    assert loaded.session.ask("What was shown?", loaded.moment_of(0.0, whole=False)).asked_at_seconds <= 4.97
    sessions.open("two", videos.bikes())
    user_session = sessions.watching("two", None)
    user_session.ingest_the_rest()
    assert user_session.session.wait_until(lambda stats: stats.finished, WAIT_SECONDS)
    spans = [root.span for root in user_session.session.snapshot().roots]
    assert spans[0].start == 0.0
    assert [span.end for span in spans[:-1]] == [span.start for span in spans[1:]]
    assert user_session.session.stats().position_seconds == pytest.approx(9.96, abs=0.1)
    sessions.load("two", file)
    sessions.open("two", videos.bigbuckbunny())
    assert sessions.watching("two", None).session.snapshot().roots == ()


@pytest.mark.parametrize(
    "kept", [[0.1, [10**30] * 5], [10**400, [1]], [0.1, [-1]], [0.0, [1]], ["a", []], 5, [0.1], [float("inf"), [1]]]
)
def test_a_strip_that_cannot_be_is_left_out_of_a_loaded_session(kept: object) -> None:
    assert _history(kept).kept().counts == ()


def test_a_file_that_cannot_be_loaded_leaves_what_there_was(sessions: SessionManager, tmp_path: Path) -> None:
    sessions.open("one", videos.bikes())
    (tmp_path / "a.streamchat").write_text("junk")
    with pytest.raises(InputError, match="cannot open the session"):
        sessions.load("one", tmp_path / "a.streamchat")
    assert sessions.watching("one", None).video_path == videos.bikes()


def test_what_is_chosen_is_for_the_next_session_of_that_visitor(sessions: SessionManager) -> None:
    sessions.open("one", videos.bikes())
    sessions.choose("one", Options(memory_bytes=2**24))
    assert sessions.watching("one", None).session.engine.options.memory_bytes == Options().memory_bytes
    sessions.open("one", videos.bikes())
    sessions.open("two", videos.bikes())
    assert sessions.watching("one", None).session.engine.options.memory_bytes == 2**24
    assert sessions.watching("two", None).session.engine.options.memory_bytes == Options().memory_bytes


def test_the_memory_leaves_room_for_all_the_sessions_that_there_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "free_memory_bytes", lambda: 2**32)
    for most, budget in ((2, 2**29), (4, 2**28), (8, 2**27)):
        sessions = SessionManager(SharedModel("fake"), Options(), most)
        sessions.open("one", videos.bikes())
        user_session = sessions.watching("one", None)
        assert user_session.session.engine.memory_budget_bytes == budget
        assert (f"budget {budget // 2**20} MiB") in str(gauges(user_session, user_session.session.stats()))
        sessions.close_all()


@pytest.mark.parametrize(("box", "asked"), [(None, None), (64, 2**26)])
def test_an_empty_box_for_the_budget_leaves_it_to_the_machine(box: float | None, asked: int | None) -> None:
    sessions = SessionManager(SharedModel("fake"), Options(memory_bytes=2**24))
    with gr.Blocks():
        panel = SettingsPanel(sessions, "base")
    panel._choose("slow", "novelty", 0.13, box, SimpleNamespace(session_hash="one"))  # type: ignore[arg-type]
    assert sessions.options_of("one") == Options.preset("slow", memory_bytes=asked)


def test_alerts_hold_for_the_sessions_to_come(sessions: SessionManager) -> None:
    sessions.wait_for("one", ["a dog appears"])
    sessions.open("one", videos.bikes())
    assert sessions.watching("one", None).session.engine.alerts.questions == ("a dog appears",)
    with pytest.raises(InputError, match="at most 8"):
        sessions.wait_for("one", [str(number) for number in range(9)])
    assert sessions.watching("one", None).session.engine.alerts.questions == ("a dog appears",)


def test_a_model_that_cannot_be_loaded_leaves_the_one_there_is() -> None:
    model = SharedModel("fake")
    before = model.get()
    with pytest.raises(InputError, match="unknown model 'nope'"):
        model.switch("nope")
    assert model.get() is before
    assert model.spec == "fake"


def test_what_comes_from_outside_is_escaped_on_the_page() -> None:
    assert "<script>" not in components.model_line("<script>alert(1)</script>", busy=False)


@pytest.mark.parametrize("title", examples.titles())
def test_every_example_is_a_video(title: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("STREAMCHAT_DATA", str(tmp_path / "data"))
    path = examples.video(title)
    assert path.parent == tmp_path / "data"
    video = open_video(path)
    assert video.duration_seconds is not None
    assert 5 < video.duration_seconds < 60
    assert sum(1 for _ in video) > 100
