"""The visitors of the app: one model for all, and one live session for each."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gradio as gr

from streamchat.checkpoints.choosing import Choice, Entry
from streamchat.checkpoints.stored import download
from streamchat.config import Options
from streamchat.embedding import minilm
from streamchat.engine import AnswerStream, StreamChat
from streamchat.errors import InputError
from streamchat.models import AUTO, load_best, load_model
from streamchat.models.base import Model
from streamchat.pipeline import LiveSession
from streamchat.video import open_video

WAIT_SECONDS = 0.5  # a question that waits for the end of the film says this often how far it is
OPEN_SECONDS = 10.0  # a question waits this long for the film that the page already shows
READ_AHEAD_SECONDS = 1.0  # the reader may be this far ahead of the player, whose position comes twice a second


class SharedModel:
    """A model that is loaded once, with the text embedder, when the first visitor is there; all use it.

    `spec` "auto" takes the best one that is on this machine; a better one can be fetched with `upgrade`.
    """

    def __init__(self, spec: str, device: str | None = None) -> None:
        self.spec = spec
        self._device = device
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
        """Fetch the better model, and use it from the next film on; `progress` gets bytes done and in all.

        Raises StreamChatError, and keeps the model as it is, if that fails.
        """
        with self._upgrading:
            if self.better is not None:  # another visitor may have been quicker
                download(self.better.repo, progress)
                self._model = self._load()

    def _load(self) -> Model:
        if self.spec != AUTO:
            return load_model(self.spec, device=self._device)
        model, self._choice = load_best(self._device)
        return model


@dataclass(slots=True)
class Visit:
    """A film that one visitor watches, and the conversation about it."""

    film: Path
    duration_seconds: float | None
    session: LiveSession
    to_the_end: bool = False  # the rest is taken in at full speed, and a question means the end
    error_shown: bool = False
    messages: list[dict[str, Any]] = field(default_factory=list)  # the conversation as the page shows it
    delay_seconds: float | None = None  # of the last answer
    answering: bool = False  # one question at a time
    stop_asked: bool = False  # the answer on its way is to end

    def follow(self, player_seconds: float) -> None:
        """Let the reader follow the player."""
        if not self.to_the_end:
            self.session.play_until(player_seconds + READ_AHEAD_SECONDS)

    def take_in_the_rest(self) -> None:
        """Let the reader run to the end at full speed."""
        self.to_the_end = True
        self.session.play_until(math.inf)

    def ask(self, question: str, player_seconds: float) -> AnswerStream:
        """Ask about what was shown up to the player's position, or, once the rest is taken in, about all of it."""
        return self.session.ask(question, None if self.to_the_end else player_seconds)

    def until_the_end(self) -> Iterator[float]:
        """Wait until all that a question is about was taken in; gives the position in seconds meanwhile.

        Ends at once for a question about the player's moment, after an error, and when the answer is stopped.
        """
        while self.to_the_end and not self.stop_asked and self.session.error is None:
            if self.session.wait_until(lambda stats: self.stop_asked or stats.finished, WAIT_SECONDS):
                return
            yield self.session.stats().position_seconds


class Visitors:
    """The live sessions by visitor; each visitor has one film at a time."""

    def __init__(self, model: SharedModel, options: Options) -> None:
        self.model = model
        self.options = options
        self._changed = threading.Condition()
        self._visits: dict[str, Visit] = {}
        self._opening: set[str] = set()

    def __len__(self) -> int:
        return len(self._visits)

    def open(self, visitor: str, film: Path) -> None:
        """Begin a film for a visitor, in place of the one before; raises InputError if it is not a video."""
        with self._changed:
            self._changed.wait_for(lambda: visitor not in self._opening)
            self._opening.add(visitor)
        try:
            self._end(visitor)
            video = open_video(film, max_side=self.options.max_side)
            session = LiveSession(StreamChat(self.model.get(), self.options), video)
            self._visits[visitor] = Visit(film, video.duration_seconds, session)
            session.start()
        finally:
            with self._changed:
                self._opening.discard(visitor)
                self._changed.notify_all()

    def get(self, visitor: str) -> Visit | None:
        """The visitor's film, if one is open."""
        return self._visits.get(visitor)

    def watching(self, visitor: str, film: Path | None) -> Visit:
        """The visitor's visit to the film that the page shows; raises InputError if there is none.

        Waits while the film is being opened, and a moment for one that the page shows already.
        """

        def there() -> bool:
            visit = self._visits.get(visitor)
            return visitor not in self._opening and (film is None or (visit is not None and visit.film == film))

        with self._changed:
            self._changed.wait_for(lambda: visitor not in self._opening)
            self._changed.wait_for(there, OPEN_SECONDS)
        visit = self.get(visitor)
        if visit is None:
            raise InputError("there is no video yet: upload one or pick an example, then ask")
        return visit

    def close(self, visitor: str) -> None:
        """End a visitor's session, if there is one, also one that is just being opened."""
        with self._changed:
            self._changed.wait_for(lambda: visitor not in self._opening)
        self._end(visitor)

    def _end(self, visitor: str) -> None:
        visit = self._visits.pop(visitor, None)
        if visit is not None:
            visit.stop_asked = True  # nobody reads the answer that is on its way
            visit.session.close()

    def leave(self, request: gr.Request) -> None:
        """End the session of a visitor whose page was closed."""
        self.close(str(request.session_hash))

    def close_all(self) -> None:
        """End every session, without waiting for one that is just being opened."""
        for visitor in list(self._visits):
            self._end(visitor)
