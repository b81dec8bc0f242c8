"""Model servers of this machine: what their lists say, and that nothing else is asked of them."""

from __future__ import annotations

import json
import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import openai_server
import pytest
import videos
from hypothesis import given, settings
from hypothesis import strategies as st

from streamchat.checkpoints import choosing, serving
from streamchat.checkpoints.serving import look
from streamchat.errors import InputError, StreamChatError
from streamchat.options import Options
from streamchat.ui import model_panel, shared_model
from streamchat.ui.model_panel import spec_of
from streamchat.ui.session_manager import SessionManager
from streamchat.ui.shared_model import SharedModel

OLLAMA = {"object": "list", "data": [{"id": "llama3:8b"}, {"id": "qwen2.5vl:7b"}]}
LM_STUDIO = {
    "data": [
        {"id": "my-finetune", "type": "vlm"},
        {"id": "phi-4", "type": "llm"},
        {"id": "nomic-embed", "type": "embeddings"},
    ]
}
LLAMA_CPP = {
    "models": [{"name": "a.gguf", "model": "a.gguf", "capabilities": ["completion", "multimodal"]}],
    "data": [{"id": "a.gguf"}],
}


@contextmanager
def lists(asked: list[str], **answers: Any) -> Iterator[int]:
    """A server of lists, by the last part of their path; gives its port. What is asked of it is noted."""

    class Listing(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(f"GET {self.path}")
            answer = answers.get("v0" if "v0" in self.path else "v1")
            if answer is None:
                self.send_error(404)
                return
            self.send_response(200)
            self.end_headers()
            self.wfile.write(answer if isinstance(answer, bytes) else json.dumps(answer).encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Listing)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


def test_models_that_take_pictures_come_first_and_those_that_take_none_do_not() -> None:
    asked: list[str] = []
    with ExitStack() as stack:
        ollama = stack.enter_context(lists(asked, v1=OLLAMA))
        studio = stack.enter_context(lists(asked, v1={"data": [{"id": "my-finetune"}, {"id": "phi-4"}]}, v0=LM_STUDIO))
        llama = stack.enter_context(lists(asked, v1=LLAMA_CPP))
        found = look({ollama: "Ollama", studio: "LM Studio", llama: "llama.cpp"})
    assert [(one.name, one.server, one.takes_pictures) for one in found] == [
        ("qwen2.5vl:7b", "Ollama", True),
        ("my-finetune", "LM Studio", True),
        ("a.gguf", "llama.cpp", True),
        ("llama3:8b", "Ollama", None),
    ]
    assert found[0].spec == f"openai:http://127.0.0.1:{ollama}/v1#qwen2.5vl:7b"
    assert found[0].title == "qwen2.5vl:7b (Ollama)"
    assert found[3].title == "llama3:8b (Ollama; it may take no pictures)"
    assert set(asked) == {"GET /v1/models", "GET /api/v0/models"}


def test_where_nothing_listens_or_something_else_does_nothing_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "LOOK_SECONDS", 0.3)
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with socket.socket() as silent, lists([], v1=b"<html>") as page, lists([], v1=b"[" * 2**21) as flood:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        ports = {9: "nobody", silent.getsockname()[1]: "silent", page: "a page", flood: "a flood"}
        assert look(ports) == []
        with lists([], v1=OLLAMA) as port:
            assert len(look({**ports, port: "Ollama"})) == 2, "whatever the others do, and whatever proxy is set"


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda one: (
        st.lists(one, max_size=3)
        | st.dictionaries(st.sampled_from(["data", "models", "id", "model", "type", "capabilities"]), one, max_size=4)
    ),
    max_leaves=8,
)


@settings(max_examples=40)
@given(ANY)
def test_lists_of_any_form_are_read(answer: Any) -> None:
    with lists([], v1=answer, v0=answer) as port:
        for one in look({port: "any"}):
            assert one.name


