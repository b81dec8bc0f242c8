"""The conversation in a real browser: stop, retry, edit, suggestions, alerts, the transcript."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

import openai_server
import pytest
import videos
from in_browser import WAIT_MS, App, ask, browser, in_browser, opened, playwright, upload
from playwright.sync_api import Browser, Page, TimeoutError, expect

__all__ = ["browser", "playwright"]

pytestmark = in_browser


@pytest.fixture
def page(app: App, browser: Browser) -> Iterator[Page]:
    page = opened(browser, app)
    upload(page, videos.bikes())
    page.wait_for_function("document.querySelector('#player video')?.currentTime > 1")
    # However slow the machine is, all is asked at the same moment.
    page.eval_on_selector("#player video", "video => { video.pause(); video.currentTime = 1.5 }")
    expect(page.locator("#hint")).to_contain_text("up to 0:01")
    yield page
    page.close()


def questions(page: Page) -> list[str]:
    return [text.strip() for text in page.locator("#chat .message.user, #chat .user .message").all_inner_texts()]


def answered(page: Page, count: int) -> None:
    expect(page.locator(".sc-footnote")).to_have_count(count)
    expect(page.locator("#ask")).to_be_enabled()


def test_an_answer_says_how_it_came_to_be_and_its_moments_have_pictures(page: Page) -> None:
    ask(page, "What is shown?")
    answered(page, 1)
    footnote = page.inner_text(".sc-footnote")
    assert re.search(r"s to the first word, .* in all · (from \d+ captions? · )?\d+ pictures? · \d+ tokens", footnote)
    picture = page.locator(".sc-chip img").first
    expect(picture).to_have_attribute("src", re.compile("^data:image/jpeg;base64,"))
    page.wait_for_function("document.querySelector('.sc-chip img').naturalWidth > 100")


def test_retry_asks_the_last_question_again_at_its_own_moment(page: Page) -> None:
    ask(page, "What is the first?")
    answered(page, 1)
    ask(page, "What is the second?")
    answered(page, 2)
    before = re.findall(r"at 0:0\d", page.locator(".sc-footnote").last.inner_text())
    page.eval_on_selector("#player video", "video => { video.currentTime = 8 }")
    expect(page.locator("#hint")).to_contain_text("up to 0:08")
    page.locator("#chat button[aria-label=Retry]").last.click()
    expect(page.locator("#stop")).to_be_disabled()
    answered(page, 2)
    assert re.findall(r"at 0:0\d", page.locator(".sc-footnote").last.inner_text()) == before
    expect(page.locator("#chat").get_by_text("What is the second?", exact=True)).to_have_count(1)


def edit_last(page: Page, index: int, text: str) -> None:
    """Change a question; a click at the very moment in which the chat is drawn anew is lost, and made again."""
    box = page.locator("#chat textarea").first
    for _ in range(5):
        page.locator("#chat").get_by_label("Edit").nth(index).click(force=True)
        with contextlib.suppress(TimeoutError):
            box.wait_for(timeout=WAIT_MS / 10)
            break
    for _ in range(5):
        box.fill(text)
        page.locator("#chat").get_by_label("Submit").first.click(force=True)
        with contextlib.suppress(TimeoutError):
            box.wait_for(state="hidden", timeout=WAIT_MS / 10)
            break


def test_the_last_question_can_be_changed_and_an_older_one_cannot(page: Page) -> None:
    ask(page, "What is the first?")
    answered(page, 1)
    ask(page, "What is the second?")
    answered(page, 2)
    edit_last(page, -1, "What is the better second?")
    expect(page.locator("#chat")).to_contain_text("briefly: What is the better second?")
    expect(page.locator("#chat")).not_to_contain_text("briefly: What is the second?")
    answered(page, 2)
    edit_last(page, 0, "What is another first?")
    expect(page.get_by_text("only the last question can be changed")).to_be_visible()
    expect(page.locator("#chat").get_by_text("What is the first?", exact=True)).to_be_visible()


def test_a_suggestion_is_asked_by_a_click_and_clearing_empties_the_page(page: Page) -> None:
    page.get_by_text("What happened so far?").click()
    answered(page, 1)
    expect(page.locator("#chat")).to_contain_text("briefly: What happened so far?")
    page.locator("#chat").get_by_label("Clear").click()
    expect(page.locator("#chat")).to_contain_text("Ask about the video while it plays")
    ask(page, "What is shown?")
    answered(page, 1)


def test_the_transcript_is_markdown(page: Page) -> None:
    ask(page, "Is *this* a star?")
    answered(page, 1)
    with page.expect_download() as download:
        page.click("#transcript")
    assert download.value.suggested_filename == "bikes.md"
    text = Path(download.value.path()).read_text()
    assert text.startswith("# bikes.mp4\n\n**0:01 — Is \\*this\\* a star?**")


def test_stop_in_mid_answer_keeps_what_was_said(browser: Browser) -> None:
    # The first reply of a server is held back until it is whole, to see whether its model thinks aloud.
    with openai_server.serving(openai_server.say("A star."), openai_server.silent("Some words ")) as server:
        app = App("--model", f"openai:{server.url}#{openai_server.NAME}")
        page = opened(browser, app, model=openai_server.NAME)
        upload(page, videos.bikes())
        page.wait_for_function("document.querySelector('#player video')?.currentTime > 0.5")
        ask(page, "What is shown?")
        expect(page.locator(".sc-footnote")).to_have_count(1)
        ask(page, "And now?")
        expect(page.locator("#chat")).to_contain_text("Some words")
        page.click("#stop")
        expect(page.locator("#stop")).to_be_disabled()
        expect(page.locator("#ask")).to_be_enabled()
        expect(page.locator("#chat")).to_contain_text("Some words")
        assert server.hung_up.wait(openai_server.WAIT_SECONDS)
        page.close()
        assert app.end() == 0


def test_an_alert_is_posted_in_the_chat_with_its_moment_and_can_be_removed(embedded_app: App, browser: Browser) -> None:
    page = opened(browser, embedded_app, model="Built-in")
    box = page.locator("#alerts input")
    box.fill("THANKS FOR WATCHING is shown")
    box.press("Enter")
    expect(page.locator("#alerts")).to_contain_text("THANKS FOR WATCHING is shown")
    page.click("#sc-examples button:has-text('Words on the screen')")
    expect(page.locator("#rest")).to_be_enabled()
    page.click("#rest")
    expect(page.locator("#chat")).to_contain_text("the text “THANKS FOR WATCHING”")
    expect(page.locator("#chat .sc-chip")).to_be_visible()
    page.locator("#alerts").get_by_role("button", name="Remove").first.click()
    expect(page.locator("#alerts")).not_to_contain_text("THANKS FOR WATCHING is shown")
    page.close()
