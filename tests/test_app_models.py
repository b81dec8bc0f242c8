"""Another model by the page: the owner writes a server's address, and the conversation and the video stay."""

from __future__ import annotations

import contextlib
import socket

import openai_server
import pytest
import videos
from in_browser import ask, browser, in_browser, opened, playwright, running, upload
from playwright.sync_api import Browser, expect

from streamchat.checkpoints.serving import PORTS

__all__ = ["browser", "playwright"]

pytestmark = in_browser


def test_a_server_is_used_and_the_conversation_goes_on(browser: Browser) -> None:
    with running("--model", "embedded") as app:
        page = opened(browser, app, model="Built-in")
        upload(page, videos.bikes())
        page.wait_for_function("document.querySelector('#player video')?.currentTime > 1")
        ask(page, "What is shown?")
        expect(page.locator(".sc-footnote")).to_have_count(1)
        page.get_by_text("Use another model").click()
        page.fill("#model-name :is(textarea, input)", "127.0.0.1:9")
        page.click("#use-model")
        expect(page.get_by_text("cannot be reached")).to_be_visible()
        expect(page.locator("#model")).to_contain_text("Built-in")
        with openai_server.serving(openai_server.say("A bicycle.")) as server:
            page.fill("#model-name :is(textarea, input)", server.url.removesuffix("/v1"))
            page.fill("#server-key input", "sk-own")
            page.click("#use-model")
            expect(page.locator("#model")).to_contain_text(openai_server.NAME)
            expect(page.locator("#server-key input")).to_have_value("")
            expect(page.locator(".sc-footnote")).to_have_count(1)
            ask(page, "And now?")
            expect(page.locator(".sc-footnote")).to_have_count(2)
            expect(page.locator("#chat")).to_contain_text("A bicycle.")
            expect(page.locator("[data-node]").first).to_be_visible()
            assert {asked.headers["authorization"] for asked in server.requests} == {"Bearer sk-own"}
            asked = next(text for asked in server.requests if "And now?" in (text := str(asked.body["messages"])))
            assert "What is shown?" in asked, "the dialogue goes on as well"
            page.close()


def free_port() -> int:
    """One of the ports that are looked at, at which nothing listens here."""
    for port in PORTS:
        with socket.socket() as tried, contextlib.suppress(OSError):
            tried.bind(("127.0.0.1", port))
            return port
    pytest.skip("something listens at every usual port of a model server")


def test_a_server_of_this_machine_is_found_and_gets_no_key_of_the_environment(browser: Browser) -> None:
    port = free_port()
    with openai_server.serving(port=port) as server, running("--model", "fake", OPENAI_API_KEY="sk-own") as app:
        page = opened(browser, app)
        page.get_by_text("Use another model").click()
        expect(page.locator("#found-models input")).to_have_value(
            f"{openai_server.NAME} ({PORTS[port]}; it may take no pictures)"
        )
        page.click("#use-found")
        expect(page.locator("#model")).to_contain_text(openai_server.NAME)
        upload(page, videos.bikes())
        page.wait_for_function("document.querySelector('#player video')?.currentTime > 1")
        ask(page, "What is shown?")
        expect(page.locator("#chat")).to_contain_text("A dog runs.")
        assert {asked.headers["authorization"] for asked in server.requests} == {"Bearer none"}
        page.close()
