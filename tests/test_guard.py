"""What every request passes first, who counts as there, and videos that are decoded apart."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest
import videos
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from streamchat.errors import InputError
from streamchat.options import Options
from streamchat.ui import guard, session_manager, uploads
from streamchat.ui.guard import Allowance, Guard
from streamchat.ui.presence import Presence
from streamchat.ui.session_manager import SessionManager
from streamchat.ui.shared_model import SharedModel
from streamchat.video import isolated
from streamchat.video.file import open_video
from streamchat.video.isolated import IsolatedVideo


class Clock:
    """Time that stands still until it is moved."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


class TestAllowance:
    def test_calls_are_limited_and_more_come_with_time(self, clock: Clock) -> None:
        allowance = Allowance(2.0, burst_seconds=5.0)
        assert [allowance.take("a") for _ in range(11)] == [True] * 10 + [False]
        assert allowance.take("b"), "every address has its own"
        clock.now += 1.0
        assert [allowance.take("a") for _ in range(3)] == [True, True, False]
        clock.now += 1e6
        assert sum(allowance.take("a") for _ in range(100)) == 10

    def test_who_makes_bad_calls_has_fewer(self, clock: Clock) -> None:
        allowance = Allowance(2.0, burst_seconds=5.0)
        allowance.spend("a", 9.0)
        assert [allowance.take("a") for _ in range(2)] == [True, False]
        for _ in range(100):
            allowance.spend("a", 50.0)
        clock.now += 6.0  # what is owed has a limit
        assert allowance.take("a")

    def test_addresses_are_forgotten_in_the_end(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(guard, "MOST_ADDRESSES", 3)
        allowance = Allowance(1.0, burst_seconds=1.0)
        assert all(allowance.take(str(number)) for number in range(10))
        assert not allowance.take("9")
        assert allowance.take("0")


class Served:
    """An app behind the guard, which notes who comes and goes."""

    def __init__(self, uploads: Path, most_visitors: int = 1) -> None:
        self.heard: list[tuple[str, bool] | str] = []

        async def echo(request: Request) -> Response:
            return PlainTextResponse(str(len(await request.body())))

        async def fails(request: Request) -> Response:
            raise KeyError("forged")

        routes = [
            Route("/echo", echo, methods=["GET", "POST"]),
            Route("/upload", echo, methods=["POST"]),
            Route("/fails", fails),
            Route("/heartbeat/{page}", echo),
        ]
        guarding = Middleware(
            Guard,
            most_visitors=most_visitors,
            connected=lambda page, there: self.heard.append((page, there)),
            goodbye=self.heard.append,
            uploads=uploads,
            most_upload_bytes=20_000,
        )
        self.app = Starlette(routes=routes, middleware=[guarding])

    def call(self, method: str, path: str, **sent: object) -> httpx.Response:
        async def called() -> httpx.Response:
            transport = httpx.ASGITransport(self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://app") as client:
                return await client.request(method, path, **sent)  # type: ignore[arg-type]

        return asyncio.run(called())


@pytest.fixture
def served(tmp_path: Path) -> Served:
    return Served(tmp_path)


class TestGuard:
    def test_calls_pass_and_large_ones_do_not(self, served: Served) -> None:
        assert served.call("POST", "/echo", content=b"x" * 1000).text == "1000"
        large = b"x" * (guard.MOST_BODY_BYTES + 1)
        assert served.call("POST", "/echo", content=large).status_code == 413

        async def pieces() -> object:
            for _ in range(5):
                yield b"x" * 2**20

        assert served.call("POST", "/echo", content=pieces()).status_code == 413, "also if it does not say how large"

    def test_what_the_app_cannot_read_is_refused_in_one_line(
        self, served: Served, caplog: pytest.LogCaptureFixture
    ) -> None:
        answer = served.call("GET", "/fails")
        assert (answer.status_code, answer.text) == (400, guard.REFUSED)
        assert [record.exc_info for record in caplog.records if record.name == guard.__name__] == [None]

    def test_a_flood_is_slowed_down(self, served: Served, clock: Clock) -> None:
        codes = [served.call("GET", "/fails").status_code for _ in range(40)]
        assert codes[0] == 400
        assert codes[-1] == 429

    def test_uploads_have_a_limit_together(
        self, served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert served.call("POST", "/upload", content=b"x" * 15_000).status_code == 200
        full = served.call("POST", "/upload", content=b"x" * 15_000)
        assert (full.status_code, full.text) == (507, guard.NO_ROOM), "what has just come is counted"
        monkeypatch.setattr(guard, "COUNTED_SECONDS", -1.0)
        (tmp_path / "one").mkdir()
        (tmp_path / "one" / "video.mp4").write_bytes(b"x")
        assert served.call("POST", "/upload", content=b"x" * 15_000).status_code == 507, "the smallest takes a block"
        assert served.call("POST", "/upload", content=b"x" * 11_000).status_code == 200

        async def pieces() -> object:
            for _ in range(3):
                yield b"x" * 5_000

        assert served.call("POST", "/upload", content=pieces()).status_code == 413, "also if it does not say how large"
        assert served.call("POST", "/upload", content=b'filename="a"' * (guard.MOST_FILES + 1)).status_code == 413

    def test_who_is_connected_and_who_says_goodbye_is_noted(self, served: Served) -> None:
        served.call("GET", "/heartbeat/page7")
        assert served.call("POST", "/goodbye", content=b"the-key").status_code == 204
        assert served.heard == [("page7", True), ("page7", False), "the-key"]


class TestPresence:
    def test_who_is_connected_is_there_and_else_when_last_heard(self, clock: Clock) -> None:
        presence = Presence()
        presence.heard("one")
        presence.heard("two", "client")
        presence.connected("client", True)
        clock.now += 100.0
        assert presence.silent_seconds("one") == 100.0
        assert presence.silent_seconds("two") == 0.0
        assert presence.all() == ["one", "two"]
        presence.connected("client", False)
        clock.now += 5.0
        assert presence.silent_seconds("two") == 5.0, "counted from the end of the connection"
        presence.heard("two")
        presence.connected("client", True)
        assert presence.silent_seconds("two") == 0.0, "who speaks for it stays the same"
        presence.forget("two")
        assert presence.all() == ["one"]

    def test_two_connections_are_there_until_both_end(self, clock: Clock) -> None:
        presence = Presence()
        presence.heard("one")
        presence.connected("one", True)
        presence.connected("one", True)
        presence.connected("one", False)
        clock.now += 9.0
        assert presence.silent_seconds("one") == 0.0


@pytest.fixture
def sessions() -> Iterator[SessionManager]:
    sessions = SessionManager(SharedModel("fake"), Options(), most=2, keep_seconds=500.0)
    yield sessions
    sessions.close_all()


class TestPlaces:
    def test_a_place_nobody_speaks_for_is_given_to_who_waits(self, sessions: SessionManager) -> None:
        for visitor in ("silent", "longer", "third"):
            sessions.presence.heard(visitor)
        sessions.open("longer", videos.bikes())
        sessions.open("silent", videos.bikes())
        with pytest.raises(InputError, match="the app is full"):
            sessions.open("third", videos.bikes())
        sessions.presence._heard["longer"] -= session_manager.AWAY_SECONDS + 20
        sessions.presence._heard["silent"] -= session_manager.AWAY_SECONDS + 10
        sessions.open("third", videos.bikes())
        assert sessions.get("longer") is None, "the longest silent goes first"
        assert sessions.get("silent") is not None, "and no more than must"

    def test_who_is_connected_keeps_it(self, sessions: SessionManager) -> None:
        for visitor in ("one", "two"):
            sessions.open(visitor, videos.bikes())
            sessions.presence.connected(visitor, True)
            sessions.presence._heard[visitor] -= 1e6
        with pytest.raises(InputError, match="the app is full"):
            sessions.open("third", videos.bikes())

    def test_a_session_outlives_its_connection_for_a_while(self, sessions: SessionManager) -> None:
        sessions.open("one", videos.bikes())
        key = sessions.key_of("one")
        sessions.presence.connected("one", True)
        sessions.presence.connected("one", False)
        sessions.presence._heard["one"] -= 400.0
        sessions.sweep()
        assert sessions.get("one") is not None
        assert sessions.by_key(key) is not None, "the page that comes back is heard"
        sessions.presence._heard["one"] -= 400.0
        sessions.sweep()
        assert sessions.get("one") is not None
        sessions.presence._heard["one"] -= 200.0
        sessions.sweep()
        assert sessions.get("one") is None
        assert not sessions.knows(key)


class TestUploads:
    @pytest.fixture
    def folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setenv(uploads.VARIABLE, str(tmp_path))
        return uploads.made()

    def test_a_video_goes_with_its_last_session(self, folder: Path, sessions: SessionManager) -> None:
        uploaded = folder / "a" / "bikes.mp4"
        uploaded.parent.mkdir()
        uploaded.write_bytes(videos.bikes().read_bytes())
        sessions.open("one", uploaded)
        sessions.open("two", uploaded)
        sessions.open("two", uploaded)
        assert uploaded.exists(), "it is watched anew"
        sessions.forget("one")
        assert uploaded.exists(), "another visitor sent the same"
        sessions.open("two", uploaded)
        assert uploaded.exists(), "also by the last who has it"
        sessions.open("two", videos.bikes())
        assert not uploaded.exists()
        sessions.forget("two")
        assert videos.bikes().exists(), "what was not uploaded stays"

    def test_what_came_long_ago_and_is_of_no_session_goes(self, folder: Path, sessions: SessionManager) -> None:
        uploaded, partial, fresh = folder / "bikes.mp4", folder / "tmp123", folder / "new"
        uploaded.write_bytes(videos.bikes().read_bytes())
        for file in (partial, fresh):
            file.write_bytes(b"half")
        sessions.open("one", uploaded)
        for file in (uploaded, partial):
            os.utime(file, (time.time() - uploads.OLD_SECONDS - 5,) * 2)
        sessions.sweep()
        assert partial.exists(), "who uses the app alone knows when to throw away"
        sessions.public = True
        sessions.sweep()
        assert sorted(folder.iterdir()) == sorted([uploaded, fresh])

    def test_what_a_killed_app_left_is_cleared_by_the_next(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(uploads.VARIABLE, str(tmp_path))
        gone = max(psutil.pids()) + 10_000
        for name in (f"{uploads.PREFIX}-{gone}-abc", f"{uploads.PREFIX}-{os.getppid()}-def", "other-1-abc"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "video.mp4").write_bytes(b"x")
        made = uploads.made()
        left = {folder.name for folder in tmp_path.iterdir()}
        assert left == {made.name, f"{uploads.PREFIX}-{os.getppid()}-def", "other-1-abc"}
        assert made.stat().st_mode & 0o777 == 0o700


def workers() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if "streamchat.video.worker" in child.cmdline()]


class TestIsolated:
    def test_it_reads_what_is_read_without(self) -> None:
        plain, apart = open_video(videos.bikes(), max_side=320), IsolatedVideo(videos.bikes(), max_side=320)
        assert (apart.duration_seconds, apart.frame_rate, apart.notes) == (10.0, 25.0, ())
        frames, others = list(plain), list(apart)
        assert [frame.pts_seconds for frame in others] == [frame.pts_seconds for frame in frames]
        assert all(np.array_equal(one.data, other.data) for one, other in zip(frames, others, strict=True))
        assert np.array_equal(apart.frames_at([4.0])[0].data, frames[100].data)
        assert [frame.index for frame in apart.after(frames[246])] == [247, 248, 249]
        few = IsolatedVideo(videos.bikes(), max_side=64, per_second=2.0)
        assert [frame.pts_seconds for frame in few] == pytest.approx([n / 2 for n in range(20)], abs=0.03)

    def test_no_process_is_left(self) -> None:
        apart = IsolatedVideo(videos.bikes(), max_side=64)
        frames = iter(apart)
        next(frames)
        assert len(workers()) == 2
        frames.close()
        del apart
        assert workers() == []

    def test_what_is_no_video_is_refused_in_the_same_words(self, tmp_path: Path) -> None:
        (tmp_path / "text.mp4").write_text("no video")
        with pytest.raises(InputError, match=r"'text.mp4' is not a video that can be read"):
            IsolatedVideo(tmp_path / "text.mp4")

    def test_a_decoder_that_crashes_takes_its_video_alone(self) -> None:
        apart = IsolatedVideo(videos.world(), max_side=64)
        frames = iter(apart)
        next(frames)
        crashed = workers()
        for worker in crashed:
            worker.send_signal(signal.SIGSEGV)
        assert psutil.wait_procs(crashed, timeout=30)[1] == []
        with pytest.raises(InputError, match=r"'world.mp4' cannot be read on: its decoder crashed"):
            for _ in frames:
                pass
        assert apart.frames_at([1.0])[0].pts_seconds == pytest.approx(1.0, abs=0.04), (
            "single frames come from a new one"
        )

    def test_a_decoder_that_takes_too_long_is_ended(self, monkeypatch: pytest.MonkeyPatch) -> None:
        apart = IsolatedVideo(videos.bikes(), max_side=64)
        monkeypatch.setattr(isolated, "FRAME_SECONDS", 0.05)
        for worker in workers():
            worker.suspend()
        with pytest.raises(InputError, match="gave no picture for 0 s"):
            apart.frames_at([1.0])
        assert workers() == []

    def test_a_decoder_has_so_much_memory_and_none_of_the_secrets(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
        apart = IsolatedVideo(videos.bikes(), max_side=64)
        (worker,) = workers()
        assert "OPENAI_API_KEY" not in worker.environ()
        most = worker.rlimit(psutil.RLIMIT_AS)
        assert isolated.MEMORY_BYTES < most[0] == most[1] < isolated.MEMORY_BYTES + 4 * 2**30
        assert apart.frames_at([1.0])[0].pts_seconds == pytest.approx(1.0)

    @pytest.mark.parametrize("mebibytes", [0, 8, 48, 80])
    def test_too_little_memory_is_said_whatever_the_decoder_says(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, mebibytes: int
    ) -> None:
        large = videos.write(tmp_path / "large.mp4", [np.zeros((2160, 3840, 3), np.uint8)] * 3)
        monkeypatch.setattr(isolated, "MEMORY_BYTES", mebibytes * 2**20)
        with pytest.raises(InputError, match="more memory than it may"):
            list(IsolatedVideo(large))

    def test_many_threads_may_ask_for_frames(self) -> None:
        apart = IsolatedVideo(videos.bikes(), max_side=64)
        seen: dict[int, float] = {}

        def look(second: int) -> None:
            seen[second] = apart.frames_at([float(second)])[0].pts_seconds

        threads = [threading.Thread(target=look, args=(second,)) for second in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert seen == {second: pytest.approx(float(second)) for second in range(8)}

    def test_a_public_app_decodes_that_way(self) -> None:
        public = SessionManager(SharedModel("fake"), Options(), public=True)
        try:
            public.open("one", videos.bikes())
            source = public.watching("one", None).session._source
            assert isinstance(source, IsolatedVideo)
            public.watching("one", None).ingest_the_rest()
            assert public.watching("one", None).session.wait_until(lambda stats: stats.finished, 60)
        finally:
            public.close_all()
        owners = SessionManager(SharedModel("fake"), Options())
        assert not isinstance(owners._opened(videos.bikes(), Options()), IsolatedVideo)
