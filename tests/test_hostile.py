"""What strangers on the network may do to a public app: calls that no page makes, against a real server."""

from __future__ import annotations

import itertools
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import benchmark_roots
import httpx
import numpy as np
import openai_server
import pytest
import videos
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from in_browser import App

from evaluation.benchmarks.streambench import StreamBench
from evaluation.samples import Choice
from streamchat.errors import InputError
from streamchat.session.questions import check_question
from streamchat.ui import examples, uploads
from streamchat.ui.access import check_owner, is_public
from streamchat.ui.hosts import OwnHosts, own_names
from streamchat.video.camera import PushSource

SECRET = "sk-of-the-owner"
_visitors = itertools.count()


@pytest.fixture(scope="module")
def app() -> Iterator[App]:
    most = ("--most-visitors", "300")  # so that this address is not slowed down
    app = App("--model", "fake", "--public", "--max-upload", "1", *most, environment={"OPENAI_API_KEY": SECRET})
    yield app
    assert app.end() == 0
    assert "Traceback" not in app.output, app.output[app.output.index("Traceback") :][:9000]


@pytest.fixture(scope="module")
def config(app: App) -> dict[str, Any]:
    found: dict[str, Any] = httpx.get(f"{app.url}/config").json()
    return found


@contextmanager
def another_server() -> Iterator[tuple[str, list[str]]]:
    """The address of a model server that is the stranger's, and the keys of what was asked of it."""
    keys: list[str] = []

    def asked(exchange: openai_server.Exchange) -> None:
        keys.append(exchange.headers.get("Authorization", ""))
        openai_server.status(200, openai_server.MODELS)(exchange)

    with openai_server.serving(models=asked) as server:
        yield server.url, keys


def handler(config: dict[str, Any], **properties: str) -> int:
    """The number of the event that a click on an element of these properties sends, by which anyone can call it."""
    ids = [one["id"] for one in config["components"] if properties.items() <= one["props"].items()]
    return next(one["id"] for one in config["dependencies"] if [ids[0], "click"] in one["targets"])


def called(app: App, number: int, *data: Any) -> list[dict[str, Any]]:
    """The messages that come of a call which was made by hand."""
    visitor = f"stranger{next(_visitors)}"
    body = {"fn_index": number, "data": data, "session_hash": visitor}
    httpx.post(f"{app.url}/gradio_api/queue/join", json=body).raise_for_status()
    messages = []
    with httpx.stream("GET", f"{app.url}/gradio_api/queue/data?session_hash={visitor}", timeout=60) as answer:
        for line in answer.iter_lines():
            if line.startswith("data: "):
                messages.append(json.loads(line.removeprefix("data: ")))
                if messages[-1]["msg"] in ("process_completed", "unexpected_error", "close_stream"):
                    break
    return messages


