"""The first tab: a video plays or a camera runs, the stream is ingested, and a person asks about it."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

from streamchat.errors import StreamChatError
from streamchat.ui import components, examples
from streamchat.ui.chat import ChatPanel, warn
from streamchat.ui.live import CameraPanel, LivePanel
from streamchat.ui.model_panel import ModelPanel
from streamchat.ui.persistence import PersistencePanel
from streamchat.ui.session_manager import SessionManager
from streamchat.ui.theme import PLAY

log = logging.getLogger(__name__)

QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "concurrency_limit": None}


class WatchTab:
    """Layout and events of the tab; made inside a `gr.Blocks`."""

    def __init__(self, sessions: SessionManager) -> None:
        self._sessions = sessions
        # A value that is the same as the one before would not reach the page's script.
        self._versions = itertools.count()
        self._layout()
        self._events()

    def _layout(self) -> None:
        self.model = ModelPanel(self._sessions)
        with gr.Row(equal_height=False):
            with gr.Column(scale=6, min_width=320), gr.Tabs(elem_id="source"):
                with gr.Tab("Video"):
                    self._video_layout()
                with gr.Tab("Camera"):
                    self.camera = CameraPanel(self._sessions)
            with gr.Column(scale=5, min_width=320):
                self.chat = ChatPanel(self._sessions)
                self.persistence = PersistencePanel(self._sessions)
        self.live = LivePanel(self._sessions)

    def _video_layout(self) -> None:
        self.video = gr.Video(label="Video", elem_id="player", sources=["upload"], height=400, buttons=[])
        gr.HTML('<p class="sc-hint">Or begin with one of these</p>', elem_id="sc-or")
        with gr.Row(elem_id="sc-examples"):
            self.examples = [
                gr.Button(title, elem_id=f"example-{number}", size="sm", min_width=96)
                for number, title in enumerate(examples.titles())
            ]
        with gr.Row(elem_id="sc-pace"):
            self.rest = gr.Button("Process the whole video now", elem_id="rest", size="sm", interactive=False)
            gr.HTML(components.speeds(), elem_id="speed", min_width=90)

    def _events(self) -> None:
        gr.on(None, self._load, None, [*self.model.outputs, self.live.html, self.camera.html], **QUIET)
        for button, title in zip(self.examples, examples.titles(), strict=True):
            button.click(partial(self._example, title), None, self.video, **QUIET)
        chat = self.chat
        opened = [chat.chat, self.rest, chat.send, chat.stop, self.live.html, self.camera.html]
        loaded = [self.video, *opened, chat.alerts]
        self.video.change(self._open, self.video, [self.video, *opened], **QUIET).then(None, None, None, js=PLAY)
        self.camera.html.begun(self._open_camera, None, [self.video, *opened], **QUIET)
        self.rest.click(self._rest, None, self.rest, **QUIET)
        self.live.html.posted(self._posted, None, chat.chat, **QUIET)
        chat.listen(self.video)
        self.persistence.listen(self._loaded, loaded)
        self.model.listen(opened, self._opened)

    def _load(self, request: gr.Request) -> Iterator[Any]:
        """Load the model once the page is there; the page gets its secret."""
        page = self._page(str(request.session_hash))
        for number, shown in enumerate(self.model.loaded()):
            yield *shown, *([page, page] if number == 0 else [gr.skip(), gr.skip()])

    def _page(self, visitor: str) -> dict[str, Any]:
        """What the live parts of a page know it by; `session` distinguishes one session from the next."""
        user_session = self._sessions.get(visitor)
        return {
            "key": self._sessions.key_of(visitor),
            "session": 0 if user_session is None else user_session.number,
            "camera": user_session is not None and user_session.camera is not None,
            "version": next(self._versions),
            "begins": 0.0 if user_session is None else user_session.begins_seconds,
        }

    @staticmethod
    def _example(title: str) -> Any:
        """The path of an example."""
        try:
            return str(examples.video(title))
        except (StreamChatError, OSError) as error:
            warn(error, title="This video cannot be shown", duration=None)
            return gr.skip()

    def _open(self, video_path: str | None, request: gr.Request) -> Any:
        """Begin the video that was uploaded or picked, or end the one that was cleared."""
        visitor = str(request.session_hash)
        if video_path is None:
            user_session = self._sessions.get(visitor)
            # Otherwise a camera or a loaded session took the video's place.
            if user_session is None or user_session.video_path is not None:
                self._sessions.close(visitor)
            return gr.skip(), *self._opened(visitor)
        before = self._sessions.get(visitor)
        good = self._tried(lambda: self._sessions.open(visitor, Path(video_path)), "This video cannot be used")
        user_session = self._sessions.get(visitor)
        loaded = before.conversation if before is not None and before.is_loaded else None
        if good and user_session and loaded not in (None, user_session.conversation):
            gr.Info("The session that was loaded has ended: this is another video than the one that it had seen.")
        return gr.skip() if good else None, *self._opened(visitor)

    def _loaded(self, visitor: str) -> tuple[Any, ...]:
        """The page once a saved session was loaded: its video is not here, its alerts are."""
        return None, *self._opened(visitor), self._sessions.alerts_of(visitor)

    def _open_camera(self, request: gr.Request) -> Any:
        """Begin a session with the visitor's camera."""
        visitor = str(request.session_hash)
        good = self._tried(lambda: self._sessions.open_camera(visitor), "The camera cannot be used")
        return None if good else gr.skip(), *self._opened(visitor)

    @staticmethod
    def _tried(work: Callable[[], None], title: str) -> bool:
        """Whether it succeeded; an error is shown."""
        try:
            work()
        except Exception as error:
            log.error("%s", title, exc_info=None if isinstance(error, StreamChatError) else error)
            warn(error, title=title, duration=None)
            return False
        return True

    def _opened(self, visitor: str) -> tuple[Any, ...]:
        """The page of the session that is open now: chat, button for the rest, ask, stop, live parts."""
        user_session = self._sessions.get(visitor)
        page = self._page(visitor)
        messages = [] if user_session is None else user_session.conversation.messages()
        rest = gr.update(interactive=user_session is not None and user_session.video_path is not None)
        return messages, rest, gr.update(interactive=True), gr.update(interactive=False), page, page

    def _rest(self, request: gr.Request) -> Any:
        user_session = self._sessions.get(str(request.session_hash))
        if user_session is not None:
            user_session.ingest_the_rest()
        return gr.update(interactive=False)

    def _posted(self, request: gr.Request) -> Any:
        """Show what an alert found, unless an answer is on its way, which shows it as well."""
        user_session = self._sessions.get(str(request.session_hash))
        return gr.skip() if user_session is None or user_session.answering else user_session.conversation.messages()
