"""Plugins: files of a package, and what other distributions add to it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from evaluation import judges
from streamchat import plugin
from streamchat.config import Options
from streamchat.errors import InputError, StreamChatError
from streamchat.models import load_model, model_names

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
    install("acme_plugins", {package: "acme = acme_plugins"}, "MADE_BY = 'acme'")
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
    install("acme_plugins", {"evaluation.judges": "acme = acme_plugins"}, "")
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