@pytest.mark.parametrize(
    ("written", "spec"),
    [
        ("http://127.0.0.1:8000/v1", "openai:http://127.0.0.1:8000/v1"),
        (" 127.0.0.1:8000 ", "openai:http://127.0.0.1:8000/v1"),
        ("https://models.example/", "openai:https://models.example/v1"),
        ("https://models.example/api#a/b", "openai:https://models.example/api#a/b"),
        ("openai:http://127.0.0.1:8000#a", "openai:http://127.0.0.1:8000/v1#a"),
        ("embedded", "embedded"),
        ("Qwen/Qwen3-VL-4B-Instruct", "Qwen/Qwen3-VL-4B-Instruct"),
        ("/models/qwen", "/models/qwen"),
    ],
)
def test_what_is_written_becomes_a_model(written: str, spec: str) -> None:
    assert spec_of(written) == spec


def test_nothing_written_is_refused() -> None:
    with pytest.raises(InputError, match="no model is written"):
        spec_of("  ")


class TestSharedModel:
    def test_beside_the_built_in_one_a_better_one_is_offered(self, monkeypatch: pytest.MonkeyPatch) -> None:
        machine = choosing.Machine(device="cpu", title="CPU", memory_bytes=24 * 10**9)
        monkeypatch.setattr(shared_model, "this_machine", lambda _: machine)
        monkeypatch.setattr(shared_model, "cached", lambda _: None)
        shared = SharedModel("embedded")
        shared.get()
        assert shared.reason == ""
        assert shared.better is not None
        assert shared.better.title == "SmolVLM2-500M-Video-Instruct"
        assert not shared.better_is_here

    def test_one_that_is_here_need_not_be_fetched(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
        machine = choosing.Machine(device="cpu", title="CPU", memory_bytes=24 * 10**9)
        monkeypatch.setattr(shared_model, "this_machine", lambda _: machine)
        monkeypatch.setattr(shared_model, "cached", lambda _: tmp_path)
        monkeypatch.setattr(shared_model, "download", lambda *_: pytest.fail("it is here"))
        shared = SharedModel("embedded")
        shared.get()
        assert shared.better_is_here
        loaded: list[str] = []
        monkeypatch.setattr(shared_model, "load_model", lambda spec, **_: loaded.append(spec))
        shared.upgrade(lambda *_: None)
        assert loaded == ["HuggingFaceTB/SmolVLM2-500M-Video-Instruct"]
        assert shared.better is None

    def test_what_cannot_be_loaded_changes_nothing(self) -> None:
        shared = SharedModel("fake")
        model = shared.get()
        with pytest.raises(StreamChatError, match="cannot be reached"):
            shared.switch("openai:http://127.0.0.1:9/v1", key="sk-own")
        assert shared.spec == "fake"
        assert shared.get() is model

    def test_the_key_of_the_environment_is_for_the_server_of_the_start_alone(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        keys: list[str | None] = []
        monkeypatch.setattr(shared_model, "load_model", lambda _, **options: keys.append(options["key"]))
        shared = SharedModel("openai:https://models.example/v1#one")
        shared.get()
        shared.switch("openai:https://Models.example/v1#two")
        shared.switch("openai:https://models.example:8443/v1#two")
        shared.switch("openai:http://models.example/v1#two")
        shared.switch("openai:https://models.example/v1#one", "sk-own")
        assert keys == [None, None, "", "", "sk-own"]


def test_a_model_that_changed_is_said_though_the_video_is_gone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    titles: list[str] = []
    monkeypatch.setattr(model_panel, "warn", lambda _, title, **__: titles.append(title))
    sessions = SessionManager(SharedModel("fake"), Options())
    try:
        with gr.Blocks():
            panel = model_panel.ModelPanel(sessions)
            panel.listen([], lambda _: ())
        video = Path(shutil.copy(videos.bikes(), tmp_path))
        sessions.open("one", video)
        video.unlink()
        request = SimpleNamespace(session_hash="one")
        with openai_server.serving() as server:
            line, *_ = panel._take_named(f"{server.url}#{openai_server.NAME}", "", request)  # type: ignore[arg-type]
        assert openai_server.NAME in line
        panel._take_named("nope", "", request)  # type: ignore[arg-type]
        assert titles == [
            "The model changed; the video cannot be watched again with it",
            "The model stays as it is",
        ]
    finally:
        sessions.close_all()
