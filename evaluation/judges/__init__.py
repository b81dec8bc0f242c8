"""Judges: each file here is one, found by its name; `judge` grades a run's answers with one of them."""

from __future__ import annotations

from evaluation.judges.base import Grade, Judge
from streamchat import plugin

__all__ = ["Grade", "Judge", "build", "names"]


def names() -> tuple[str, ...]:
    """The judges; `openai` takes URL#NAME behind a colon, `llama3` the folder or name of another model."""
    return plugin.names(__name__)


def build(spec: str) -> Judge:
    """A judge by its name; InputError, with the choices, for an unknown one."""
    name, _, argument = spec.partition(":")
    judge: Judge = plugin.load(__name__, name).build(argument)
    return judge
