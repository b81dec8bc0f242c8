"""Another model by the page: servers of this machine are found, others are written, and the conversation goes on."""

from __future__ import annotations

import contextlib
import socket

import httpx
import openai_server
import pytest
import videos
from in_browser import ask, browser, in_browser, opened, playwright, running, upload
from playwright.sync_api import Browser, expect
from test_hostile import SECRET, another_server, called, handler

from streamchat.checkpoints.serving import PORTS

__all__ = ["browser", "playwright"]

pytestmark = in_browser


def free_port() -> int:
    """One of the ports that are looked at, at which nothing listens here."""
    for port in PORTS:
        with socket.socket() as tried, contextlib.suppress(OSError):
            tried.bind(("127.0.0.1", port))
            return port
    pytest.skip("something listens at every usual port of a model server")


def test_a_found_and_a_written_server_are_used_and_the_conversation_goes_on(browser: Browser) -> None:
    port = free_port()
    with openai_server.serving(port=port) as found, running("--model", "fake", OPENAI_API_KEY=SECRET) as app:
        page = opened(browser, app)
        upload(page, videos.bikes())
        page.wait_for_function("document.querySelector('#player video')?.currentTime > 1")
        ask(page, "What is shown?")
        expect(page.locator(".sc-footnote")).to_have_count(1)

        page.get_by_text("Use another model").click()
        title = f"{openai_server.NAME} ({PORTS[port]}; it may take no pictures)"
        expect(page.locator("#found-models input")).to_have_value(title)
        page.click("#use-found")
        expect(page.locator("#model")).to_contain_text(openai_server.NAME)
        expect(page.locator(".sc-footnote")).to_have_count(1)
        ask(page, "And now?")
        expect(page.locator("#chat")).to_contain_text("A dog runs.")
        assert {one.headers["authorization"] for one in found.requests} == {"Bearer none"}
        asked = next(text for one in found.requests if "And now?" in (text := str(one.body["messages"])))
        assert "What is shown?" in asked, "the dialogue goes on as well"

        page.fill("#model-name :is(textarea, input)", "127.0.0.1:9")
        page.click("#use-model")
        expect(page.get_by_text("cannot be reached")).to_be_visible()
        with openai_server.serving(openai_server.say("A bicycle.")) as written:
            page.fill("#model-name :is(textarea, input)", written.url.removesuffix("/v1"))
            page.fill("#server-key input", "sk-own")
            page.click("#use-model")
            expect(page.locator("#model")).to_contain_text(f"{openai_server.NAME} at 127.0.0.1:{written.server_port}")
            expect(page.locator("#server-key input")).to_have_value("")
            ask(page, "What is that?")
            expect(page.locator("#chat")).to_contain_text("A bicycle.")
            expect(page.locator(".sc-footnote")).to_have_count(3)
            expect(page.locator("[data-node]").first).to_be_visible()
            assert {one.headers["authorization"] for one in written.requests} == {"Bearer sk-own"}
        page.close()

        # So the calls of `test_hostile`, which a public app refuses, are those that do it for an owner.
        config = httpx.get(f"{app.url}/config").json()
        with another_server() as (url, keys):
            called(app, handler(config, elem_id="use-model"), f"openai:{url}#{openai_server.NAME}", "")
            assert keys[0] == "Bearer none", "the key of the environment is for no server but the one at the start"