class TestOwner:
    @pytest.mark.parametrize(
        ("settings", "public"),
        [
            ({"host": None}, False),
            ({"host": "127.0.0.1"}, False),
            ({"host": "::1"}, False),
            ({"host": "localhost"}, False),
            ({"host": "0.0.0.0"}, True),
            ({"host": "192.168.1.5"}, True),
            ({"host": "mybox"}, True),
            ({"host": "0.0.0.0", "trusts_network": True}, False),
            ({"host": None, "public": True}, True),
            ({"host": "0.0.0.0", "public": True, "trusts_network": True}, True),
        ],
    )
    def test_an_app_is_public_wherever_others_reach_it(
        self, settings: dict[str, Any], public: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("SPACE_ID", "GRADIO_SHARE", "GRADIO_SERVER_NAME"):
            monkeypatch.delenv(name, raising=False)
        assert is_public(**settings) is public

    @pytest.mark.parametrize(
        ("name", "value"), [("SPACE_ID", "me/space"), ("GRADIO_SHARE", "True"), ("GRADIO_SERVER_NAME", "0.0.0.0")]
    )
    def test_so_it_is_by_what_the_environment_says(
        self, name: str, value: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(name, value)
        assert is_public(None)

    def test_what_is_the_owners_is_said(self) -> None:
        check_owner(False, "the model is")
        with pytest.raises(InputError, match="the model is chosen by the owner of this app, not by its visitors"):
            check_owner(True, "the model is")


class TestCallsByHand:
    def test_nobody_points_the_model_at_another_server(self, app: App, config: dict[str, Any]) -> None:
        with another_server() as (url, keys):
            address = f"openai:{url}#m"
            for button, *asked in (("use-model", address, ""), ("use-found", address), ("upgrade",)):
                messages = json.dumps(called(app, handler(config, elem_id=button), *asked))
                assert "chosen by the owner of this app" in messages or '"success": false' in messages
            assert not keys

    def test_a_benchmark_reads_and_makes_no_folder_and_asks_no_server(
        self, app: App, config: dict[str, Any], tmp_path: Path
    ) -> None:
        with another_server() as (url, keys):
            asked = [
                "streambench",
                str(tmp_path / "made"),
                f"openai:{url}#m",
                "base",
                ["recent"],
                f"openai:{url}#j",
                0,
                0,
            ]
            messages = called(app, handler(config, elem_id="run"), *asked)
            assert not keys
        assert not (tmp_path / "made").exists()
        assert str(tmp_path) not in json.dumps(messages)

    @pytest.mark.parametrize("name", ["../../../../etc", "/etc", "/proc/self"])
    def test_a_report_takes_past_runs_alone(self, app: App, config: dict[str, Any], name: str) -> None:
        messages = json.dumps(called(app, handler(config, elem_id="again"), [name]))
        assert "passwd" not in messages
        assert "No such file" not in messages

    def test_the_key_is_nowhere(self, app: App) -> None:
        assert SECRET not in httpx.get(app.url).text
        assert SECRET not in httpx.get(f"{app.url}/config").text

    def test_a_file_that_is_too_large_is_refused_while_it_comes(self, app: App) -> None:
        refused = httpx.post(f"{app.url}/gradio_api/upload", files={"files": ("big.mp4", bytes(2 * 2**20))}, timeout=60)
        assert refused.status_code == 413


class TestForgedCalls:
    """Calls with what no page sends end in a line of the log; the app's fixture looks for tracebacks."""

    @pytest.mark.parametrize("key", ["forged", {"a": 1}])
    def test_a_key_that_nobody_has_gets_nothing(self, app: App, config: dict[str, Any], key: object) -> None:
        for one in config["components"]:
            if one["type"] == "html":
                for name in ("view_of", "node", "picture", "memory", "push"):
                    body = {"session_hash": "s", "component_id": one["id"], "fn_name": name, "data": {"key": key}}
                    answer = httpx.post(f"{app.url}/gradio_api/component_server", json=body)
                    assert answer.status_code == 404 or answer.json() in (None, {"ended": True}, {"listening": False})

    @pytest.mark.parametrize(
        "body",
        [
            {"session_hash": "s", "component_id": 10**9, "fn_name": "view_of", "data": {}},
            {"session_hash": "s", "component_id": {}, "fn_name": "view_of", "data": {}},
            {"session_hash": [], "component_id": 1, "fn_name": "view_of"},
            {},
            [],
            "text",
        ],
    )
    def test_what_is_no_call_is_refused(self, app: App, body: object) -> None:
        answer = httpx.post(f"{app.url}/gradio_api/component_server", json=body)
        assert answer.status_code in (400, 404, 422)

    @pytest.mark.parametrize("data", [["x"] * 8, [None] * 8, [{"path": "/etc/passwd"}] * 8])
    def test_events_with_values_of_any_kind_are_refused_in_words(
        self, app: App, config: dict[str, Any], data: list[Any]
    ) -> None:
        for one in config["dependencies"]:
            if one["backend_fn"]:
                for message in called(app, one["id"], *data):
                    assert "root:" not in json.dumps(message)

    def test_a_text_of_megabytes_is_refused_before_it_is_read(self, app: App) -> None:
        body = {"fn_index": 0, "data": ["x" * 10_000_000], "session_hash": "s"}
        assert httpx.post(f"{app.url}/gradio_api/queue/join", json=body).status_code == 413

    def test_a_question_has_a_length(self, app: App) -> None:
        client = Client(app.url, verbose=False)
        session = client.predict(api_name="/open_session")
        client.predict(session, handle_file(str(videos.bikes())), api_name="/add_video")
        with pytest.raises(AppError, match="a question may have 20000 characters, got 30000"):
            client.predict(session, "x" * 30_000, api_name="/ask")
        client.predict(session, api_name="/close_session")

    def test_a_camera_sends_sizes_and_times_that_can_be(self) -> None:
        source = PushSource()
        picture = np.zeros((8, 8, 3), np.uint8)
        source.push(picture, 1.0)
        for seconds in (1e308, float("inf"), float("nan"), -1.0, 4e6):
            with pytest.raises(InputError, match="the time of a pushed frame must be"):
                source.push(picture, seconds)


class TestNobody:
    @pytest.mark.parametrize("name", ["save", "transcript", "ask"])
    def test_a_call_that_names_no_page_is_nobodys(self, app: App, config: dict[str, Any], name: str) -> None:
        number = handler(config, elem_id=name)
        event = next(one for one in config["dependencies"] if one["id"] == number)
        answer = httpx.post(f"{app.url}/gradio_api/run/{event['api_name']}", json={"data": [], "fn_index": number})
        assert answer.status_code >= 400
        assert "data" not in answer.json()

    def test_nobody_watches_the_traffic(self, app: App) -> None:
        assert httpx.get(f"{app.url}/monitoring").status_code == 403

    @pytest.mark.parametrize("question", [None, {"a": 1}, 7])
    def test_a_question_that_is_no_text_is_refused_in_words(self, app: App, question: object) -> None:
        with pytest.raises(InputError, match="a question is text, got"):
            check_question(question)  # type: ignore[arg-type]


class TestNames:
    @pytest.mark.parametrize("host", ["rebound.example.com", "rebound.example.com:7860", "", "localhost.example.com"])
    def test_a_foreign_name_is_refused(self, app: App, host: str) -> None:
        answer = httpx.get(f"{app.url}/config", headers={"Host": host})
        assert answer.status_code == 421
        assert "--allow-host" in answer.text

    @pytest.mark.parametrize("host", ["localhost", "LOCALHOST:7860", "127.0.0.1:1", "[::1]:7860", "192.168.1.5"])
    def test_its_own_names_and_addresses_are_not(self, app: App, host: str) -> None:
        assert httpx.get(f"{app.url}/config", headers={"Host": host}).status_code == 200

    @pytest.mark.parametrize(
        "origin", ["https://evil.example", "null", "http://127.0.0.1:1", "http://localhost:7860", "http://[::1", "x"]
    )
    def test_a_page_elsewhere_reaches_nothing(self, app: App, origin: str) -> None:
        for host in (app.url.removeprefix("http://"), "[::ffff:7f00:1]:7860", "localhost:1"):
            for method, path in (("GET", "config"), ("POST", "gradio_api/queue/join"), ("POST", "gradio_api/upload")):
                headers = {"Host": host, "Origin": origin}
                answer = httpx.request(method, f"{app.url}/{path}", headers=headers)
                assert (answer.status_code, "not the app's own" in answer.text) == (403, True)

    def test_its_own_pages_do_also_behind_a_proxy(self, app: App) -> None:
        behind = {"Origin": "https://chat.example.com", "X-Forwarded-Host": "chat.example.com"}
        for headers in ({"Origin": app.url}, behind):
            assert httpx.get(f"{app.url}/config", headers=headers).status_code == 200

    def test_the_owner_can_trust_other_pages(self) -> None:
        hosts = OwnHosts(lambda *_: None, [], [".example.com", "Chat.example"])  # type: ignore[arg-type, return-value]
        assert hosts._is_own("https://a.example.com", {})
        assert hosts._is_own("https://chat.example:8443", {})
        assert not hosts._is_own("https://badexample.com", {})

    def test_the_owner_can_allow_more(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert "chat.example.com" in own_names(["chat.example.com"])
        monkeypatch.setenv("SPACE_ID", "me/space")
        monkeypatch.setenv("SPACE_HOST", "me-space.hf.space")
        assert "me-space.hf.space" in own_names()


class TestFolder:
    @pytest.fixture
    def shared(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """A folder for temporary files of all users."""
        monkeypatch.delenv("STREAMCHAT_DATA", raising=False)
        monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
        return tmp_path

    def test_it_is_this_users_alone(self, shared: Path) -> None:
        folder = examples.data_folder()
        assert folder.parent == shared
        assert re.fullmatch(rf"streamchat-{os.getuid()}", folder.name)
        assert folder.stat().st_mode & 0o777 == 0o700
        assert examples.data_folder() == folder

    def test_one_that_somebody_else_prepared_is_not_used(self, shared: Path) -> None:
        (shared / "elsewhere").mkdir()
        (shared / f"streamchat-{os.getuid()}").symlink_to(shared / "elsewhere")
        with pytest.raises(InputError, match=r"is not this user's alone: remove it, or name another one"):
            examples.data_folder()

    def test_one_that_cannot_be_made_is_named(self, shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (shared / "file").touch()
        monkeypatch.setenv("STREAMCHAT_DATA", str(shared / "file"))
        with pytest.raises(InputError, match=r"STREAMCHAT_DATA names '.*file', which cannot be made a folder"):
            examples.data_folder()
        monkeypatch.setenv("GRADIO_TEMP_DIR", str(shared / "file" / "below"))
        with pytest.raises(InputError, match=r"no folder for uploads can be made in .*below .*: name another one in"):
            uploads.made()

    def test_one_that_others_may_write_into_is_not_used(self, shared: Path) -> None:
        folder = shared / f"streamchat-{os.getuid()}"
        folder.mkdir()
        folder.chmod(0o777)
        with pytest.raises(InputError, match="is not this user's alone"):
            examples.data_folder()


@pytest.mark.parametrize("path", ["../secret.mp4", "Ego/../../secret.mp4", "{root}/../secret.mp4"])
def test_a_path_that_leads_out_of_the_folder_is_not_followed(path: str, tmp_path: Path) -> None:
    (tmp_path / "secret.mp4").write_bytes((benchmark_roots.write(tmp_path / "root") / "Ego" / "bikes.mp4").read_bytes())
    out = {
        "info": {"video_path": path.format(root=tmp_path / "root"), "class_1": "Ego"},
        "breakpoint": [benchmark_roots.point(1, "What?", "That.", "SM")],
    }
    bench = StreamBench(Choice(root=benchmark_roots.write(tmp_path / "other", [out])))
    (sample,) = bench.samples()
    with pytest.raises(InputError, match="is not below"):
        bench.open(sample, max_side=64)
