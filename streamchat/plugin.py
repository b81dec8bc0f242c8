"""The file name is the registry: a module put into a package can be loaded by its name, with no list to keep."""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType

from streamchat.errors import InputError


def names(package: str) -> tuple[str, ...]:
    """Names of the plugins in a package, sorted; `base` and names with a leading underscore are not plugins."""
    path = importlib.import_module(package).__path__
    found = (module.name for module in pkgutil.iter_modules(path))
    return tuple(sorted(name for name in found if name != "base" and not name.startswith("_")))


def load(package: str, name: str) -> ModuleType:
    """Import the plugin `name` of `package`, such as ("streamchat.selectors", "uniform").

    Raises InputError with the allowed names if there is no such plugin.
    """
    allowed = names(package)
    if name not in allowed:
        kind = package.rpartition(".")[2].removesuffix("s")
        raise InputError(f"unknown {kind} {name!r}: choose one of {', '.join(allowed)}")
    return importlib.import_module(f"{package}.{name}")
