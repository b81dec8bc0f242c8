"""Sessions in a real browser: saved, loaded after a reload, refused when damaged; places; a page that is closed."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import videos
from in_browser import App, ask, browser, in_browser, opened, playwright, running, upload
from playwright.sync_api import Browser, Page, expect

__all__ = ["browser", "playwright"]

pytestmark = in_browser


@pytest.fixture(scope="module")
def app() -> Iterator[App]:
    with running("--model", "fake", "--most-visitors", "1") as app:
        yield app


@pytest.fixture
def page(app: App, browser: Browser) -> Iterator[Page]:
    page = opened(browser, app)
    yield page
    page.close()


def load(page: Page, file: Path) -> None:
    with page.expect_file_chooser() as chooser:
        page.click("#load")
    chooser.value.set_files(file)


def saved(page: Page, folder: Path) -> Path:
    with page.expect_download() as download:
        page.click("#save")
    file = folder / download.value.suggested_filename
    download.value.save_as(file)
    return file


def watch(page: Page, seconds: float) -> None:
    upload(page, videos.bikes())
    page.wait_for_function("t => document.querySelector('#player video')?.currentTime > t", arg=seconds)
    page.eval_on_selector("#player video", "video => video.pause()")


def test_a_session_is_saved_and_goes_on_after_a_reload(page: Page, tmp_path: Path) -> None:
    watch(page, 3.5)
    ask(page, "What did I ask at first?")
    expect(page.locator(".sc-footnote")).to_have_count(1)
    file = saved(page, tmp_path)
    assert file.name == "bikes.streamchat"
    page.reload()
    expect(page.locator("#model")).to_contain_text("Fake")
    expect(page.locator(".sc-footnote")).to_have_count(0)
    load(page, file)
    expect(page.locator("#chat")).to_contain_text("What did I ask at first?")
    expect(page.locator(".sc-status")).to_contain_text("open bikes.mp4 again")
    expect(page.locator("[data-node]")).not_to_have_count(0)
    ask(page, "And after it was loaded?")
    expect(page.locator(".sc-footnote")).to_have_count(2)
    expect(page.locator(".sc-footnote").last).to_contain_text("1 earlier round")
    expect(page.locator(".sc-chip img").last).to_be_visible()
    upload(page, videos.bikes())
    expect(page.locator(".sc-status")).to_be_hidden()
    page.wait_for_function("document.querySelector('#player video')?.currentTime > 3.4")
    expect(page.locator(".sc-footnote")).to_have_count(2)
    page.click("#rest")
    expect(page.locator(".sc-gauges")).to_contain_text("0:10 / 0:10")
    expect(page.locator("[data-node]")).to_have_count(5)


def test_a_damaged_session_is_refused_and_nothing_is_lost(page: Page, tmp_path: Path) -> None:
    watch(page, 1.0)
    ask(page, "What is shown?")
    expect(page.locator(".sc-footnote")).to_have_count(1)
    damaged = tmp_path / "damaged.streamchat"
    with zipfile.ZipFile(damaged, "w") as archive:
        archive.writestr("../session.json", "{}")
    load(page, damaged)
    expect(page.get_by_text("cannot open the session")).to_be_visible()
    expect(page.locator(".sc-footnote")).to_have_count(1)
    ask(page, "And now?")
    expect(page.locator(".sc-footnote")).to_have_count(2)


def test_nothing_to_save_is_said(page: Page) -> None:
    page.click("#save")
    expect(page.get_by_text("there is no video yet")).to_be_visible()


def test_a_connection_that_breaks_ends_no_session(page: Page, app: App) -> None:
    watch(page, 2.0)
    page.context.set_offline(True)
    status = page.locator(".sc-status")
    expect(status).to_contain_text("The app does not answer: trying again")
    page.context.set_offline(False)
    expect(status).to_be_hidden()
    ask(page, "Is it still there?")
    expect(page.locator(".sc-footnote")).to_have_count(1)
    expect(page.locator("#chat")).to_contain_text("Is it still there?")


def test_who_comes_when_all_places_are_taken_is_refused_until_one_leaves(
    page: Page, app: App, browser: Browser
) -> None:
    first = opened(browser, app)
    upload(first, videos.bikes())
    expect(first.locator("#rest")).to_be_enabled()
    upload(page, videos.bikes())
    expect(page.get_by_text("the app is full")).to_be_visible()
    first.close()  # its session ends, and its place is free

    def in_at_last() -> bool:
        page.click("#sc-examples button:has-text('A short journey')")
        page.wait_for_timeout(500)
        return page.locator("#rest").is_enabled()

    assert any(in_at_last() for _ in range(20))
