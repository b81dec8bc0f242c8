"""Plugins: files of a package, and what other distributions add to it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import videos
from conftest import WordEmbedder

from evaluation import judges
from streamchat import plugin
from streamchat.errors import InputError, StreamChatError
from streamchat.models import load_model, model_names
from streamchat.options import Options
from streamchat.session.engine import StreamChat
from streamchat.session.live import LiveSession
from streamchat.video.camera import PushSource
from streamchat.video.source import LiveSource, RecordedSource, open_source

Install = Callable[..., None]
SELECTORS = "streamchat.selectors"


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Installs a distribution of one module for this test: its name, entry points and the module's source."""
    before = set(sys.modules)

    def install(name: str, points: dict[str, str], source: str) -> None:
        folder = tmp_path / name
        info = folder / f"{name}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("".join(f"[{group}]\n{point}\n" for group, point in points.items()))
        (folder / f"{name}.py").write_text(source)
        monkeypatch.syspath_prepend(folder)

    yield install
    for module in set(sys.modules) - before:
        del sys.modules[module]


@pytest.mark.parametrize("package", [SELECTORS, "streamchat.models", "evaluation.benchmarks", "evaluation.judges"])
def test_an_installed_plugin_is_listed_and_loaded_by_its_name(install: Install, package: str) -> None:
    assert "acme" not in plugin.names(package)
    group = "streamchat." + package.rpartition(".")[2]
    install("acme_plugins", {group: "acme = acme_plugins"}, "MADE_BY = 'acme'")
    assert "acme" in plugin.names(package)
    assert plugin.load(package, "acme").MADE_BY == "acme"


def test_an_installed_selector_selects(install: Install) -> None:
    source = "from streamchat.selectors.uniform import build"
    install("acme_plugins", {SELECTORS: "acme = acme_plugins"}, source)
    ours = plugin.load(SELECTORS, "uniform").build(Options())
    assert type(plugin.load(SELECTORS, "acme").build(Options())) is type(ours)


def test_an_installed_model_is_loaded_with_its_argument(install: Install) -> None:
    install(
        "acme_plugins",
        {"streamchat.models": "acme = acme_plugins"},
        "def build(argument, device):\n    return argument, device",
    )
    assert "acme" in model_names()
    assert load_model("acme:large", device="cpu") == ("large", "cpu")


def test_an_installed_judge_is_listed(install: Install) -> None:
    install("acme_plugins", {"streamchat.judges": "acme = acme_plugins"}, "")
    assert "acme" in judges.names()


def test_the_own_file_wins_and_a_warning_names_both(install: Install) -> None:
    install("acme_plugins", {SELECTORS: "uniform = acme_plugins"}, "raise RuntimeError('must not be imported')")
    assert plugin.names(SELECTORS).count("uniform") == 1
    said = r"selector 'uniform' is streamchat\.selectors\.uniform; not used: acme_plugins of acme_plugins 1\.0"
    with pytest.warns(UserWarning, match=said):
        assert plugin.load(SELECTORS, "uniform").__name__ == "streamchat.selectors.uniform"


def test_of_two_installed_ones_the_first_wins_and_a_warning_names_both(install: Install) -> None:
    install("later", {SELECTORS: "acme = later"}, "")
    install("earlier", {SELECTORS: "acme = earlier"}, "")
    with pytest.warns(UserWarning, match=r"'acme' is earlier of earlier 1\.0; not used: later of later 1\.0"):
        assert plugin.load(SELECTORS, "acme").__name__ == "earlier"


def test_one_that_cannot_be_imported_is_named_with_its_distribution(install: Install) -> None:
    install("acme_plugins", {SELECTORS: "acme = acme_plugins"}, "import no_such_module")
    with pytest.raises(StreamChatError, match=r"'acme', which is acme_plugins of acme_plugins 1\.0: .*no_such_module"):
        plugin.load(SELECTORS, "acme")


def test_an_unknown_plugin_lists_installed_ones_too(install: Install) -> None:
    install("acme_plugins", {SELECTORS: "acme = acme_plugins"}, "")
    with pytest.raises(InputError, match=r"unknown selector 'nope': choose one of acme, novelty"):
        plugin.load(SELECTORS, "nope")


class TestSources:
    SOURCE = """
from streamchat.types import Frame
import numpy as np

class Numbers:
    dropped = 0

    def __init__(self, count, max_side):
        self.count, self.max_side = count, max_side

    def __iter__(self):
        for number in range(self.count):
            yield Frame(np.full((24, 32, 3), number, np.uint8), number / 10, number)

    def close(self):
        self.count = 0

def build(argument, max_side):
    return Numbers(int(argument), max_side)
"""

    def test_an_installed_one_is_opened_by_its_name_and_played(self, install: Install, embedder: WordEmbedder) -> None:
        install("acme_plugins", {"streamchat.sources": "numbers = acme_plugins"}, self.SOURCE)
        source = open_source("numbers:30", max_side=99)
        assert source.max_side == 99  # type: ignore[union-attr]
        session = LiveSession(StreamChat(load_model("fake"), embedder=embedder), source)
        session.start()
        assert session.wait_until(lambda stats: stats.finished, 60)
        assert session.stats().frames_seen == 30
        session.close()

    def test_an_unknown_one_is_a_path_and_installed_ones_are_named(self, install: Install) -> None:
        with pytest.raises(InputError, match=r"no file 'numbers:30': check the path of the video$"):
            open_source("numbers:30")
        install("acme_plugins", {"streamchat.sources": "numbers = acme_plugins"}, self.SOURCE)
        with pytest.raises(InputError, match=r"no file 'nope:1'.* installed source: numbers:…"):
            open_source("nope:1")

    def test_the_two_of_the_house_are_of_the_two_kinds(self) -> None:
        video = open_source(videos.bikes())
        assert isinstance(video, RecordedSource)
        assert not isinstance(video, LiveSource)
        assert isinstance(PushSource(), LiveSource)
        assert not isinstance(PushSource(), RecordedSource)
