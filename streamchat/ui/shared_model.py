"""The model of the app: one for all its visitors."""

from __future__ import annotations

import threading
from collections.abc import Callable
from urllib.parse import urlsplit

from streamchat.checkpoints.choosing import BUILT_IN, CATALOGUE, Choice, Entry, choose
from streamchat.checkpoints.machine import this_machine
from streamchat.checkpoints.stored import cached, download
from streamchat.embedding import minilm
from streamchat.models import AUTO, REMOTE, load_best, load_model
from streamchat.models.base import Model
from streamchat.models.openai.server import parse_address


class SharedModel:
    """A model that is loaded once, with the text embedder, when the first visitor is there; all use it.

    `spec` "auto" takes the best one that is on this machine. While it, or the built-in one, is used, a better one can
    be taken with `upgrade`.
    """

    def __init__(
        self, spec: str, device: str | None = None, concurrency: int | None = None, *, thinking: bool = True
    ) -> None:
        self.spec = spec
        self._device = device
        self._concurrency = concurrency
        self._thinking = thinking
        self._loading = threading.Lock()
        self._upgrading = threading.Lock()
        self._model: Model | None = None
        self._owned = _server_of(spec)  # the one that the key of the environment is for; empty if there is none
        self._key: str | None = None  # of a server, if it was given with its address
        self._choice: Choice | None = None  # what this machine allows, of which "auto" takes the best

    @property
    def ready(self) -> bool:
        """Whether the model is loaded."""
        return self._model is not None

    @property
    def reason(self) -> str:
        """Why this model was taken; empty if it was asked for by name."""
        return self._choice.reason if self._choice and self.spec == AUTO else ""

    @property
    def better(self) -> Entry | None:
        """A model that would suit this machine better than the one that is used, if there is one."""
        if self._choice is None:
            return None
        if self.better_is_here:
            return next(entry for entry in CATALOGUE if entry.repo == self._choice.spec)
        return self._choice.better

    @property
    def better_is_here(self) -> bool:
        """Whether the better model is on this machine, and need not be fetched."""
        return self._choice is not None and self.spec == BUILT_IN and self._choice.spec != BUILT_IN

    def get(self) -> Model:
        """The model; waits until it is loaded. Raises StreamChatError if it cannot be."""
        if self._model is not None:
            return self._model
        with self._loading:
            if self._model is None:
                minilm()
                self._model = self._load()
            return self._model

    def upgrade(self, progress: Callable[[int, int], None]) -> None:
        """Fetch the better model, and use it from the next session on; `progress` gets bytes done and in all.

        Raises StreamChatError, and keeps the model as it is, if that fails.
        """
        with self._upgrading:
            better = self.better
            if better is None:  # another visitor was quicker
                return
            if not self.better_is_here:
                download(better.repo, progress)
            self._change(AUTO if self.spec == AUTO else better.repo, None)

    def switch(self, spec: str, key: str = "") -> None:
        """Use another model from the next session on; `key` is for its server, if it wants one.

        The key of the environment goes to the server that the app was started with, and to no other. Raises
        StreamChatError, and keeps the model as it is, if that fails.
        """
        with self._upgrading:
            owned = not key and _server_of(spec) == self._owned
            self._change(spec, None if owned else key)

    def _change(self, spec: str, key: str | None) -> None:
        before = self.spec, self._key, self._choice
        try:
            self.spec, self._key, self._choice = spec, key, None
            self._model = self._load()
        except BaseException:
            self.spec, self._key, self._choice = before
            raise

    def _load(self) -> Model:
        if self.spec.startswith(f"{REMOTE}:"):
            return load_model(
                self.spec,
                device=self._device,
                concurrency=self._concurrency,
                thinking=self._thinking,
                key=self._key,
            )
        if self.spec == BUILT_IN:
            self._choice = choose(this_machine(None), cached)
        if self.spec != AUTO:
            return load_model(self.spec, device=self._device)
        model, self._choice = load_best(self._device)
        return model


def _server_of(spec: str) -> str:
    """Scheme, host and port of a model server; empty for other models."""
    if not spec.startswith(f"{REMOTE}:"):
        return ""
    parts = urlsplit(parse_address(spec.removeprefix(f"{REMOTE}:"))[0])
    return f"{parts.scheme}://{parts.netloc}".lower()
