"""The app in a real browser: upload, watch, ask, seek; what it must refuse; and how it ends."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import hub_server
import pytest
import tiny_checkpoints
import videos
from in_browser import (
    ROOT,
    START_SECONDS,
    WAIT_MS,
    App,
    ask,
    browser,
    in_browser,
    new_page,
    opened,
    playwright,
    position,
    upload,
)
from playwright.sync_api import Browser, Page, expect

__all__ = ["browser", "playwright"]

pytestmark = in_browser


@pytest.fixture
def page(app: App, browser: Browser) -> Iterator[Page]:
    page = opened(browser, app)
    yield page
    page.close()


def test_a_video_is_uploaded_watched_asked_about_and_its_moments_seek(page: Page) -> None:
    upload(page, videos.bikes())
    page.wait_for_function("document.querySelector('#player video')?.currentTime > 2.5")
    assert page.eval_on_selector("#player video", "video => video.muted")
    ask(page, "What is shown?")
    expect(page.locator("#chat")).to_contain_text("asked: It is now")
    expect(page.locator(".sc-footnote")).to_be_visible()
    asked = re.search(r"at 0:(\d\d)", page.inner_text(".sc-footnote"))
    assert asked is not None
    assert 2 <= int(asked[1]) <= position(page) + 1
    chip = page.locator(".sc-chip").first
    moment = float(chip.get_attribute("data-seek") or "nan")
    assert moment <= int(asked[1]) + 1
    page.eval_on_selector("#player video", "video => video.pause()")
    chip.click()
    page.wait_for_function("t => Math.abs(document.querySelector('#player video').currentTime - t) < 0.3", arg=moment)


def test_the_reader_follows_the_player_and_the_rest_can_be_ingested(page: Page) -> None:
    upload(page, videos.bikes())
    page.wait_for_function("document.querySelector('#player video')?.currentTime > 1")
    page.eval_on_selector("#player video", "video => video.pause()")
    expect(page.locator(".sc-gauges")).to_contain_text(re.compile(r"0:0[1-4] / 0:10"))
    page.click("#rest")
    expect(page.locator(".sc-gauges")).to_contain_text("0:10 / 0:10")
    expect(page.locator(".sc-gauges")).to_contain_text("of 100")
    page.get_by_label("The whole video").check()
    ask(page, "What was shown?")
    expect(page.locator(".sc-footnote")).to_contain_text("at 0:09")


def test_asking_before_anything_was_played_is_about_the_first_frame(page: Page) -> None:
    page.add_init_script("HTMLMediaElement.prototype.play = () => Promise.reject(new Error('no'))")
    page.reload()
    expect(page.locator("#model")).to_contain_text("Fake")
    upload(page, videos.bikes())
    expect(page.locator("#rest")).to_be_enabled()
    ask(page, "What is shown?")
    expect(page.locator(".sc-footnote")).to_contain_text("at 0:00")


def test_an_example_is_one_click_away(page: Page) -> None:
    page.click("#sc-examples button:has-text('A short journey')")
    page.wait_for_function("document.querySelector('#player video')?.currentTime > 0.5")
    expect(page.locator(".sc-gauges")).to_contain_text("/ 0:24")


def test_two_visitors_do_not_see_each_other(page: Page, app: App, browser: Browser) -> None:
    upload(page, videos.bikes())
    expect(page.locator("#rest")).to_be_enabled()
    ask(page, "What is the first visitor's question?")
    expect(page.locator(".sc-footnote")).to_be_visible()
    other = new_page(browser)
    other.goto(app.url)
    expect(other.locator("#chat")).to_contain_text("Ask about the video while it plays")
    ask(other, "What did the other one ask?")
    expect(other.get_by_text("there is no video yet")).to_be_visible()
    other.close()


def test_a_question_is_shown_as_it_was_written(page: Page) -> None:
    upload(page, videos.bikes())
    expect(page.locator("#rest")).to_be_enabled()
    ask(page, "<img src=nothing.png> <b>bold</b> **stars**")
    expect(page.locator(".sc-footnote")).to_be_visible()
    expect(page.locator("#chat")).to_contain_text("<img src=nothing.png> <b>bold</b> **stars**")
    assert page.locator("#chat img[src*='nothing']").count() == 0


class TestRefused:
    def test_a_question_before_any_video(self, page: Page) -> None:
        ask(page, "What is shown?")
        expect(page.get_by_text("there is no video yet")).to_be_visible()

    def test_an_empty_question(self, page: Page) -> None:
        upload(page, videos.bikes())
        expect(page.locator("#rest")).to_be_enabled()
        page.click("#ask")
        expect(page.get_by_text("the question is empty")).to_be_visible()

    @pytest.mark.parametrize("content", [b"this is no video\n" * 40, b""], ids=["text", "empty"])
    def test_what_is_no_video(self, page: Page, tmp_path: Path, content: bytes) -> None:
        video = tmp_path / "notes.mp4"
        video.write_bytes(content)
        upload(page, video)
        expect(page.get_by_text(re.compile("notes.mp4.*(is not a video|is empty)"))).to_be_visible()
        expect(page.locator("#rest")).to_be_disabled()
        upload_again = page.locator("#sc-examples button:has-text('A short journey')")
        upload_again.click()
        expect(page.locator("#rest")).to_be_enabled()


def test_the_app_ends_cleanly_while_its_model_is_being_loaded(browser: Browser) -> None:
    app = App("--model", "embedded", own_interpreter=True)
    page = new_page(browser)
    page.goto(app.url)
    expect(page.locator("#model")).to_contain_text("Loading", timeout=WAIT_MS)
    assert app.end() == 0
    assert "Traceback" not in app.output
    assert "terminate" not in app.output
    page.close()


def test_the_page_says_which_moment_a_question_is_about(page: Page) -> None:
    upload(page, videos.bikes())
    expect(page.locator("#hint")).to_contain_text("up to 0:02")
    page.eval_on_selector("#player video", "video => video.pause()")
    page.click("#rest")
    expect(page.locator(".sc-gauges")).to_contain_text("0:10 / 0:10")
    expect(page.locator("#hint")).to_contain_text("up to 0:02")
    ask(page, "What is shown?")
    expect(page.locator(".sc-footnote")).to_contain_text("at 0:02")
    page.get_by_label("The whole video").check()
    expect(page.locator("#hint")).to_have_text("You ask about the whole video.")
    ask(page, "And in all?")
    expect(page.locator(".sc-footnote").last).to_contain_text("at 0:09")


def test_a_phone_needs_no_sideways_scrolling(app: App, browser: Browser) -> None:
    page = new_page(browser)
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(app.url)
    expect(page.locator("#ask")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.close()


def test_a_video_that_the_browser_cannot_play_is_ingested_with_a_picture_for_it(page: Page, tmp_path: Path) -> None:
    upload(page, videos.write_like(tmp_path / "old.avi", videos.bikes(), codec="mpeg4"))
    expect(page.locator(".sc-status")).to_contain_text("This browser cannot play the video; all of it was processed")
    expect(page.locator("#player .sc-preview")).to_be_visible()
    ask(page, "What was shown?")
    expect(page.locator(".sc-footnote")).to_contain_text("at 0:09")
    page.locator(".sc-chip").first.click()
    expect(page.locator(".sc-shown img")).to_be_visible()


def test_the_built_in_model_reads_what_is_on_the_screen(embedded_app: App, browser: Browser) -> None:
    page = opened(browser, embedded_app, model="does not understand actions")
    page.click("#sc-examples button:has-text('Words on the screen')")
    expect(page.locator("#rest")).to_be_enabled(timeout=WAIT_MS)
    page.click("#rest")
    expect(page.locator(".sc-gauges")).to_contain_text("0:06 / 0:06", timeout=WAIT_MS)
    for count in range(1, 6):  # until it has looked at all of it, which it says
        ask(page, "Which words were written on the screen?")
        expect(page.locator(".sc-footnote")).to_have_count(count, timeout=WAIT_MS)
        if "I have not looked at all of it yet" not in page.locator("#chat .bot").last.inner_text():
            break
    expect(page.locator("#chat")).to_contain_text("THANKS FOR WATCHING", timeout=WAIT_MS)
    expect(page.locator(".sc-chip").first).to_be_visible(timeout=WAIT_MS)
    page.close()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--model", "nope"], "unknown model 'nope': choose one of auto, embedded, fake"),
        (["--preset", "nope"], "unknown preset 'nope': choose one of slow, base, fast"),
        (["--memory-mib", "0"], "--memory-mib must be 1 or more, got 0"),
        (["--port", "99999"], "--port must be from 1 to 65535"),
    ],
)
def test_bad_arguments_are_explained_with_exit_code_2(arguments: list[str], said: str) -> None:
    done = subprocess.run(
        [sys.executable, "app.py", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=START_SECONDS
    )
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_that_is_taken_is_explained() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [sys.executable, "app.py", "--model", "fake", "--port", port],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=START_SECONDS,
        )
    assert done.returncode == 2
    assert "choose another with --port" in done.stderr


def test_a_better_model_is_fetched_by_a_click_and_then_answers(browser: Browser, tmp_path: Path) -> None:
    repo = "HuggingFaceTB/SmolVLM2-500M-Video-Instruct"
    checkpoint = tiny_checkpoints.build("smolvlm", tmp_path / "checkpoint")
    with hub_server.serving({repo: checkpoint}) as hub:
        environment = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path), "HF_HUB_DISABLE_XET": "1"}
        app = App("--device", "cpu", environment=environment, own_interpreter=True)
        page = new_page(browser)
        page.goto(app.url)
        model = page.locator("#model")
        # This interpreter reads all libraries anew, which takes a busy machine a minute.
        expect(model).to_contain_text("no vision-language model that suits it is downloaded", timeout=3 * WAIT_MS)
        assert hub.requests == []
        page.get_by_role(
            "button", name="Get SmolVLM2-500M-Video-Instruct (about 1.0 GB, Apache-2.0, 1 min at 100 Mbit/s)"
        ).click()
        expect(model).to_contain_text("Model: SmolVLM2-500M-Video-Instruct on cpu", timeout=WAIT_MS)
        expect(page.locator("#upgrade")).to_be_hidden()
        upload(page, videos.bikes())
        ask(page, "What is shown?")
        expect(page.locator(".sc-footnote")).to_be_visible(timeout=WAIT_MS)
        page.close()
        assert app.end() == 0
        assert "Traceback" not in app.output
