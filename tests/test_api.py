"""The app for programs: `gradio.Client` and MCP, against a running app."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator
from contextlib import suppress

import pytest
import videos
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from in_browser import App, running
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client


@pytest.fixture(scope="module")
def app() -> Iterator[App]:
    with running("--model", "fake", "--mcp", "--most-visitors", "1") as app:
        yield app


@pytest.fixture(scope="module")
def client(app: App) -> Client:
    return Client(app.url, verbose=False)


@pytest.fixture
def session(client: Client) -> Iterator[str]:
    session = client.predict(api_name="/open_session")
    yield session
    with suppress(AppError):  # a test may have closed it
        client.predict(session, api_name="/close_session")


def test_a_program_opens_a_session_sends_a_video_asks_and_reads_the_memory(client: Client, session: str) -> None:
    video = client.predict(session, handle_file(str(videos.bikes())), api_name="/add_video")
    assert video == {"title": "bikes.mp4", "duration_seconds": 10.0}
    at_five = client.predict(session, "What is shown?", 5.0, api_name="/ask")
    assert at_five["answer"].endswith("What is shown?")
    assert at_five["asked_at_seconds"] == 5.0
    assert at_five["evidence"]
    for moment in at_five["evidence"]:
        assert 0 <= moment["start_seconds"] <= moment["end_seconds"] <= 5.0
        assert base64.b64decode(moment["keyframe_jpeg"]).startswith(b"\xff\xd8")
    at_end = client.predict(session, "And now?", api_name="/ask")
    assert at_end["asked_at_seconds"] == pytest.approx(9.96, abs=0.05)
    memory = client.predict(session, api_name="/session_memory")
    assert set(at_end["memory_nodes"]) <= {node["id"] for node in memory["nodes"]}


def test_what_is_wrong_is_said(client: Client, session: str) -> None:
    with pytest.raises(AppError, match="there is no video yet"):
        client.predict(session, "What?", api_name="/ask")
    with pytest.raises(AppError, match="call open_session first"):
        client.predict("guessed", "What?", api_name="/ask")
    client.predict(session, handle_file(str(videos.bikes())), api_name="/add_video")
    with pytest.raises(AppError, match="at_seconds must be at most 10, where the video ends, got 99"):
        client.predict(session, "What?", 99.0, api_name="/ask")
    with pytest.raises(AppError, match="at_seconds must be a number"):
        client.predict(session, "What?", "soon", api_name="/ask")
    with pytest.raises(AppError, match="is not a video"):
        client.predict(session, handle_file(__file__), api_name="/add_video")


def test_a_closed_session_gives_its_place_to_the_next(client: Client, session: str) -> None:
    client.predict(session, handle_file(str(videos.bikes())), api_name="/add_video")
    other = client.predict(api_name="/open_session")
    with pytest.raises(AppError, match="the app is full"):
        client.predict(other, handle_file(str(videos.bikes())), api_name="/add_video")
    client.predict(session, api_name="/close_session")
    assert client.predict(other, handle_file(str(videos.bikes())), api_name="/add_video")["title"] == "bikes.mp4"
    client.predict(other, api_name="/close_session")
    with pytest.raises(AppError, match="call open_session first"):
        client.predict(other, "What?", api_name="/ask")
    with pytest.raises(AppError, match="call open_session first"):
        client.predict(session, api_name="/close_session")


def test_only_the_calls_for_programs_are_public(client: Client) -> None:
    named = client.view_api(return_format="dict", print_info=False)["named_endpoints"]  # type: ignore[index]
    assert set(named) == {"/open_session", "/add_video", "/ask", "/session_memory", "/close_session"}


def test_the_same_calls_are_mcp_tools(app: App) -> None:
    async def talk() -> tuple[dict[str, str], str]:
        async with (
            streamable_http_client(f"{app.url}/gradio_api/mcp/") as (read, write, *_),
            ClientSession(read, write) as mcp,
        ):
            await mcp.initialize()
            tools = {tool.name: tool.description or "" for tool in (await mcp.list_tools()).tools}
            reply = await mcp.call_tool("open_session", {})
            return tools, reply.content[0].text  # type: ignore[union-attr]

    tools, session = asyncio.run(talk())
    assert {"open_session", "add_video", "ask", "session_memory", "close_session"} == set(tools)
    assert "what a session's video showed" in tools["ask"]
    assert "api-" in json.dumps(session)
