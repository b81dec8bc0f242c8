"""Proxies of the environment: never for this machine, and named where they fail."""

from __future__ import annotations

import pytest
from in_browser import running
from server_process import fetch

from streamchat import proxies
from streamchat.checkpoints import hub
from streamchat.errors import InputError, StreamChatError
from streamchat.models import load_model

NOBODY = "127.0.0.1:9"  # the port of the protocol "discard", at which nothing listens
VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def test_the_app_starts_whatever_proxy_the_environment_names() -> None:
    proxy = f"http://{NOBODY}"
    settings = {"HTTP_PROXY": proxy, "http_proxy": proxy, "ALL_PROXY": f"socks5://{NOBODY}"}
    with running("--model", "fake", own_interpreter=True, **settings) as app:
        assert "<gradio-app" in fetch(app.url)


@pytest.mark.parametrize("proxy", ["ftp://proxy:21", "http://[::", "socks4://proxy:1080"])
def test_a_proxy_of_a_kind_that_cannot_be_used_is_named(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy)
    with pytest.raises(InputError, match="a proxy of the environment cannot be used") as raised:
        load_model("openai:http://models.example/v1#any")
    assert f"ALL_PROXY={proxy}" in str(raised.value)


def test_a_proxy_that_does_not_answer_is_named_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", f"http://somebody:secret@{NOBODY}")
    with pytest.raises(StreamChatError, match=f"cannot be reached through the proxy http://…@{NOBODY}") as raised:
        load_model("openai:http://models.example/v1")
    assert "secret" not in str(raised.value)
    monkeypatch.setattr(hub.constants, "ENDPOINT", "https://hub.example")
    assert f"through the proxy http://…@{NOBODY}" in str(hub._failed("some/model", OSError("refused")))


def test_what_is_asked_without_a_proxy_names_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://{NOBODY}")
    monkeypatch.setenv("NO_PROXY", "models.example")
    assert proxies.through_proxy("http://models.example/v1") == ""
    assert proxies.through_proxy("http://127.0.0.1:8000/v1") == ""
    assert proxies.through_proxy("https://other.example/v1") == ""
    assert proxies.through_proxy("http://other.example/v1") != ""
