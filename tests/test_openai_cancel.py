"""Hanging up on a server at any moment, trying again what may pass, and which way requests go."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import openai_server
import pytest
from conftest import WordEmbedder
from openai_server import WAIT_SECONDS, StubServer, paused, refusal, say, serving, silent, status
from test_openai import connect, encoder, noise, quick

from streamchat.addresses import is_loopback
from streamchat.errors import StreamChatError
from streamchat.models.openai import server as protocol
from streamchat.models.openai.server import Server
from streamchat.models.scheduler import CancelledError, CancelToken
from streamchat.options import Options
from streamchat.session.engine import StreamChat
from streamchat.session.live import LiveSession
from streamchat.video.camera import PushSource

__all__ = ["encoder", "quick"]  # fixtures


class Reader:
    """Reads a reply in a thread of its own until it ends, in whatever way."""

    def __init__(self, url: str, cancel: CancelToken) -> None:
        self.pieces: list[str] = []
        self.error: BaseException | None = None
        self.first = threading.Event()
        self._server, self._cancel = Server(url), cancel
        self._server.opens_thoughts = True  # as after a first reply
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self) -> None:
        try:
            for piece in self._server.stream("m", [{"role": "user", "content": "?"}], self._cancel):
                self.pieces.append(piece)
                self.first.set()
        except BaseException as error:
            self.error = error

    def join(self) -> None:
        self.thread.join(WAIT_SECONDS)
        assert not self.thread.is_alive()


class TestHangingUp:
    def test_between_two_pieces(self) -> None:
        cancel = CancelToken()
        with serving(silent("A dog ")) as server:
            reader = Reader(server.url, cancel)
            assert reader.first.wait(WAIT_SECONDS)
            cancel.cancel()
            reader.join()
            assert server.hung_up.wait(WAIT_SECONDS), "the server sees it"
        assert isinstance(reader.error, CancelledError)
        assert reader.pieces == ["A dog "]

    def test_before_the_first_piece(self) -> None:
        cancel = CancelToken()
        with serving(lambda exchange: exchange.until_hung_up()) as server:
            reader = Reader(server.url, cancel)
            assert server.wait_for(1)
            cancel.cancel()
            reader.join()
            assert server.hung_up.wait(WAIT_SECONDS)
        assert isinstance(reader.error, CancelledError)
        assert len(server.requests) == 1, "it is not tried again"

    def test_in_the_pause_before_the_next_try(self, monkeypatch: pytest.MonkeyPatch) -> None:
        cancel, pausing = CancelToken(), threading.Event()
        wait = CancelToken.wait
        monkeypatch.setattr(CancelToken, "wait", lambda self, pause: pausing.set() or wait(self, pause))
        monkeypatch.setattr(protocol, "RETRIES", 2)
        with serving(status(503, "busy", **{"retry-after-ms": "30000"})) as server:
            reader = Reader(server.url, cancel)
            assert pausing.wait(WAIT_SECONDS)
            cancel.cancel()
            reader.join()
        assert isinstance(reader.error, CancelledError)
        assert len(server.requests) == 1

    def test_before_it_began(self) -> None:
        cancel = CancelToken()
        cancel.cancel()
        with serving() as server:
            reader = Reader(server.url, cancel)
            reader.join()
        assert isinstance(reader.error, CancelledError)

    def test_on_one_request_leaves_the_others(self) -> None:
        release, cancel = threading.Event(), CancelToken()
        with serving(silent("A dog "), paused(release, "A cat ", "sits.")) as server:
            first = Reader(server.url, cancel)
            assert first.first.wait(WAIT_SECONDS)
            second = Reader(server.url, CancelToken())
            assert second.first.wait(WAIT_SECONDS)
            cancel.cancel()
            first.join()
            release.set()
            second.join()
        assert second.pieces == ["A cat ", "sits."]
        assert second.error is None

    @pytest.mark.parametrize("kind", ["caption", "answer"])
    def test_is_what_closing_a_session_does(self, kind: str) -> None:
        steps = [say("A dog.")] * 40
        steps[0] = silent("A dog ")
        with serving(*steps) as server:
            model, source = connect(server), PushSource()
            chat = StreamChat(model, Options(chunk_frames=2, memory_bytes=2**25), WordEmbedder())
            session = LiveSession(chat, source)
            session.start()
            frames = 6 if kind == "caption" else 1
            for number in range(frames):
                source.push(noise(number), 3.0 * number)
            assert session.wait_until(lambda stats: stats.frames_seen == frames, WAIT_SECONDS)
            if kind == "answer":
                stream = session.ask("What is shown?")
                thread = threading.Thread(target=lambda: list(stream), daemon=True)
                thread.start()
            assert server.wait_for(1)
            session.close()
            assert server.hung_up.wait(WAIT_SECONDS)
            if kind == "answer":
                thread.join(WAIT_SECONDS)
                assert not thread.is_alive()
            assert not [one for one in threading.enumerate() if one.name.startswith("streamchat-")]


class TestTryingAgain:
    @pytest.fixture(autouse=True)
    def retries(self, monkeypatch: pytest.MonkeyPatch, quick: None) -> None:
        monkeypatch.setattr(protocol, "RETRIES", 2)

    @pytest.mark.parametrize("code", [408, 409, 429, 500, 503])
    def test_what_may_pass_is_tried_again(self, code: int) -> None:
        with serving(status(code), status(code), say("A dog.")) as server:
            reader = Reader(server.url, CancelToken())
            reader.join()
        assert reader.pieces == ["A dog."]
        assert len(server.requests) == 3

    @pytest.mark.parametrize("code", [400, 401, 404])
    def test_what_will_not_pass_is_not(self, code: int) -> None:
        with serving(refusal(code, "no"), say("A dog.")) as server:
            reader = Reader(server.url, CancelToken())
            reader.join()
        assert isinstance(reader.error, StreamChatError)
        assert len(server.requests) == 1

    def test_nothing_is_once_the_answer_has_begun(self) -> None:
        with serving(openai_server.events(openai_server.chunk({"content": "A "}), ended=False)) as server:
            reader = Reader(server.url, CancelToken())
            reader.join()
        assert isinstance(reader.error, StreamChatError)
        assert len(server.requests) == 1

    @pytest.mark.parametrize(
        ("headers", "seconds"),
        [
            ({"retry-after": "7"}, lambda pause: pause == 7),
            ({"retry-after-ms": "1500"}, lambda pause: pause == 1.5),
            ({"retry-after": "86400"}, lambda pause: pause == protocol.MOST_PAUSE_SECONDS),
            ({"retry-after": "soon"}, lambda pause: pause == protocol.FIRST_PAUSE_SECONDS),
            ({"retry-after": "-3"}, lambda pause: pause == 0),
            ({"retry-after": format_datetime(datetime.now(UTC) + timedelta(hours=1))}, lambda pause: pause == 30),
        ],
    )
    def test_the_pause_is_what_the_server_says(
        self, headers: dict[str, str], seconds: Callable[[float], bool], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pauses: list[float] = []
        monkeypatch.setattr(CancelToken, "wait", lambda self, pause: bool(pauses.append(pause)))

        def busy(exchange: openai_server.Exchange) -> None:
            exchange.whole(429, "{}", headers)

        with serving(busy, say("A dog.")) as server:
            reader = Reader(server.url, CancelToken())
            reader.join()
        assert reader.pieces == ["A dog."]
        assert len(pauses) == 1
        assert seconds(pauses[0]), pauses


class TestProxies:
    @pytest.fixture
    def proxy(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[StubServer]:
        with serving(say("from the proxy")) as stub:
            address = stub.url.removesuffix("/v1")
            for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
                monkeypatch.setenv(name, address)
            monkeypatch.delenv("NO_PROXY", raising=False)
            monkeypatch.delenv("no_proxy", raising=False)
            yield stub

    def test_none_leads_to_this_machine(self, proxy: StubServer) -> None:
        with serving(say("A dog.")) as server:
            reader = Reader(server.url, CancelToken())
            reader.join()
        assert reader.pieces == ["A dog."]

    def test_that_of_the_environment_leads_elsewhere(self, proxy: StubServer) -> None:
        reader = Reader("http://models.example/v1", CancelToken())
        reader.join()
        assert isinstance(reader.error, StreamChatError), "the stub knows no such path"
        assert "404" in str(reader.error)

    @pytest.mark.parametrize(
        ("host", "own"),
        [
            *[(host, True) for host in ("localhost", "LOCALHOST.", "127.0.0.1", "127.9.9.9", "::1")],
            *[(host, False) for host in ("10.0.0.1", "localhost.example", "::2", "")],
        ],
    )
    def test_what_this_machine_is_called(self, host: str, own: bool) -> None:
        assert is_loopback(host) == own


def test_a_server_that_takes_no_connections_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "CONNECT_SECONDS", 0.2)
    monkeypatch.setattr(protocol, "RETRIES", 0)
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        others = [socket.socket() for _ in range(3)]  # that fill the queue
        for other in others:
            other.setblocking(False)
            other.connect_ex(full.getsockname())
        reader = Reader(f"http://127.0.0.1:{full.getsockname()[1]}/v1", CancelToken())
        reader.join()
        for other in others:
            other.close()
    assert isinstance(reader.error, StreamChatError)
