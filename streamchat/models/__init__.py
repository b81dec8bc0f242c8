"""Models: each file here is one backend, found by its name."""

from __future__ import annotations

from streamchat import plugin
from streamchat.errors import InputError
from streamchat.models.base import Model

__all__ = ["Model", "check_model_name", "load_model", "model_names"]


def model_names() -> tuple[str, ...]:
    """The names that `load_model` takes."""
    return plugin.names(__name__)


def check_model_name(spec: str) -> None:
    """Raise InputError with the allowed names unless `load_model` takes this one; loads nothing."""
    if spec not in model_names():
        raise InputError(f"unknown model {spec!r}: choose one of {', '.join(model_names())}")


def load_model(spec: str) -> Model:
    """Load a model by its name: "embedded" (real weights, CPU, no download) or "fake" (for tests).

    Raises InputError with the allowed names for an unknown one.
    """
    check_model_name(spec)
    model: Model = plugin.load(__name__, spec).build()
    return model
