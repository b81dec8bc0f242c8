"""A small server that speaks OpenAI's protocol, for tests: it replies by a script, and can fail in every way."""

from __future__ import annotations

import json
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

WAIT_SECONDS = 20.0  # for what must happen; a test that gets there fails
NAME = "tiny/seeing-model"
MODELS: dict[str, Any] = {"object": "list", "data": [{"id": NAME, "object": "model"}]}


@dataclass(frozen=True)
class Asked:
    """A request as it arrived."""

    headers: dict[str, str]  # names in small letters
    body: dict[str, Any]

    @property
    def pictures(self) -> list[str]:
        """The addresses of the pictures in the last message, in order."""
        content = self.body["messages"][-1]["content"]
        return [part["image_url"]["url"] for part in content if part["type"] == "image_url"]


class Exchange(BaseHTTPRequestHandler):
    """One connection, on which a step of the script replies."""

    protocol_version = "HTTP/1.1"
    server: StubServer

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        self.server.models(self) if self.path == "/v1/models" else status(404)(self)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        asked = Asked({name.lower(): value for name, value in self.headers.items()}, body)
        self.server.take(asked)(self) if self.path == "/v1/chat/completions" else status(404)(self)

    def whole(self, code: int, text: str, headers: dict[str, str]) -> None:
        """Send a whole response."""
        data = text.encode()
        self.send_response(code)
        for name, value in {"Content-Length": str(len(data)), "Connection": "close", **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def begin(self) -> None:
        """Begin a stream of events, whose end is reported, so that one that is cut can be noticed."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.send_header("Connection", "close")
        self.end_headers()

    def event(self, data: str) -> None:
        """Send one event."""
        block = f"data: {data}\n\n".encode()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(block), block))

    def text(self, text: str) -> None:
        """Send a piece of a reply."""
        self.event(chunk({"content": text}))

    def end(self, reason: str) -> None:
        """End a reply."""
        self.event(chunk({}, reason))
        self.event("[DONE]")
        self.last()

    def last(self) -> None:
        """Report that the stream has ended."""
        self.wfile.write(b"0\r\n\r\n")

    def until_hung_up(self) -> None:
        """Wait until the client closes the connection."""
        while self.connection.recv(1024):
            pass
        self.server.hung_up.set()


Step = Callable[[Exchange], None]


def chunk(delta: dict[str, Any], finish: str | None = None) -> str:
    """A chunk of a streamed reply."""
    return json.dumps({"object": "chat.completion.chunk", "choices": [{"delta": delta, "finish_reason": finish}]})


def say(*pieces: str, finish: str = "stop") -> Step:
    """A reply in these pieces."""

    def step(exchange: Exchange) -> None:
        exchange.begin()
        for piece in pieces:
            exchange.text(piece)
        exchange.end(finish)

    return step


def events(*data: str, ended: bool = True) -> Step:
    """A stream of just these events; one that has not ended is cut."""

    def step(exchange: Exchange) -> None:
        exchange.begin()
        for one in data:
            exchange.event(one)
        if ended:
            exchange.last()

    return step


def status(code: int, body: object = "", **headers: str) -> Step:
    """A whole response with this status, as JSON unless the body is a text; a retry may come at once."""
    is_text = isinstance(body, str)
    text = body if isinstance(body, str) else json.dumps(body)
    kind = {"Content-Type": "text/html" if is_text else "application/json", "retry-after-ms": "1"}
    return lambda exchange: exchange.whole(code, text, kind | headers)


def refusal(code: int, message: str) -> Step:
    """A status with an error as OpenAI writes it."""
    return status(code, {"error": {"message": message, "type": "error"}})


def silent(*pieces: str) -> Step:
    """A reply that stops after these pieces, until the client hangs up."""

    def step(exchange: Exchange) -> None:
        exchange.begin()
        for piece in pieces:
            exchange.text(piece)
        exchange.until_hung_up()

    return step


def held(release: threading.Event, *pieces: str) -> Step:
    """A reply that begins when it is released."""

    def step(exchange: Exchange) -> None:
        if release.wait(WAIT_SECONDS):
            say(*pieces)(exchange)

    return step


def paused(release: threading.Event, before: str, *after: str) -> Step:
    """A reply that says one piece, and the others once it is released."""

    def step(exchange: Exchange) -> None:
        exchange.begin()
        exchange.text(before)
        if release.wait(WAIT_SECONDS):
            for piece in after:
                exchange.text(piece)
            exchange.end("stop")

    return step


class StubServer(ThreadingHTTPServer):
    """The n-th question gets the n-th step of the script, those after the last step the last."""

    daemon_threads = True

    def __init__(self, script: tuple[Step, ...], models: Step, port: int) -> None:
        super().__init__(("127.0.0.1", port), Exchange)
        self.models = models
        self.requests: list[Asked] = []
        self.hung_up = threading.Event()  # the client closed a connection on which it was being kept waiting
        self._script = script
        self._arrived = threading.Condition()

    @property
    def url(self) -> str:
        """The address for `openai:URL#NAME`."""
        return f"http://127.0.0.1:{self.server_port}/v1"

    def take(self, asked: Asked) -> Step:
        """Note a question; the step that replies to it."""
        with self._arrived:
            self.requests.append(asked)
            self._arrived.notify_all()
            return self._script[min(len(self.requests), len(self._script)) - 1]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Report what went wrong in a step; a client that hung up, perhaps before its first piece, is noted."""
        if isinstance(sys.exc_info()[1], ConnectionError):
            self.hung_up.set()
        else:
            super().handle_error(request, client_address)

    def wait_for(self, count: int) -> bool:
        """Wait until this many questions have arrived."""
        with self._arrived:
            return self._arrived.wait_for(lambda: len(self.requests) >= count, WAIT_SECONDS)


@contextmanager
def serving(*script: Step, models: Step | None = None, port: int = 0) -> Iterator[StubServer]:
    """A server that runs for a `with` block; by default it serves one model, and says the same to everything."""
    server = StubServer(script or (say("A dog ", "runs."),), models or status(200, MODELS), port)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def closed_port() -> Iterator[int]:
    """A port that refuses every connection for the length of a `with` block."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]
