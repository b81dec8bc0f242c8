"""A real model server in a process of its own, for the tests of the remote engine."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

STOP_SECONDS = 20.0  # to end by itself when asked to
LOG_CHARACTERS = 2000  # of its last words, in a failure


@contextlib.contextmanager
def running(
    command: Sequence[str], log: Path, *, environment: Mapping[str, str], start_seconds: float
) -> Iterator[str]:
    """Start a server at a free port, wait until it is healthy, and stop it with all its processes; yields its address.

    `environment` is set on top of this process's own.
    """
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with log.open("w") as output:
        server = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port)],
            env={**os.environ, **environment},
            stdout=output,
            stderr=output,
            start_new_session=True,  # a group of its own, to be ended as a whole
        )
    try:
        wait_until_healthy(server, f"{url}/health", log, start_seconds)
        yield url
    finally:
        stop(server)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def fetch(url: str) -> str:
    """What is at an address of this machine, whatever proxy is set. Raises OSError if it does not answer."""
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=5) as response:
        return response.read().decode()


def wait_until_healthy(server: subprocess.Popen[bytes], url: str, log: Path, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            fetch(url)
            return
        except OSError:
            pass
        try:
            server.wait(0.2)
        except subprocess.TimeoutExpired:
            continue
        break
    pytest.fail(f"the server did not start: {log.read_text()[-LOG_CHARACTERS:]}")


def stop(server: subprocess.Popen[bytes]) -> None:
    """End a server and whatever it started: in order, or by force if that takes too long."""
    for means in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):  # all of the group has ended
            os.killpg(server.pid, means)
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(STOP_SECONDS)
