"""The floors of DESIGN: a file imports lower floors and files of its own package only."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FLOORS = {
    "streamchat.types": 0,
    "streamchat.addresses": 0,
    "streamchat.proxies": 0,
    "streamchat.errors": 0,
    "streamchat.options": 0,
    "streamchat.clock": 0,
    "streamchat.channel": 0,
    "streamchat.digests": 0,
    "streamchat.threads": 0,
    "streamchat.terminal": 0,
    "streamchat.plugin": 0,
    "streamchat.video": 1,
    "streamchat.embedding": 1,
    "streamchat.picture_encoder": 2,
    "streamchat.checkpoints": 1,
    "streamchat.selectors": 2,
    "streamchat.models": 3,
    "streamchat.memory": 4,
    "streamchat.retrieval": 5,
    "streamchat.session": 6,
    "streamchat.ui": 7,
    "streamchat.__main__": 7,
    "evaluation": 7,
    "evaluation.app": 8,
    "app": 9,
}
FILES = sorted([*ROOT.glob("streamchat/**/*.py"), *ROOT.glob("evaluation/**/*.py"), ROOT / "app.py"])


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def home_of(module: str) -> str | None:
    """The longest name in the table that the module is or belongs to."""
    names = [name for name in FLOORS if module == name or module.startswith(name + ".")]
    return max(names, key=len, default=None)


def imports_of(path: Path) -> set[str]:
    """Modules of this project that a file imports, when it is loaded, later, or for types alone."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{name.name}" for name in node.names}
    return {name for name in found if name.split(".")[0] in ("streamchat", "evaluation", "app")}


@pytest.mark.parametrize("path", FILES, ids=[str(path.relative_to(ROOT)) for path in FILES])
def test_a_file_imports_lower_floors_only(path: Path) -> None:
    module = module_of(path)
    if module == "streamchat":
        return  # the package's face: names are imported when they are used
    home = home_of(module)
    assert home is not None, f"{module} has no floor: add it to FLOORS"
    for imported in imports_of(path):
        target = home_of(imported)
        if target is None or target == home or FLOORS[target] == FLOORS[home] == 0:
            continue
        assert FLOORS[target] < FLOORS[home], f"{module} (floor {FLOORS[home]}) imports {imported}"


def test_no_circle_of_imports() -> None:
    modules = {module_of(path): path for path in FILES}
    below: dict[str, set[str]] = {
        module: {max((m for m in modules if f"{name}.".startswith(f"{m}.")), key=len) for name in imports_of(path)}
        for module, path in modules.items()
        if module != "streamchat"
    }

    def visit(module: str, above: tuple[str, ...]) -> None:
        assert module not in above, " -> ".join((*above, module))
        for lower in below.get(module, set()) - {module}:
            visit(lower, (*above, module))

    for module in below:
        visit(module, ())


def test_streamchat_never_imports_evaluation() -> None:
    for path in ROOT.glob("streamchat/**/*.py"):
        assert not any(name.startswith(("evaluation", "app")) for name in imports_of(path)), path


def test_only_the_live_session_starts_threads_of_its_own() -> None:
    starters = {
        str(path.relative_to(ROOT))
        for path in FILES
        if any(
            isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("threading.Thread", "ThreadPoolExecutor"))
            for node in ast.walk(ast.parse(path.read_text()))
        )
    }
    measured = {"evaluation/speed/visitors.py"}  # who ask at the same moment
    beside = {"streamchat/models/embedded/frame_analysis.py"}  # one library beside another, within one call
    assert starters <= {"streamchat/session/live.py"} | measured | beside
