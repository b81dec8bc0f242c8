"""Fetching checkpoints, against a stand-in for the Hub; and what is said where there is none."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import hub_server
import numpy as np
import pytest
import videos
from hub_server import COMMIT, Hub
from huggingface_hub import HfApi
from safetensors.numpy import save_file

from streamchat.checkpoints import hub, stored
from streamchat.errors import InputError, StreamChatError

ROOT = Path(__file__).resolve().parent.parent
REPO = "someone/tiny-model"
NO_HUB = "http://127.0.0.1:9"  # the port of the discard service, where nothing listens
TOKEN = "hf_verysecret"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Hub]:
    folder = tmp_path / "repository"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "llava"}))
    (folder / "tokenizer.json").write_text("{}")
    (folder / "pytorch_model.bin").write_bytes(b"not wanted")
    save_file({"weights": np.random.default_rng(0).random(2_000_000)}, folder / "model.safetensors")
    with hub_server.serving({REPO: folder}) as hub:
        yield hub


def run(url: str, home: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own, as the library reads its settings when it is imported."""
    settings = {"HF_ENDPOINT": url, "HF_HOME": str(home), "HF_TOKEN": TOKEN, "HF_HUB_DISABLE_XET": "1"}
    return subprocess.run(
        [sys.executable, "-m", "streamchat", *arguments],
        cwd=ROOT,
        env={**os.environ, **settings, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def snapshot(home: Path) -> Path:
    return home / "hub" / "models--someone--tiny-model" / "snapshots" / COMMIT


def test_a_download_tells_its_size_and_licence_first_and_fetches_only_what_is_needed(
    served: Hub, tmp_path: Path
) -> None:
    done = run(served.url, tmp_path, "--download", REPO)
    assert done.returncode == 0, done.stderr
    assert f"{REPO}: 16.0 MB; licence: apache-2.0" in done.stderr
    assert done.stdout.strip() == str(snapshot(tmp_path))
    assert {path.name for path in snapshot(tmp_path).iterdir()} == {
        "config.json",
        "tokenizer.json",
        "model.safetensors",
    }
    sent = {headers.get("authorization") for _, path, headers in served.requests if REPO in path}
    assert sent == {f"Bearer {TOKEN}"}
    assert TOKEN not in done.stdout + done.stderr


def test_what_is_here_is_not_fetched_again(served: Hub, tmp_path: Path) -> None:
    assert run(served.url, tmp_path, "--download", REPO).returncode == 0
    again = run(served.url, tmp_path, "--download", REPO)
    assert again.returncode == 0
    assert "of which 16.0 MB are here already" in again.stderr
    assert len(served.fetched("model.safetensors")) == 1


def test_a_cut_download_goes_on_in_the_middle_of_the_file(served: Hub, tmp_path: Path) -> None:
    served.cut_after = 12_000_000
    done = run(served.url, tmp_path, "--download", REPO)
    assert done.returncode == 0, done.stderr
    assert served.fetched("model.safetensors") == ["", "bytes=10485760-"]  # the library writes 10 MiB at once
    fetched = (snapshot(tmp_path) / "model.safetensors").read_bytes()
    assert fetched == (served.repositories[REPO] / "model.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("repo", "fault", "code", "said"),
    [
        ("someone/nothing", "", 2, "there is no 'someone/nothing'"),
        ("not a name", "", 2, "check the spelling"),
        (REPO, "gated", 1, "accept its terms at http"),
        (REPO, "failing", 1, "answered 500"),
    ],
)
def test_a_refusal_says_what_to_do(repo: str, fault: str, code: int, said: str, served: Hub, tmp_path: Path) -> None:
    served.gated = {REPO} if fault == "gated" else set()
    served.failing = fault == "failing"
    done = run(served.url, tmp_path, "--download", repo)
    assert (done.returncode, said in done.stderr, "Traceback" in done.stderr) == (code, True, False), done.stderr


def test_without_a_hub_it_says_how_to_go_on(tmp_path: Path) -> None:
    done = run(NO_HUB, tmp_path, "--download", REPO)
    assert done.returncode == 1
    assert f"cannot reach the Hugging Face Hub at {NO_HUB}" in done.stderr
    assert "copy a checkpoint to a folder" in done.stderr
    offline = run(NO_HUB, tmp_path, "--download", REPO, HF_HUB_OFFLINE="1")
    assert "HF_HUB_OFFLINE is set" in offline.stderr


def test_a_model_that_is_not_here_is_not_fetched_unasked(served: Hub, tmp_path: Path) -> None:
    done = run(served.url, tmp_path, str(videos.bikes()), "--model", REPO, "--ask", "1", "What?")
    assert done.returncode == 1
    assert f"--download {REPO}" in done.stderr
    assert served.requests == []


def test_a_hub_that_never_answers_is_given_up(served: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    served.silent = True
    monkeypatch.setattr(hub.constants, "ENDPOINT", served.url)
    monkeypatch.setattr(hub, "HfApi", lambda: HfApi(endpoint=served.url))
    with pytest.raises(StreamChatError, match="cannot reach"):
        hub.look_up(REPO, lambda _: True, timeout_seconds=0.2)


def test_a_disk_without_room_is_reported_before_anything_is_fetched(
    served: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(hub, "HfApi", lambda: HfApi(endpoint=served.url))
    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(hub.shutil, "disk_usage", lambda _: SimpleNamespace(free=2**30))
    with pytest.raises(StreamChatError, match=r"needs 1\.1 GB of disk.*1\.1 GB free"):
        stored.download(REPO, lambda *_: None)
    assert served.fetched("model.safetensors") == []


def test_a_folder_is_taken_as_it_is_if_it_is_a_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no config\.json"):
        stored.local_folder(str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    assert stored.local_folder(str(tmp_path)) == tmp_path


def test_a_snapshot_without_all_its_weights_is_not_taken(served: Hub, tmp_path: Path) -> None:
    assert run(served.url, tmp_path, "--download", REPO).returncode == 0
    (snapshot(tmp_path) / "model.safetensors").unlink()
    done = run(NO_HUB, tmp_path, str(videos.bikes()), "--model", REPO, "--ask", "1", "What?")
    assert "is not on this machine" in done.stderr
