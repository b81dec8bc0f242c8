"""What several test files use: small deterministic parts, and models that are loaded once."""

from __future__ import annotations

import functools
import os
import re
import zlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import openai_server
import pytest
import tiny_checkpoints
import torch
from hypothesis import settings
from vlm import CPU, Build, Load

from streamchat.models import load_model
from streamchat.models.base import Model
from streamchat.models.transformers import TransformersModel, loading
from streamchat.types import EncodedFrame, Frame

if TYPE_CHECKING:
    from in_browser import App

WIDTH = 1024
SLOW_FILES = ("test_app", "test_evaluation", "test_hostile", "test_real_server", "test_shapes", "test_transformers")

# The same examples every time: a change is to blame for what fails. `HYPOTHESIS_SEARCH=1` looks for others.
settings.register_profile("same", derandomize=not os.environ.get("HYPOTHESIS_SEARCH"), deadline=None)
settings.load_profile("same")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest, so that no process is left alone with one of them at the end."""
    items.sort(key=lambda item: not item.path.stem.startswith(SLOW_FILES))


class WordEmbedder:
    """A text vector that counts hashed words: quick, deterministic, and near for texts that share words."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        self.texts += texts
        vectors = np.full((len(texts), WIDTH), 1e-3, np.float32)
        for row, text in zip(vectors, texts, strict=True):
            for word in re.findall(r"\w+", text.lower()):
                row[zlib.crc32(word.encode()) % WIDTH] += 1
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def picture(value: int = 0, height: int = 24, width: int = 32) -> np.ndarray:
    """A plain grey picture."""
    return np.full((height, width, 3), value, np.uint8)


def encoded(seconds: float, value: float = 0.0, *, cut: bool = False) -> EncodedFrame:
    """A kept frame whose tokens [2, 3] all have one value."""
    frame = Frame(picture(int(value) % 256), seconds, round(seconds * 1000))
    return EncodedFrame(frame, torch.full((2, 3), float(value)), cut)


@pytest.fixture
def embedder() -> WordEmbedder:
    return WordEmbedder()


@pytest.fixture(scope="session")
def fake_model() -> Model:
    return load_model("fake")


@pytest.fixture(scope="session")
def embedded_model() -> Model:
    return load_model("embedded")


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Makes a family's tiny checkpoint when it is first asked for."""
    folder = tmp_path_factory.mktemp("checkpoints")
    return functools.cache(lambda family: tiny_checkpoints.build(family, folder / family))


@pytest.fixture(scope="session")
def load(build: Build) -> Load:
    """Loads it on the CPU, once."""
    return functools.cache(lambda family: TransformersModel([loading.load(build(family), CPU, torch.float32)], family))


@pytest.fixture(scope="session")
def transformers_model(build: Build) -> Model:
    return load_model(str(build("qwen3_vl")))


@pytest.fixture(scope="session")
def openai_model() -> Iterator[Model]:
    with openai_server.serving() as server:
        yield load_model(f"openai:{server.url}#{openai_server.NAME}")


@pytest.fixture(scope="session")
def app() -> Iterator[App]:
    """The app with the model that is for tests; it takes seconds to start."""
    from in_browser import running  # needs a browser's library, which not every machine that tests has

    with running("--model", "fake") as app:
        yield app


@pytest.fixture(scope="session")
def embedded_app() -> Iterator[App]:
    """The app with the built-in model."""
    from in_browser import running

    with running("--model", "embedded") as app:
        yield app
