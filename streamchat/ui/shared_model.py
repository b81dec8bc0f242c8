"""The model of the app: one for all its visitors."""

from __future__ import annotations

import threading
from collections.abc import Callable

from streamchat.checkpoints.choosing import Choice, Entry
from streamchat.checkpoints.stored import download
from streamchat.embedding import minilm
from streamchat.models import AUTO, REMOTE, load_best, load_model
from streamchat.models.base import Model


class SharedModel:
    """A model that is loaded once, with the text embedder, when the first visitor is there; all use it.

    `spec` "auto" takes the best one that is on this machine; a better one can be fetched with `upgrade`.
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
        self._choice: Choice | None = None

    @property
    def ready(self) -> bool:
        """Whether the model is loaded."""
        return self._model is not None

    @property
    def reason(self) -> str:
        """Why this model was taken; empty if it was asked for by name."""
        return self._choice.reason if self._choice else ""

    @property
    def better(self) -> Entry | None:
        """A model that would suit this machine better and is not on it, if there is one."""
        return self._choice.better if self._choice else None

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
        """Fetch the better model, and use it from the next video on; `progress` gets bytes done and in all.

        Raises StreamChatError, and keeps the model as it is, if that fails.
        """
        with self._upgrading:
            if self.better is not None:  # another visitor may have been quicker
                download(self.better.repo, progress)
                self._model = self._load()

    def switch(self, spec: str) -> None:
        """Use another model from the next session on.

        Raises StreamChatError, and keeps the model as it is, if that fails.
        """
        with self._upgrading:
            before, choice = self.spec, self._choice
            try:
                self.spec, self._choice = spec, None
                self._model = self._load()
            except BaseException:
                self.spec, self._choice = before, choice
                raise

    def _load(self) -> Model:
        if self.spec.startswith(f"{REMOTE}:"):
            return load_model(self.spec, device=self._device, concurrency=self._concurrency, thinking=self._thinking)
        if self.spec != AUTO:
            return load_model(self.spec, device=self._device)
        model, self._choice = load_best(self._device)
        return model
