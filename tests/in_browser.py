"""What the tests in a real browser share: the app in a process of its own, Chromium, and what a visitor does."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Playwright, expect, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
]
START_SECONDS = 90
WAIT_MS = 40_000

in_browser = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM.exists() and "CI" not in os.environ, reason=f"{CHROMIUM} is not installed"),
]


# A process that has read the libraries, from which apps are forked: so they are there within two seconds, not twenty.
FORKING = multiprocessing.get_context("forkserver")
FORKING.set_forkserver_preload(["sentence_transformers", "evaluation.app", "evaluation.tab", "streamchat.ui.tab"])


def _serve(
    arguments: Sequence[str], folder: Path, environment: Mapping[str, str], output: Connection, own_interpreter: bool
) -> None:
    """What the process of an app does: with an interpreter of its own, or with the libraries that are there."""
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    for descriptor in (1, 2):
        os.dup2(output.fileno(), descriptor)
    if own_interpreter:
        os.execv(sys.executable, [sys.executable, str(ROOT / "app.py"), *arguments])
    from evaluation.app import run

    sys.stdout, sys.stderr = (os.fdopen(descriptor, "w", buffering=1) for descriptor in (1, 2))
    run(arguments)


class App:
    """`python app.py` in a process of its own; it is there once it says where it listens.

    What libraries read from the environment when they are imported needs an interpreter of its own.
    """

    def __init__(
        self,
        *arguments: str,
        folder: Path = ROOT,
        environment: Mapping[str, str] | None = None,
        own_interpreter: bool = False,
    ) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.output = ""
        reader, writer = FORKING.Pipe(duplex=False)
        everything = os.environ | {"PYTHONUNBUFFERED": "1"} | dict(environment or {})
        work = (["--port", str(port), *arguments], folder, everything, writer, own_interpreter)
        self.process = FORKING.Process(target=_serve, args=work, daemon=True)
        self.process.start()
        writer.close()
        self._listens = threading.Event()
        self._reading = threading.Thread(target=self._read, args=(reader,), daemon=True)
        self._reading.start()
        self._listens.wait(START_SECONDS)
        if self.url not in self.output:
            raise AssertionError(f"the app did not start:\n{self.output}")

    def _read(self, reader: Connection) -> None:
        with open(os.dup(reader.fileno())) as lines:
            for line in lines:
                self.output += line
                if self.url in line:
                    self._listens.set()
        self._listens.set()

    def end(self) -> int:
        """Ask the process to end and return its exit code; fails if that takes over 10 s."""
        assert self.process.pid is not None
        os.kill(self.process.pid, signal.SIGTERM)
        self.process.join(10)
        assert self.process.exitcode is not None, "the app did not end within 10 s"
        self._reading.join(10)
        return self.process.exitcode


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as playwright:
        yield playwright


def chromium(playwright: Playwright, *flags: str) -> Browser:
    """A browser, with more flags."""
    return playwright.chromium.launch(executable_path=str(CHROMIUM), headless=True, args=[*FLAGS, *flags])


@pytest.fixture(scope="module")
def browser(playwright: Playwright) -> Iterator[Browser]:
    browser = chromium(playwright)
    yield browser
    browser.close()


@contextmanager
def running(*arguments: str, own_interpreter: bool = False, **environment: str) -> Iterator[App]:
    """The app for as long as the block lasts; it must end well, and without a traceback."""
    app = App(*arguments, environment=environment, own_interpreter=own_interpreter)
    try:
        yield app
    finally:
        code = app.end()
    assert code == 0
    assert "Traceback" not in app.output


def new_page(browser: Browser) -> Page:
    """A tab of the one window, which has the app's scripts in its cache; a visitor is a tab, not a window."""
    context = browser.contexts[0] if browser.contexts else browser.new_context()
    return context.new_page()


def opened(browser: Browser, app: App, *, model: str = "Fake", width: int = 1280, height: int = 860) -> Page:
    """A visitor's page, once the model is there."""
    page = new_page(browser)
    page.set_viewport_size({"width": width, "height": height})
    page.set_default_timeout(WAIT_MS)
    expect.set_options(timeout=WAIT_MS)
    page.goto(app.url)
    expect(page.locator("#model")).to_contain_text(model)
    return page


def upload(page: Page, video: Path) -> None:
    page.set_input_files("#player input[type=file]", video)


def ask(page: Page, question: str) -> None:
    page.fill("#question textarea", question)
    page.click("#ask")


def position(page: Page) -> float:
    found: float = page.eval_on_selector("#player video", "video => video.currentTime")
    return found
