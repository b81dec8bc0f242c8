"""What an installed StreamChat has: the content of its wheel, its commands and what it depends on."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterable
from email.message import Message
from email.parser import HeaderParser
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("streamchat", "evaluation")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
INFO = f"streamchat-{PROJECT['version']}.dist-info"


def requirements(file: str) -> dict[str, Requirement]:
    lines = (line.strip() for line in (ROOT / file).read_text().splitlines())
    return by_name(line for line in lines if line and not line.startswith("#"))


def by_name(lines: Iterable[str]) -> dict[str, Requirement]:
    return {canonicalize_name(one.name): one for one in map(Requirement, lines)}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy: a build leaves files beside its sources, and takes up what an older one left."""
    folder = tmp_path_factory.mktemp("wheel")
    unwanted = shutil.ignore_patterns(".*", "build", "*.egg-info", "__pycache__", "runs", "data")
    shutil.copytree(ROOT, folder / "source", ignore=unwanted)
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "--quiet"]
    subprocess.run([*build, "--wheel-dir", str(folder), str(folder / "source")], check=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def content(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def metadata(content: dict[str, bytes]) -> Message:
    return HeaderParser().parsestr(content[f"{INFO}/METADATA"].decode())


def test_the_wheel_holds_all_files_of_the_packages_and_nothing_else(content: dict[str, bytes]) -> None:
    ours = {
        str(path.relative_to(ROOT)): path
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert {name for name in content if not name.startswith(INFO)} == set(ours)
    assert all(content[name] == path.read_bytes() for name, path in ours.items())


def test_the_wheel_has_the_licences(content: dict[str, bytes]) -> None:
    assert f"{INFO}/licenses/LICENSE" in content
    assert f"{INFO}/licenses/streamchat/models/embedded/pretrained/NOTICE.md" in content


def test_the_commands_of_the_wheel_can_be_called(content: dict[str, bytes]) -> None:
    lines = content[f"{INFO}/entry_points.txt"].decode().splitlines()
    scripts = dict(line.split(" = ") for line in lines if " = " in line)
    assert set(scripts) == {"streamchat", "streamchat-eval"}
    assert all(callable(EntryPoint(name, value, "console_scripts").load()) for name, value in scripts.items())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--help"], "usage: streamchat [-h]"),
        (["app", "--help"], "usage: streamchat app "),
    ],
)
def test_the_command_plays_videos_and_starts_the_app_from_any_folder(
    wheel: Path, tmp_path: Path, arguments: list[str], said: str
) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
    code = "import sys; sys.argv[0] = 'streamchat'; from evaluation.app import command; sys.exit(command())"
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path / "installed")},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert said in done.stdout


def test_what_requirements_pin_is_within_the_ranges_of_the_package(metadata: Message) -> None:
    ranges = by_name(line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line)
    for name, pinned in requirements("requirements.txt").items():
        (pin,) = pinned.specifier
        assert name in ranges, f"{name} is no dependency in pyproject.toml"
        assert ranges[name].specifier.contains(pin.version), f"{pinned} is not within {ranges[name]}"
        assert str(ranges[name].marker) == str(pinned.marker)


def test_the_extra_for_tests_takes_what_requirements_pin() -> None:
    pins = requirements("requirements-dev.txt")
    for name, wanted in by_name(PROJECT["optional-dependencies"]["test"]).items():
        (pin,) = pins[name].specifier
        assert wanted.specifier.contains(pin.version), f"{pins[name]} is not within {wanted}"
