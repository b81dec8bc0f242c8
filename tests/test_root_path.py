"""A reverse proxy in front of the app, which shows it below a path of its site."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import videos
from in_browser import WAIT_MS, App, ask, browser, in_browser, new_page, playwright, running, upload
from playwright.sync_api import Browser, expect

from evaluation import app as app_module
from streamchat.errors import InputError

__all__ = ["browser", "playwright"]  # fixtures

pytestmark = in_browser

PATH = "/some/where"


class _Forwarding(BaseHTTPRequestHandler):
    """Passes on what is below the path, without the path, as nginx does with a slash at the end of `proxy_pass`."""

    port: int  # of the app
    protocol_version = "HTTP/1.0"  # the end of an answer is the end of its connection

    def _forward(self) -> None:
        if not self.path.startswith(f"{PATH}/"):
            self.send_error(404)
            return
        app = http.client.HTTPConnection("127.0.0.1", self.port)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        app.request(self.command, self.path.removeprefix(PATH), body, dict(self.headers))
        answer = app.getresponse()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("transfer-encoding", "connection"):
                self.send_header(name, value)
        self.end_headers()
        try:
            while piece := answer.read1(65536):
                self.wfile.write(piece)
                self.wfile.flush()
        except OSError:  # the browser has gone
            app.close()

    do_GET = do_POST = do_HEAD = _forward  # noqa: N815 - names of the library

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def reverse_proxy(port: int) -> Iterator[str]:
    """A site that shows the app below a path; gives its address there."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Forwarding", (_Forwarding,), {"port": port}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}{PATH}/"
    finally:
        server.shutdown()


def port(app: App) -> int:
    return int(app.url.rsplit(":", 1)[1])


def test_all_of_the_page_works(browser: Browser) -> None:
    with running("--model", "fake", "--root-path", PATH) as app, reverse_proxy(port(app)) as url:
        page = new_page(browser)
        page.set_default_timeout(WAIT_MS)
        failed: list[str] = []
        page.on("response", lambda answer: failed.append(answer.url) if answer.status >= 400 else None)
        page.goto(url)
        expect(page.locator("#model")).to_contain_text("Fake", timeout=WAIT_MS)
        upload(page, videos.bikes())
        page.wait_for_function("document.querySelector('#player video')?.currentTime > 1")
        ask(page, "What is shown?")
        expect(page.locator("#chat")).to_contain_text("briefly: What is shown?", timeout=WAIT_MS)
        page.click(".sc-chip >> nth=0")
        assert [url for url in failed if PATH in url] == []
        page.close()


@pytest.mark.parametrize("path", ["streamchat", "/a b", "ftp://host/x", "/x?y"])
def test_a_path_that_is_none_is_refused(path: str) -> None:
    with pytest.raises(InputError, match="--root-path is a path such as"):
        app_module.serve(app_module.parser("app.py").parse_args(["--root-path", path]))
