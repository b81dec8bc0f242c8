"""What goes wrong with a download on this machine's side: Ctrl-C, a full or locked disk, a broken cache."""

from __future__ import annotations

import errno
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import hub_server
import pytest
from hub_server import COMMIT, Hub
from huggingface_hub import constants

from streamchat.checkpoints import hub, stored
from streamchat.errors import StreamChatError

REPO = "someone/tiny-model"
WEIGHTS = 3 * constants.DOWNLOAD_CHUNK_SIZE  # fetched in three pieces


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub that the library asks in this very process; its settings were read when it was imported."""
    folder = tmp_path / "repository"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(bytes(WEIGHTS))
    with hub_server.serving({REPO: folder}) as served:
        monkeypatch.setattr(constants, "ENDPOINT", served.url)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", served.url + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        yield served


def repository(cache: Path) -> Path:
    return cache / "models--someone--tiny-model"


@pytest.fixture
def interrupted() -> Iterator[threading.Event]:
    """Set once Ctrl-C was handled."""
    taken = threading.Event()

    def note(number: int, frame: FrameType | None) -> None:
        taken.set()
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, note)
    yield taken
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_ends_a_download_in_the_middle_of_a_file(
    served: Hub, interrupted: threading.Event, tmp_path: Path
) -> None:
    handler = signal.getsignal(signal.SIGINT)

    def press(done: int, _: int) -> None:
        if done >= constants.DOWNLOAD_CHUNK_SIZE and not interrupted.is_set():
            os.kill(os.getpid(), signal.SIGINT)
            assert interrupted.wait(30)

    with pytest.raises(KeyboardInterrupt):
        stored.download(REPO, press)
    assert interrupted.is_set()
    kept = [path.stat().st_size for path in repository(tmp_path / "cache").rglob("*") if path.is_file()]
    assert max(kept) < WEIGHTS
    assert not list((tmp_path / "cache").rglob("*.incomplete"))
    assert stored.cached(REPO) is None
    assert signal.getsignal(signal.SIGINT) is handler
    assert stored.download(REPO, lambda *_: None) == stored.cached(REPO)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "the disk is full"),
        (RuntimeError(f"IO Error: {os.strerror(errno.ENOSPC)} (os error 28)"), "the disk is full"),  # hf_xet's
        (PermissionError(errno.EACCES, "Permission denied", "/cache"), "cannot be stored"),
        (ConnectionResetError(errno.ECONNRESET, "reset"), "cannot reach"),
    ],
)
def test_a_fault_of_the_disk_is_not_taken_for_one_of_the_connection(
    error: Exception, said: str, served: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> str:
        raise error

    monkeypatch.setattr(hub, "snapshot_download", fail)
    with pytest.raises(StreamChatError, match=said):
        hub.fetch(hub.look_up(REPO, lambda _: True), lambda *_: None)


def test_a_file_where_the_cache_should_be_is_reported(served: Hub, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("")
    with pytest.raises(StreamChatError, match="cannot be stored"):
        stored.download(REPO, lambda *_: None)


@pytest.mark.parametrize("index", ['{"weight', "{}", "[]", '{"weight_map": 1}'])
def test_a_broken_index_is_a_checkpoint_that_is_not_here(index: str, served: Hub, tmp_path: Path) -> None:
    folder = repository(tmp_path / "cache") / "snapshots" / COMMIT
    folder.mkdir(parents=True)
    (repository(tmp_path / "cache") / "refs").mkdir()
    (repository(tmp_path / "cache") / "refs" / "main").write_text(COMMIT)
    (folder / "config.json").write_text("{}")
    (folder / stored.INDEX).write_text(index)
    assert stored.cached(REPO) is None
    assert served.requests == []


def test_progress_ends_with_all_the_bytes(served: Hub) -> None:
    reported: list[tuple[int, int]] = []
    stored.download(REPO, lambda done, total: reported.append((done, total)))
    assert reported[0] == (0, WEIGHTS + 2)
    assert reported[-1] == (WEIGHTS + 2, WEIGHTS + 2)
    assert [done for done, _ in reported] == sorted(done for done, _ in reported)


NEWER = "f" * 40


def test_what_a_newer_commit_leaves_as_it_was_counts_as_here(served: Hub) -> None:
    stored.download(REPO, lambda *_: None)
    served.commit = NEWER
    (served.repositories[REPO] / "tokenizer.json").write_text("{}")
    assert stored.look_up(REPO).bytes_missing == 0  # as long as {}, and so the same content, as config.json
    (served.repositories[REPO] / "tokenizer.json").write_text("{ }")
    assert stored.look_up(REPO).bytes_missing == 3
    folder = stored.download(REPO, lambda *_: None)
    assert (folder.name, folder) == (NEWER, stored.cached(REPO))
    assert served.fetched("model.safetensors") == [""]


def test_an_update_that_fails_leaves_the_older_checkpoint_in_use(served: Hub) -> None:
    older = stored.download(REPO, lambda *_: None)
    served.commit = NEWER
    (served.repositories[REPO] / "model.safetensors").write_bytes(b"1" * WEIGHTS)
    remote = stored.look_up(REPO)
    served.gated = {REPO}
    with pytest.raises(StreamChatError, match="gated"):
        hub.fetch(remote, lambda *_: None)
    assert stored.cached(REPO) == older
    served.gated = set()
    assert stored.download(REPO, lambda *_: None).name == NEWER
