"""Models: each file here is one backend, found by its name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from streamchat import plugin
from streamchat.checkpoints.choosing import BUILT_IN, Choice, choose
from streamchat.checkpoints.machine import this_machine
from streamchat.checkpoints.stored import cached
from streamchat.errors import InputError
from streamchat.models.base import Model

__all__ = ["Model", "check_model_name", "load_best", "load_model", "load_random_model", "model_names"]

NOT_PLUGINS = ("prompts", "scheduler")
AUTO, REMOTE = "auto", "openai"
HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")


def model_names() -> tuple[str, ...]:
    """The backends: the names that `load_model` takes, some of them with an argument behind a colon."""
    return plugin.names(__name__)


def check_model_name(spec: str) -> None:
    """Raise InputError with what is allowed unless `load_model` takes this; loads nothing."""
    if spec != AUTO:
        _parse(spec)


def load_model(
    spec: str,
    *,
    device: str | None = None,
    concurrency: int | None = None,
    thinking: bool = True,
    key: str | None = None,
) -> Model:
    """Load a model by its name.

    "auto" (the best that is on this machine and suits it), "embedded" (real weights, CPU, no download), "fake" (for
    tests), "openai:URL#NAME" (a server), or a vision-language model: the folder of a checkpoint, or its name on the
    Hugging Face Hub ("Qwen/Qwen3-VL-4B-Instruct"), which must have been downloaded. `device` is such as "cpu" or
    "cuda:0"; by default the first GPU, if there is one. `concurrency` is how many requests a server gets at once, 8 by
    default; without `thinking` it is asked to let its model answer at once; `key` is given to it in place of that of
    the environment. Raises InputError for a name that is none of these.
    """
    backend, argument = (AUTO, "") if spec == AUTO else _parse(spec)
    settings: dict[str, Any] = {} if concurrency is None else {"concurrency": concurrency}
    settings |= {} if thinking else {"thinking": False}
    settings |= {} if key is None else {"key": key}
    if not thinking and backend != REMOTE:
        raise InputError(f"thinking is turned off for a model server ({REMOTE}:URL#NAME), got it with {spec!r}")
    if key is not None and backend != REMOTE:
        raise InputError(f"a key is for a model server ({REMOTE}:URL#NAME), got one with {spec!r}: leave it out")
    if concurrency is not None and backend != REMOTE:
        raise InputError(f"a concurrency is for a model server ({REMOTE}:URL#NAME), got it with {spec!r}: leave it out")
    if concurrency is not None and concurrency < 1:
        raise InputError(f"the concurrency must be 1 or more, got {concurrency}")
    if backend == AUTO:
        return load_best(device)[0]
    model: Model = plugin.load(__name__, backend).build(argument, device, **settings)
    return model


def load_best(device: str | None = None) -> tuple[Model, Choice]:
    """Load the best model that is on this machine and suits it, and say why; fetches nothing, and asks no network."""
    choice = choose(this_machine(device), cached)
    return load_model(choice.spec, device=None if choice.spec == BUILT_IN else device), choice


def load_random_model(architecture: str, *, device: str | None = None) -> Model:
    """Make a model of a real one's full size with random weights, without a download, for measuring speed only.

    Raises InputError, with the choices, for an architecture whose configuration does not ship.
    """
    model: Model = plugin.load(__name__, "transformers").build_random(architecture, device)
    return model


def _parse(spec: str) -> tuple[str, str]:
    """The backend's name and its argument."""
    backend, _, argument = spec.partition(":")
    if backend in model_names():
        return backend, argument
    if Path(spec).is_dir() or HUB_NAME.fullmatch(spec):
        return "transformers", spec
    raise InputError(
        f"unknown model {spec!r}: choose one of {AUTO}, {', '.join(model_names())}, the folder of a checkpoint, "
        "a name on the Hugging Face Hub such as Qwen/Qwen3-VL-4B-Instruct, or openai:URL#NAME"
    )
