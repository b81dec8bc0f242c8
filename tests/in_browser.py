"""What the tests in a real browser share: the app in a process of its own, Chromium, and what a visitor does."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
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


class App:
    """`python app.py` in a process of its own; its output is read until it says where it listens."""

    def __init__(self, *arguments: str, folder: Path = ROOT, environment: Mapping[str, str] | None = None) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.process = subprocess.Popen(
            [sys.executable, str(ROOT / "app.py"), "--port", str(port), *arguments],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | {"PYTHONUNBUFFERED": "1"} | dict(environment or {}),
        )
        self.url = f"http://127.0.0.1:{port}"
        self.output = ""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output += line
            if self.url in line:
                return
        raise AssertionError(f"the app did not start:\n{self.output}")

    def end(self) -> int:
        """Ask the process to end and return its exit code; fails if that takes over 10 s."""
        self.process.send_signal(signal.SIGTERM)
        rest, _ = self.process.communicate(timeout=10)
        self.output += rest
        return self.process.returncode


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
def running(*arguments: str, **environment: str) -> Iterator[App]:
    """The app for as long as the block lasts; it must end well, and without a traceback."""
    app = App(*arguments, environment=environment)
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
