"""The connection of one request to a server, which another thread can hang up on."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Any

CONNECTED = ("connect_tcp.complete", "start_tls.complete")  # events of httpcore, of which the second wraps the first


class Connection:
    """Keeps the socket of a request, so that a thread blocked in reading it can be woken: nothing else wakes it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._hung_up = False

    def watch(self, request: Any) -> None:
        """An event hook of an httpx client: learn the socket of a request as soon as there is one."""
        request.extensions = {**request.extensions, "trace": self._trace}

    def hang_up(self) -> None:
        """Close both directions, now or as soon as the request is connected; from any thread."""
        with self._lock:
            self._hung_up = True
            self._shut()

    def _trace(self, event: str, info: dict[str, Any]) -> None:
        if event.endswith(CONNECTED):
            with self._lock:
                self._socket = info["return_value"].get_extra_info("socket")
                if self._hung_up:
                    self._shut()

    def _shut(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):  # it was closed already
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)  # of a TLS socket too, without its farewell
