"""What every request to the app passes first: a limit on how many and how large they are, and quiet refusals.

Anyone who reaches the app's port can send it anything. What no page sends is refused in a line of the log, without a
traceback, and an address that sends too much is slowed down.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = logging.getLogger(__name__)

CALLS_A_SECOND = 25.0  # of one visitor: a page asks twice a second, and a camera sends twelve pictures
LEAST_VISITORS = 4  # that the allowance is for: loading a page takes a hundred calls at once
BURST_SECONDS = 10.0  # of calls that an address may make at once
BAD_CALL_COSTS = 50.0  # calls, for each that was refused: who forges them is soon slowed down
MOST_ADDRESSES = 10_000  # remembered; the oldest go first
MOST_BODY_BYTES = 4 * 2**20  # of a call; a camera's largest push has 2.4 MB
GOODBYE = "/goodbye"  # the path by which a page that closes says so
GOODBYE_BYTES = 200
BLOCK_BYTES = 4096
HEARTBEAT = "/heartbeat/"
UPLOAD = "/upload"
REFUSED = "This call cannot be read; the page of the app makes none like it."
TOO_MANY = "Too many calls from this address: wait a moment."
MOST_FILES = 20  # in one upload
COUNTED_SECONDS = 2.0  # that a count of the uploads holds, with what has come since
TOO_LARGE = f"A call may have {MOST_BODY_BYTES} bytes, and an upload {MOST_FILES} files and what room there is."
NO_ROOM = "There is no room for more uploads at the moment: try again in a few minutes."


class Guard:
    """Middleware that limits calls; `connected` and `goodbye` are called for pages that come and go.

    `most_visitors` are there at once, and may all come from one address, as behind a proxy. Files that were uploaded
    lie in `uploads`, and take `most_upload_bytes` together at most.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        most_visitors: int,
        connected: Callable[[str, bool], None],
        goodbye: Callable[[str], None],
        uploads: Path,
        most_upload_bytes: int,
    ) -> None:
        self._app = app
        self._allowance = Allowance(CALLS_A_SECOND * max(LEAST_VISITORS, most_visitors), BURST_SECONDS)
        self._connected, self._goodbye = connected, goodbye
        self._room = _Room(uploads, most_upload_bytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        address = (scope.get("client") or ("", 0))[0]
        refusal = await self._refusal(scope, address)
        if refusal is not None:
            await refusal(scope, receive, send)
        elif scope["path"].endswith(GOODBYE) and scope["method"] == "POST":
            await self._said_goodbye(receive)
            await Response(status_code=204)(scope, receive, send)
        else:
            await self._passed_on(scope, receive, send, address)

    async def _refusal(self, scope: Scope, address: str) -> Response | None:
        """Why a request is not even read, if so."""
        if not self._allowance.take(address):
            return PlainTextResponse(TOO_MANY, 429, {"Retry-After": "5"})
        if scope["method"] != "POST":
            return None
        said = dict(scope["headers"]).get(b"content-length", b"0")
        size = int(said) if said.isdigit() else 0
        if scope["path"].endswith(UPLOAD):
            return None if await self._room.has(size) else PlainTextResponse(NO_ROOM, 507)
        return PlainTextResponse(TOO_LARGE, 413) if size > MOST_BODY_BYTES else None

    async def _said_goodbye(self, receive: Receive) -> None:
        body = b""
        more = True
        while more and len(body) <= GOODBYE_BYTES:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        self._goodbye(body[:GOODBYE_BYTES].decode("ascii", "replace"))

    async def _passed_on(self, scope: Scope, receive: Receive, send: Send, address: str) -> None:
        """Let the app answer; what it cannot read is refused, where it would end in an error of its own."""
        begun = False
        size = files = 0
        upload = scope["path"].endswith(UPLOAD)

        async def counted() -> Message:
            nonlocal size, files
            message = await receive()
            body = message.get("body", b"")
            size += len(body)
            if upload:
                files += body.count(b"filename=")
                if files > MOST_FILES or not self._room.take(len(body)):
                    raise _TooLargeError
            elif size > MOST_BODY_BYTES:
                raise _TooLargeError
            return message

        async def noticed(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                if scope["method"] == "POST" and 400 <= message["status"] < 500:
                    self._allowance.spend(address, BAD_CALL_COSTS)
            await send(message)

        page = scope["path"].partition(HEARTBEAT)[2] if HEARTBEAT in scope["path"] else ""
        if page:
            self._connected(page, True)
        try:
            await self._app(scope, counted, noticed)
        except Exception as error:
            self._allowance.spend(address, BAD_CALL_COSTS)
            large = isinstance(error, _TooLargeError)
            log.warning("a call to %s was refused: %s: %s", scope["path"][:100], type(error).__name__, str(error)[:200])
            if not begun:
                answer = PlainTextResponse(TOO_LARGE, 413) if large else PlainTextResponse(REFUSED, 400)
                await answer(scope, receive, send)
        finally:
            if page:
                self._connected(page, False)


class Allowance:
    """How many calls an address may still make: it grows with time, up to a burst."""

    def __init__(self, per_second: float, burst_seconds: float) -> None:
        self._per_second = per_second
        self._most = per_second * burst_seconds
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # by address: calls, and when that was so

    def take(self, address: str) -> bool:
        """Count a call; False if it is one too many."""
        left = self._now(address)
        if left < 1:
            return False
        self._set(address, left - 1)
        return True

    def spend(self, address: str, calls: float) -> None:
        """Count a call as so many more."""
        self._set(address, self._now(address) - calls)

    def _now(self, address: str) -> float:
        left, since = self._left.get(address, (self._most, 0.0))
        return min(self._most, left + (time.monotonic() - since) * self._per_second)

    def _set(self, address: str, left: float) -> None:
        self._left[address] = (max(left, -self._most), time.monotonic())
        self._left.move_to_end(address)
        while len(self._left) > MOST_ADDRESSES:
            self._left.popitem(last=False)


class _TooLargeError(Exception):
    """A body goes on beyond what a call may have."""


class _Room:
    """What uploads take together, and may take; counted now and then, beside the calls, and as they come."""

    def __init__(self, folder: Path, most_bytes: int) -> None:
        self._folder = folder
        self._most_bytes = most_bytes
        self._taken = 0  # bytes at the last count, and what has come since
        self._counted = -math.inf  # when that was, on the monotonic clock
        self._counting = asyncio.Lock()

    async def has(self, nbytes: int) -> bool:
        """Whether there is room for so many bytes."""
        async with self._counting:
            if time.monotonic() - self._counted > COUNTED_SECONDS:
                self._taken = await asyncio.to_thread(_bytes_in, self._folder)
                self._counted = time.monotonic()
        return self._taken + nbytes <= self._most_bytes

    def take(self, nbytes: int) -> bool:
        """Count bytes that came; False if there was no room for them."""
        self._taken += nbytes
        return self._taken <= self._most_bytes


def _bytes_in(folder: Path) -> int:
    """What the files of a folder take on the disk, of which the smallest takes a block."""
    total = 0
    for file in folder.rglob("*"):
        try:
            total += max(BLOCK_BYTES, file.stat().st_size)
        except OSError:  # it has just gone
            continue
    return total
