"""The camera in a real browser: a real video stands before it; refusals, loss, stop and start."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
import videos
from in_browser import App, ask, browser, chromium, in_browser, opened, playwright
from playwright.sync_api import Browser, Page, Playwright, expect

from streamchat.video.file import open_video

__all__ = ["browser", "playwright"]

pytestmark = in_browser

FROM_SECONDS, FRAMES = 4.0, 40  # of the video's end, where words stand on the screen


@pytest.fixture(scope="module")
def camera_browser(playwright: Playwright, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser whose camera looks at a video, over and over."""
    file = tmp_path_factory.mktemp("camera") / "video.y4m"
    video = open_video(videos.screen_recording(), max_side=640)
    videos.write_y4m(file, videos.until(video, FROM_SECONDS, FRAMES), rate=20)
    fake = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
    browser = chromium(playwright, *fake, f"--use-file-for-fake-video-capture={file}")
    yield browser
    browser.close()


@pytest.fixture
def page(embedded_app: App, camera_browser: Browser) -> Iterator[Page]:
    page = opened(camera_browser, embedded_app, model="Built-in")
    page.get_by_role("tab", name="Camera").click()
    page.click("[data-do=camera]")
    expect(page.locator("#camera [role=status]")).to_contain_text("frames a second")
    yield page
    page.close()


def ingested(page: Page, seconds: int) -> None:
    expect(page.locator(".sc-gauges dd").first).to_contain_text(re.compile(rf"0:(0[{seconds}-9]|[1-5]\d)"))


def test_it_reads_what_stands_before_the_camera_while_it_runs(page: Page) -> None:
    ingested(page, 3)
    ask(page, "Which words are on the screen?")
    expect(page.locator("#chat")).to_contain_text("THANKS FOR WATCHING")
    expect(page.locator("#hint")).to_contain_text("up to now")
    page.locator(".sc-chip").first.click()
    expect(page.locator(".sc-shown img")).to_be_visible()
    page.locator(".sc-shown button").click()
    ingested(page, 5)


def test_it_can_be_stopped_asked_about_and_started_again(page: Page) -> None:
    ingested(page, 2)
    page.click("[data-do=camera]")
    expect(page.locator("#camera [role=status]")).to_contain_text("stopped")
    ask(page, "Which words were on the screen?")
    expect(page.locator("#chat")).to_contain_text("THANKS FOR WATCHING")
    page.click("[data-do=camera]")
    expect(page.locator("#camera [role=status]")).to_contain_text("frames a second")
    expect(page.locator("#chat")).to_contain_text("THANKS FOR WATCHING")
    before = page.locator(".sc-gauges dd").first.inner_text()
    page.wait_for_function("was => document.querySelector('.sc-gauges dd').innerText !== was", arg=before)


def test_a_lost_camera_is_said(page: Page) -> None:
    page.evaluate(
        "document.querySelector('#camera video').srcObject.getVideoTracks()[0].dispatchEvent(new Event('ended'))"
    )
    expect(page.locator("#camera [role=status]")).to_contain_text("The camera was lost")


def test_a_refused_camera_is_said(embedded_app: App, browser: Browser) -> None:
    page = opened(browser, embedded_app, model="Built-in")
    page.get_by_role("tab", name="Camera").click()
    page.click("[data-do=camera]")
    said = re.compile("was not allowed to use the camera|No camera was found")
    expect(page.locator("#camera [role=status]")).to_contain_text(said)
    page.close()


def test_what_is_no_frame_is_refused_and_a_stranger_is_not_heard(embedded_app: App, page: Page) -> None:
    push = """async (values) => {
        const config = window.gradio_config, camera = config.components.find((one) => one.props.elem_id === 'camera');
        const reply = await fetch('gradio_api/component_server', { method: 'POST', headers: {
            'Content-Type': 'application/json' }, body: JSON.stringify({ session_hash: 'stranger',
            component_id: camera.id, fn_name: 'push', data: values }) });
        return reply.json();
    }"""
    assert page.evaluate(push, {"key": "guessed", "frames": []}) == {"listening": False}
    assert page.evaluate(push, ["junk"]) == {"listening": False}
