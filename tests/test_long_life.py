"""Long lives: many sessions one after the other, and hours of a camera, leave nothing behind."""

from __future__ import annotations

import gc
import math
import shutil
import threading
from pathlib import Path

import psutil
import pytest
import videos
from conftest import WordEmbedder, picture
from test_live import WAIT_SECONDS

from streamchat.models.fake import FakeModel
from streamchat.options import Options
from streamchat.session import engine, storage
from streamchat.session.engine import StreamChat
from streamchat.session.live import LiveSession
from streamchat.ui import examples, uploads
from streamchat.ui.session_manager import SessionManager
from streamchat.ui.shared_model import SharedModel
from streamchat.video.camera import PushSource

pytestmark = pytest.mark.slow

SESSIONS, PUBLIC_SESSIONS = 200, 12
WARM_SESSIONS = 20  # after which nothing grows any more
HOURS = 10
STEP_SECONDS = 20
MEBIBYTE = 2**20
MOST_GROWTH_BYTES = 24 * MEBIBYTE  # of a process whose allocator keeps some of what was freed
OPTIONS = Options(memory_bytes=16 * MEBIBYTE, chunk_frames=4)


def standing() -> tuple[int, int, int]:
    """Threads of sessions, open files, and processes of this process now."""
    gc.collect()
    own = psutil.Process()
    threads = sum(thread.name.startswith("streamchat-") for thread in threading.enumerate())
    return threads, own.num_fds(), len(own.children(recursive=True))


def resident_bytes() -> int:
    return int(psutil.Process().memory_info().rss)


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the app keeps what comes and goes."""
    monkeypatch.setenv("STREAMCHAT_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(uploads.made()))
    return tmp_path


def uploaded(folder: Path, number: int, video: Path) -> Path:
    """A copy of a video where uploads lie."""
    (upload,) = folder.glob(f"{uploads.PREFIX}-*")
    place = upload / f"{number}"
    place.mkdir()
    return Path(shutil.copy(video, place))


@pytest.mark.parametrize(("public", "count"), [(False, SESSIONS), (True, PUBLIC_SESSIONS)])
def test_sessions_that_come_and_go_leave_nothing(
    folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, public: bool, count: int
) -> None:
    if not public:  # for the many, one that takes no time
        for module in (engine, storage):
            monkeypatch.setattr(module, "minilm", WordEmbedder)
    sessions = SessionManager(SharedModel("fake"), OPTIONS, public=public)
    video = videos.write(tmp_path / "short.mp4", [picture(20 * number, 48, 64) for number in range(12)])
    before, at_first = (0, 0, 0), standing()
    bytes_before = 0
    for number in range(count):
        visitor = f"visitor {number}"
        sessions.key_of(visitor)
        sessions.wait_for(visitor, ["a dog"])
        sessions.open(visitor, uploaded(folders, number, video))
        user_session = sessions.watching(visitor, None)
        user_session.ingest_the_rest()
        assert user_session.session.wait_until(lambda stats: stats.finished, WAIT_SECONDS)
        assert "".join(user_session.session.ask("What is shown?", 0.2))
        sessions.save(visitor, sessions.folder_of(visitor) / "saved.streamchat")
        if number % 2:
            sessions.load(visitor, sessions.folder_of(visitor) / "saved.streamchat")
        del user_session
        sessions.forget(visitor)
        if number == min(WARM_SESSIONS, count // 2):
            before, bytes_before = standing(), resident_bytes()
    assert standing() == before
    assert (before[0], before[2]) == (0, at_first[2]), "threads and processes"
    assert resident_bytes() - bytes_before < MOST_GROWTH_BYTES
    assert len(sessions) == 0
    assert [file for file in folders.rglob("*") if file.is_file() and file.name != "short.mp4"] == []
    assert examples.data_folder().is_relative_to(folders)


def test_ten_hours_of_a_camera_take_no_more_than_the_first() -> None:
    source = PushSource()
    session = LiveSession(StreamChat(FakeModel(), OPTIONS, WordEmbedder()), source)
    session.start()
    sizes: list[int] = []
    threads_before = standing()[0]
    for hour in range(HOURS):
        for seconds in range(hour * 3600, (hour + 1) * 3600, STEP_SECONDS):
            source.push(picture(seconds * 7 % 256, 48, 64), float(seconds))
            assert session.wait_until(lambda stats, at=seconds: stats.position_seconds == at, WAIT_SECONDS)  # type: ignore[misc]
        assert session.wait_until(lambda stats: not stats.captions_pending, WAIT_SECONDS)
        assert "".join(session.ask(f"What was shown in hour {hour}?"))
        sizes.append(resident_bytes())
        stats = session.stats()
        assert stats.memory_bytes <= session.engine.memory_budget_bytes
        assert stats.frames_dropped == 0
    roots = session.engine.memory.snapshot(math.inf).roots
    assert roots[0].span.start == 0
    assert standing()[0] == threads_before
    assert sizes[-1] - sizes[HOURS // 2] < MOST_GROWTH_BYTES
    source.close()
    session.close()
    assert standing()[0] == 0
