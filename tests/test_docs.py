"""What README, CONTRIBUTING and docs/ say: their commands run, their examples work, and their links lead somewhere.

A block of `sh` or `python` is run as it stands, on a real video, unless the comment before it says `not run:` and why.
Of those, and of commands within the text, ours must at least be understood by the parser that would read them, and
targets of make be there. The fake model takes the place of the built-in one, which is tried elsewhere.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import videos

from evaluation import app
from evaluation.__main__ import main as evaluate
from evaluation.__main__ import parser as evaluation_parser
from streamchat.__main__ import main as chat
from streamchat.__main__ import parser as chat_parser

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^(?:<!-- (?P<mark>[^\n]*?) -->\n)?```(?P<language>\w*)\n(?P<text>.*?)^```$", re.M | re.S)
LINK = re.compile(r"\]\(([^)\s]+)\)|(?:src|srcset|href)=\"([^\"]+)\"")
PROGRAMS: list[tuple[str, Callable[[list[str]], int], Callable[[str], ArgumentParser]]] = [
    (".venv/bin/python -m streamchat ", chat, chat_parser),
    (".venv/bin/python -m evaluation ", evaluate, evaluation_parser),
]
APPS = (".venv/bin/python app.py", "streamchat app")
MOST_LINES = 60  # of an example file


@dataclass(frozen=True)
class Block:
    """A block of code, and what the comment before it says."""

    document: str
    mark: str
    language: str
    text: str

    @property
    def commands(self) -> list[str]:
        """Its lines without the comments behind them."""
        return [re.sub(r"\s{2,}#.*", "", line).strip() for line in self.text.splitlines() if line.strip()]

    @property
    def title(self) -> str:
        return f"{self.document}: {self.text.splitlines()[0][:50]}"


def blocks() -> list[Block]:
    return [
        Block(path.name, found["mark"] or "", found["language"], found["text"])
        for path in DOCUMENTS
        for found in BLOCK.finditer(path.read_text())
    ]


def run_blocks(language: str, mark: str = "") -> list[Block]:
    return [block for block in blocks() if block.language == language and block.mark == mark]


def example_files() -> dict[str, str]:
    return {block.mark.removeprefix("file: "): block.text for block in blocks() if block.mark.startswith("file: ")}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that the documents speak of, in which the commands are run."""
    shutil.copy(videos.bikes(), tmp_path / "video.mp4")
    (tmp_path / "videos").mkdir()
    shutil.copy(videos.bikes(), tmp_path / "videos" / "kitchen.mp4")
    (tmp_path / "videos" / "questions.jsonl").write_text(
        '{"info": {"video_path": "kitchen.mp4", "class_1": "Ego", "class_2": "Cooking"}, "breakpoint": '
        '[{"time": 5, "question": "Where is the knife?", "answer": "On the board.", "class": "SM"}]}\n'
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def acme(place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The package of the examples, installed with the entry points that the document shows."""
    (points,) = [block.text for block in blocks() if block.language == "toml"]
    (place / "acme").mkdir()
    info = place / "acme-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n")
    ini = re.sub(r'\[project\.entry-points\."(.+)"\]', r"[\1]", points)
    (info / "entry_points.txt").write_text(re.sub(r'"([\w.]+)" *#.*', r"\1", ini))
    for name, text in example_files().items():
        (place / name).write_text(text)
    monkeypatch.syspath_prepend(place)
    before = set(sys.modules)
    yield
    for module in set(sys.modules) - before:
        if module.split(".")[0] == "acme":
            del sys.modules[module]


def run(command: str) -> None:
    for prefix, main, _ in PROGRAMS:
        if command.startswith(prefix):
            arguments = ["fake" if word == "embedded" else word for word in shlex.split(command.removeprefix(prefix))]
            takes_a_model = "--ask" in arguments or arguments[0] == "run"
            more = ["--model", "fake"] if takes_a_model and "--model" not in arguments else []
            assert main([*arguments, *more]) == 0, command
            return
    raise AssertionError(f"nothing runs {command!r}: mark its block with <!-- not run: why -->")


@pytest.mark.parametrize("block", run_blocks("sh"), ids=lambda block: block.title)
def test_commands_run(block: Block, place: Path) -> None:
    for command in block.commands:
        run(command)


def test_the_examples_are_a_package_that_plays_scores_and_judges(
    acme: None, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert len(example_files()) == 5
    assert all(len(text.splitlines()) < MOST_LINES for text in example_files().values())
    (block,) = run_blocks("sh", "with: acme")
    for command in block.commands:
        run(command)
    assert "it is light" in capsys.readouterr().out
    report = (place / "report" / "report.md").read_text()
    assert "contains" in report
    grades = "".join(path.read_text() for path in (place / "runs" / "lights").glob("grades.*.ndjson"))
    assert grades.count('"correct": true') == 2


@pytest.mark.parametrize("block", run_blocks("python"), ids=lambda block: block.title)
def test_python_runs(block: Block, place: Path) -> None:
    exec(compile(block.text.replace('"embedded"', '"fake"'), block.title, "exec"), {"__name__": "__main__"})


def test_what_is_not_run_says_why_and_is_understood_by_its_program() -> None:
    unrun = [block for block in blocks() if block.mark.startswith("not run: ")]
    assert all(len(block.mark) > len("not run: ") for block in unrun)
    for command in [command for block in unrun if block.language == "sh" for command in block.commands]:
        understand(command)


def test_commands_within_the_text_are_understood_by_their_programs() -> None:
    texts = [BLOCK.sub("", path.read_text()) for path in DOCUMENTS]
    found = [" ".join(code.split()) for text in texts for code in re.findall(r"`([^`]+)`", text)]
    commands = [
        f".venv/bin/{code.removeprefix('.venv/bin/')}" for code in found if re.match(r"(\.venv/bin/)?python ", code)
    ]
    assert commands
    for command in commands:
        if "…" not in command:
            understand(command)
    for command in [code for code in found if re.fullmatch(r"make [\w-]+", code)]:
        understand(command)


def understand(command: str) -> None:
    """Fail if a command of ours has arguments that its parser does not know."""
    readers = {prefix: parser for prefix, _, parser in PROGRAMS} | dict.fromkeys(APPS, app.parser)
    for prefix, parser in readers.items():
        if command.startswith(prefix):
            arguments = shlex.split(command.removeprefix(prefix))
            if "--help" not in arguments:  # which ends the program
                parser("program").parse_args(arguments)  # ends it too if they are wrong, and says why
    if command.startswith("make "):
        subprocess.run([*shlex.split(command), "--dry-run"], cwd=ROOT, check=True, capture_output=True)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_to_files_and_headings(path: Path) -> None:
    text = path.read_text()
    for found in LINK.finditer(BLOCK.sub("", text)):
        link = found[1] or found[2]
        if re.match(r"https?:|mailto:", link):
            continue
        name, _, anchor = link.partition("#")
        target = path.parent / name if name else path
        assert target.exists(), f"{path.name}: {link}"
        assert not anchor or anchor in anchors(target.read_text()), f"{path.name}: {link}"


def anchors(text: str) -> set[str]:
    """The names that GitHub gives to headings."""
    titles = re.findall(r"^#+ (.+)$", BLOCK.sub("", text), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_files_that_are_named_are_there() -> None:
    for path in DOCUMENTS:
        named = re.findall(r"`((?:streamchat|evaluation|tests|assets|docs)/[\w./]*)`", path.read_text())
        missing = [name for name in named if not (ROOT / name).exists()]
        assert not missing, f"{path.name}: {missing}"
