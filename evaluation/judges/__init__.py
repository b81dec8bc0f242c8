"""Judges: each file here is one, found by its name; `judge` grades a run's answers with one of them."""

from __future__ import annotations

from evaluation.judges.base import Grade, Judge, Prompt, read_prompt
from streamchat import plugin

__all__ = ["Grade", "Judge", "Prompt", "build", "names", "read_prompt"]


def names() -> tuple[str, ...]:
    """The judges; `openai` takes URL#NAME behind a colon, `llama3` the folder or name of another model."""
    return plugin.names(__name__)


def build(spec: str, prompt: Prompt | None = None) -> Judge:
    """A judge by its name, with its own prompt or another.

    Raises InputError, with the choices, for an unknown one, and for a prompt that it has no use for.
    """
    name, _, argument = spec.partition(":")
    judge: Judge = plugin.load(__name__, name).build(argument, prompt)
    return judge
