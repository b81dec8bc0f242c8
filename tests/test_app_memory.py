"""The memory on the page, in a real browser: blocks that can be clicked, walked by keys, highlighted and downloaded."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import videos
from in_browser import App, ask, browser, in_browser, opened, playwright, upload
from playwright.sync_api import Browser, Page, expect

__all__ = ["browser", "playwright"]

pytestmark = in_browser


@pytest.fixture
def page(app: App, browser: Browser) -> Iterator[Page]:
    """A video of five scenes, all ingested and captioned."""
    page = opened(browser, app)
    upload(page, videos.bikes())
    expect(page.locator("#rest")).to_be_enabled()
    page.click("#rest")
    expect(page.locator("[data-node]")).to_have_count(5)
    expect(page.locator(".sc-gauges")).to_contain_text("up to date")
    page.eval_on_selector("#player video", "video => video.pause()")
    yield page
    page.close()


def shown_at(page: Page, seconds: float) -> None:
    page.wait_for_function("t => Math.abs(document.querySelector('#player video').currentTime - t) < 0.3", arg=seconds)


def test_a_block_seeks_the_player_and_opens(page: Page) -> None:
    page.locator("[data-node='2']").click()
    shown_at(page, 76 / 25)
    details = page.locator(".sc-node")
    expect(details).to_contain_text("0:03–0:05")
    expect(details).to_contain_text("Say in one or two sentences")
    expect(details.locator("img")).to_be_visible()


def test_keys_go_from_block_to_block(page: Page) -> None:
    page.locator("[data-node='0']").focus()
    page.keyboard.press("ArrowRight")
    shown_at(page, 30 / 25)
    expect(page.locator("[data-node='1']")).to_be_focused()
    page.keyboard.press("ArrowLeft")
    shown_at(page, 0.0)


def test_the_nodes_of_an_answer_are_highlighted(page: Page) -> None:
    expect(page.locator("[data-node].highlighted")).to_have_count(0)
    ask(page, "What is shown?")
    expect(page.locator(".sc-footnote")).to_contain_text(re.compile(r"from \d captions?"))
    expect(page.locator("[data-node].highlighted").first).to_be_visible()


def test_the_memory_is_downloaded_as_json(page: Page) -> None:
    with page.expect_download() as download:
        page.click("[data-do='json']")
    memory = json.loads(Path(download.value.path()).read_text())
    spans = [(node["start_seconds"], node["end_seconds"]) for node in memory["nodes"]]
    assert spans == sorted(spans)
    assert [end for _, end in spans[:-1]] == [start for start, _ in spans[1:]]
    assert all(node["level"] == 0 and node["caption"] for node in memory["nodes"])


def test_another_video_begins_with_an_empty_memory(page: Page) -> None:
    page.click("#sc-examples button:has-text('Words on the screen')")
    expect(page.locator("[data-node]")).to_have_count(0)
    expect(page.locator(".sc-axis")).to_contain_text("0:06")
