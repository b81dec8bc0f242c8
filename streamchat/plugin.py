"""The file name is the registry: a module put into a package can be loaded by its name, with no list to keep.

Installed distributions add to it by an entry point, whose group is `streamchat.` and the package's own name, and whose
value is a module: `[project.entry-points."streamchat.selectors"]`, `scenes = "their_package.scenes"`. The groups are
`streamchat.models`, `.selectors`, `.sources`, `.benchmarks` and `.judges`.
"""

from __future__ import annotations

import importlib.util
import pkgutil
import warnings
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType

from streamchat.errors import InputError, StreamChatError


def names(package: str) -> tuple[str, ...]:
    """Names of the plugins of a package, sorted.

    Its files and folders are plugins, but for those with a leading underscore, `base`, and what the package lists as
    `NOT_PLUGINS`.
    """
    return tuple(sorted({*_files(package), *(point.name for point in entry_points(group=_group(package)))}))


def load(package: str, name: str) -> ModuleType:
    """Import the plugin `name` of `package`, such as ("streamchat.selectors", "uniform").

    Of several with one name the package's own file is taken, else the first that is installed, with a warning that
    names them. Raises InputError with the allowed names if there is no such plugin, and StreamChatError if an
    installed one cannot be imported.
    """
    installed = list(entry_points(group=_group(package), name=name))
    sources = [_source(point) for point in installed]
    own = name in _files(package)
    if own:
        sources.insert(0, f"{package}.{name}")
    if not sources:
        raise InputError(f"unknown {_kind(package)} {name!r}: choose one of {', '.join(names(package))}")
    if len(sources) > 1:
        ignored = ", ".join(sources[1:])
        warnings.warn(f"{_kind(package)} {name!r} is {sources[0]}; not used: {ignored}", stacklevel=2)
    return importlib.import_module(f"{package}.{name}") if own else _imported(package, installed[0])


def _files(package: str) -> set[str]:
    if importlib.util.find_spec(package) is None:  # such as sources, which all are installed ones
        return set()
    folder = importlib.import_module(package)
    found = {module.name for module in pkgutil.iter_modules(folder.__path__)}
    return {name for name in found - {"base", *getattr(folder, "NOT_PLUGINS", ())} if not name.startswith("_")}


def _imported(package: str, point: EntryPoint) -> ModuleType:
    try:
        return importlib.import_module(point.module)
    except ImportError as error:
        raise StreamChatError(
            f"cannot import the {_kind(package)} {point.name!r}, which is {_source(point)}: {error}"
        ) from error


def _source(point: EntryPoint) -> str:
    """Where an entry point leads, such as "their_package.scenes of their-distribution 1.0"."""
    return point.value if point.dist is None else f"{point.value} of {point.dist.name} {point.dist.version}"


def _group(package: str) -> str:
    """The group of entry points that adds to a package."""
    return f"streamchat.{package.rpartition('.')[2]}"


def _kind(package: str) -> str:
    return package.rpartition(".")[2].removesuffix("s")
