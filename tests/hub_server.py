"""A small stand-in for the Hugging Face Hub's HTTP API, which serves folders on disk as repositories."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"
SOON_SECONDS = 30.0


@dataclass
class Hub:
    """What it serves, what it does wrong on purpose, and what it was asked."""

    repositories: dict[str, Path]
    gated: set[str] = field(default_factory=set)
    cut_after: int | None = None  # bytes of the next large file, once; then the connection is closed
    silent: bool = False  # accepts and never answers, until `release`
    failing: bool = False  # answers 500
    release: threading.Event = field(default_factory=threading.Event)
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)  # method, path, headers
    url: str = ""
    commit: str = COMMIT  # of every repository

    def fetched(self, name: str) -> list[str]:
        """The Range headers of the requests for a file's content, empty for a whole one."""
        return [
            headers.get("range", "")
            for method, path, headers in self.requests
            if method == "GET" and path.endswith(f"/{name}")
        ]


@contextmanager
def serving(repositories: dict[str, Path]) -> Iterator[Hub]:
    """A hub on a free port for the length of a `with` block."""
    hub = Hub(repositories)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.release.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        path = self.path.partition("?")[0]
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.hub.requests.append((self.command, path, headers))
        if self.hub.silent:
            self.hub.release.wait(SOON_SECONDS)
            self.close_connection = True
            return None
        if self.hub.failing:
            return self._send(500, b"", body=body)
        if found := re.fullmatch(r"/api/(?:models|datasets)/([^/]+/[^/]+)(/tree/\w+|/revision/\w+)?", path):
            return self._describe(found[1], tree=(found[2] or "").startswith("/tree"), body=body)
        if found := re.fullmatch(r"(?:/datasets)?/([^/]+/[^/]+)/resolve/\w+/(.+)", path):
            return self._file(found[1], found[2], headers.get("range"), body=body)
        return self._send(404, b"", body=body)

    def _describe(self, repo: str, *, tree: bool, body: bool) -> None:
        folder = self.hub.repositories.get(repo)
        if folder is None:
            return self._send(404, b"", {"X-Error-Code": "RepoNotFound"}, body=body)
        files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        sizes = {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}
        if tree:
            described: Any = [{"type": "file", "path": name, "size": size, "oid": name} for name, size in sizes.items()]
        else:
            described = {
                "id": repo,
                "sha": self.hub.commit,
                "cardData": {"license": "apache-2.0"},
                "siblings": [
                    {"rfilename": name, "size": size, "lfs": _lfs(folder / name, size)} for name, size in sizes.items()
                ],
            }
        return self._send(200, json.dumps(described).encode(), {"Content-Type": "application/json"}, body=body)

    def _file(self, repo: str, name: str, wanted: str | None, *, body: bool) -> None:
        if repo in self.hub.gated:
            return self._send(403, b"", {"X-Error-Code": "GatedRepo"}, body=body)
        path = self.hub.repositories[repo] / name
        if not path.is_file():
            return self._send(404, b"", {"X-Error-Code": "EntryNotFound"}, body=body)
        data = path.read_bytes()
        headers = {
            "ETag": f'"{hashlib.sha256(data).hexdigest()}"',
            "X-Repo-Commit": self.hub.commit,
            "Accept-Ranges": "bytes",
        }
        start = int(wanted.removeprefix("bytes=").partition("-")[0]) if wanted else 0
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        cut = self.hub.cut_after
        if body and cut is not None and len(data) > cut:
            self.hub.cut_after = None
            self._send(200, data, headers, body=body, most=cut)
            self.close_connection = True
            return None
        return self._send(206 if start else 200, data[start:], headers, body=body)

    def _send(
        self, status: int, data: bytes, headers: dict[str, str] | None = None, *, body: bool, most: int | None = None
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if body:
            self.wfile.write(data[:most])
            self.wfile.flush()


def _lfs(path: Path, size: int) -> dict[str, Any]:
    return {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "size": size, "pointerSize": 100}
