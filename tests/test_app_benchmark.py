"""The app's second tab in a real browser: one button from the data to the report, cancelled and gone on with."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import benchmark_roots
import pytest
import videos
from in_browser import WAIT_MS, App, ask, browser, in_browser, new_page, playwright, upload
from playwright.sync_api import Browser, Page, expect

from evaluation.records import RunFolder

__all__ = ["browser", "playwright"]

pytestmark = in_browser


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("started-here")


@pytest.fixture(scope="module")
def app(folder: Path) -> Iterator[App]:
    app = App("--model", "fake", folder=folder)
    yield app
    assert app.end() == 0
    assert "Traceback" not in app.output


@pytest.fixture
def page(app: App, browser: Browser) -> Iterator[Page]:
    page = new_page(browser)
    page.set_viewport_size({"width": 1280, "height": 900})
    page.set_default_timeout(WAIT_MS)
    expect.set_options(timeout=WAIT_MS)
    page.goto(app.url)
    expect(page.locator("#model")).to_contain_text("Fake")
    yield page
    page.close()


def choose(page: Page, benchmark: str) -> None:
    page.get_by_role("tab", name="Benchmark").click()
    page.locator("#benchmark input").click()
    page.get_by_role("option", name=benchmark).click()


def test_one_button_goes_from_the_data_to_the_report(page: Page, folder: Path, tmp_path: Path) -> None:
    root = benchmark_roots.write(tmp_path / "root")
    choose(page, "streambench")
    expect(page.locator("#judge input")).to_have_value("semantic")
    page.fill("#root :is(textarea, input)", str(root))
    page.click("#run")
    status = page.locator("#eval-status")
    expect(status).to_contain_text("Done.")
    expect(page.locator("#eval-live")).to_contain_text("6 of 6")
    expect(page.locator("#eval-live svg")).to_be_visible()
    report = page.locator("#eval-report")
    expect(report).to_contain_text("Memory against the baselines, judged by semantic")
    expect(report.locator("svg").first).to_be_visible()
    expect(page.locator("#files")).to_contain_text(re.compile(r"report\s*\.html"))
    runs = sorted((folder / "runs").glob("streambench-*"))
    before = {run.name: RunFolder(run).rows() for run in runs}
    assert {name.split("-")[1] for name in before} == {"memory", "recent"}
    page.eval_on_selector("#eval-live", "live => live.querySelector('svg').id = 'of-before'")
    page.click("#run")
    expect(page.locator("#of-before")).to_have_count(0)
    expect(status).to_contain_text("Done.")
    expect(page.locator("#run")).to_be_enabled()
    assert {run.name: RunFolder(run).rows() for run in runs} == before


def test_a_missing_folder_is_explained(page: Page, tmp_path: Path) -> None:
    choose(page, "jsonl")
    page.fill("#root :is(textarea, input)", str(tmp_path / "nowhere"))
    page.click("#run")
    expect(page.locator("#eval-status")).to_contain_text("there is no folder")
    expect(page.locator("#eval-status .sc-failed")).to_be_visible()
    expect(page.locator("#run")).to_be_enabled()


def test_it_can_be_cancelled_goes_on_and_holds_up_no_chat(page: Page, folder: Path) -> None:
    choose(page, "needle")
    page.click("#run")
    expect(page.locator("#eval-status")).to_contain_text("stream 0 at")
    page.get_by_role("tab", name="Watch").click()
    upload(page, videos.bikes())
    page.wait_for_function("document.querySelector('#player video')?.currentTime > 1")
    ask(page, "What is shown?")
    expect(page.locator(".sc-footnote")).to_be_visible()
    page.get_by_role("tab", name="Benchmark").click()
    expect(page.locator("#eval-status")).to_contain_text("stream")
    page.click("#cancel")
    expect(page.locator("#eval-status")).to_contain_text("Stopped.")
    (run,) = (folder / "runs").glob("needle-memory-*")
    answered = len(RunFolder(run).rows())
    assert answered < 120
    page.click("#run")
    expect(page.locator("#eval-status")).to_contain_text("stream")
    page.click("#cancel")
    expect(page.locator("#eval-status")).to_contain_text("Stopped.")
    assert len(RunFolder(run).rows()) >= answered


def test_past_runs_are_reported_again(page: Page, folder: Path) -> None:
    page.reload()
    page.get_by_role("tab", name="Benchmark").click()
    page.get_by_text("Past runs").click()
    page.locator("#past input").click()
    page.get_by_role("option").filter(has_text="streambench-memory").click()
    page.keyboard.press("Escape")
    page.click("#again")
    expect(page.locator("#eval-report")).to_contain_text("Scores, judged by semantic")
