"""The conversation beside the player: ask, stop, retry, edit, clear; answers stream in."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from html import escape, unescape
from pathlib import Path
from typing import Any

import gradio as gr

from streamchat.clock import timestamp
from streamchat.errors import InputError, StreamChatError
from streamchat.session.alerts import MOST_ALERTS
from streamchat.session.answer import AnswerStream
from streamchat.session.questions import check_question
from streamchat.types import Answer
from streamchat.ui import components
from streamchat.ui.conversation import provenance
from streamchat.ui.session_manager import SessionManager
from streamchat.ui.user_session import UserSession

log = logging.getLogger(__name__)

WELCOME = (
    "Ask about the video while it plays.\n\nUpload a video, pick an example or start the camera; then write below."
)
SUGGESTIONS = (
    "What is shown now?",
    "What happened so far?",
    "How many people are there?",
    "Which words were on the screen?",
)
HERE, WHOLE = "here", "whole"  # what a question is about
ONLY_THE_LAST = "only the last question can be changed: what came after an older one was said with it in mind"


class ChatPanel:
    """Layout and events of the conversation; made inside a `gr.Blocks`."""

    def __init__(self, sessions: SessionManager) -> None:
        self._sessions = sessions
        self.chat = gr.Chatbot(
            label="Conversation",
            elem_id="chat",
            height=432,
            placeholder=WELCOME,
            examples=[{"text": text} for text in SUGGESTIONS],
            buttons=["copy"],
            editable="user",
            feedback_options=None,
            render_markdown=False,  # what is asked, and what is read on the screen, is shown as it is
        )
        with gr.Row(equal_height=True, elem_id="sc-asking"):
            self.question = gr.Textbox(
                placeholder="Ask about the video",
                label="Question",
                show_label=False,
                container=False,
                elem_id="question",
                scale=5,
                min_width=120,
                max_lines=3,
            )
            self.send = gr.Button("Ask", variant="primary", elem_id="ask", scale=1, min_width=64)
            self.stop = gr.Button("Stop", elem_id="stop", scale=1, min_width=64, interactive=False)
        self.scope = gr.Radio(
            [("Up to here", HERE), ("The whole video", WHOLE)],
            value=HERE,
            label="What questions are about",
            show_label=False,
            container=False,
            elem_id="scope",
        )
        self.hint = gr.HTML(
            '<p class="sc-hint">A question is about what was shown up to the moment you ask it.</p>', elem_id="hint"
        )

        self.alerts = gr.Dropdown(
            [],
            value=[],
            multiselect=True,
            allow_custom_value=True,
            max_choices=MOST_ALERTS,
            label="Tell me when …",
            info="Write what to wait for, then Enter: a dog appears. What is found is posted in the chat.",
            elem_id="alerts",
        )

    def listen(self, video: gr.Video) -> None:
        """Connect the events; the questions are about the player's position."""
        quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "concurrency_limit": None}
        changed = [self.question, self.chat, self.send, self.stop]
        gr.on(
            [self.send.click, self.question.submit],
            self._ask,
            [self.question, self.scope, video],
            changed,
            trigger_mode="once",
            **quiet,
        )
        self.chat.example_select(self._suggested, [self.scope, video], changed, trigger_mode="once", **quiet)
        self.chat.retry(self._retry, None, changed, trigger_mode="once", **quiet)
        self.chat.edit(self._edit, None, changed, trigger_mode="once", **quiet)
        self.chat.clear(self._clear, None, None, **quiet)
        self.alerts.change(self._wait_for, self.alerts, None, **quiet)
        self.stop.click(self._stop, None, self.stop, **quiet)

    def _ask(self, question: str, scope: str, video: gr.Video, request: gr.Request) -> Iterator[Any]:
        """Stream the answer to a question about what was shown up to the player's position, or in all of the video."""
        visitor = str(request.session_hash)
        try:
            video_path = None if video.value is None else Path(video.value)
            user_session = self._sessions.watching(visitor, video_path)
            check_question(question)
            idle = True
        except InputError as error:
            warn(error, title="Nothing was asked")
            idle = False
        if not idle:
            yield gr.skip(), gr.skip(), gr.skip(), gr.skip()
            return
        asked = user_session.moment_of(video.playback_position or 0.0, scope == WHOLE)
        yield from self._answered(
            visitor, user_session, question, asked, lambda: user_session.session.ask(question, asked)
        )

    def _suggested(self, scope: str, video: gr.Video, chosen: gr.SelectData, request: gr.Request) -> Iterator[Any]:
        yield from self._ask(str(chosen.value["text"]), scope, video, request)

    def _retry(self, chosen: gr.RetryData, request: gr.Request) -> Iterator[Any]:
        yield from self._ask_again(None, chosen.index, request)

    def _edit(self, chosen: gr.EditData, request: gr.Request) -> Iterator[Any]:
        yield from self._ask_again(unescape(str(chosen.value)), chosen.index, request)

    def _ask_again(self, question: str | None, index: Any, request: gr.Request) -> Iterator[Any]:
        """Replace the last round: the same question, or another one, at the moment of the last."""
        visitor = str(request.session_hash)
        user_session = self._sessions.get(visitor)
        if user_session is None:
            yield gr.skip(), gr.skip(), gr.skip(), gr.skip()
            return
        last = user_session.conversation.last_question
        number = index[0] if isinstance(index, list | tuple) else index
        try:
            if last is None or number < (user_session.conversation.index_of_last_question() or 0):
                raise InputError(ONLY_THE_LAST)
            text = last.question if question is None else question
            assert text is not None  # of a question
            check_question(text)
        except InputError as error:
            warn(error, title="Nothing was asked")
            yield gr.skip(), user_session.conversation.messages(), gr.skip(), gr.skip()
            return
        assert last is not None
        yield from self._answered(visitor, user_session, text, last.at_seconds, lambda: user_session.ask_again(text))

    def _answered(
        self,
        visitor: str,
        user_session: UserSession,
        question: str,
        at_seconds: float | None,
        ask: Callable[[], AnswerStream],
    ) -> Iterator[Any]:
        """The page while an answer is on its way, and after it; nothing while another one is."""
        if not user_session.asking.acquire(blocking=False):
            yield gr.skip(), gr.skip(), gr.skip(), gr.skip()
            return
        question = question.strip()
        busy, idle = gr.update(interactive=False), gr.update(interactive=True)
        begins = "", busy, idle
        try:
            user_session.stop_asked, user_session.stream = False, None
            with closing(self._answer(user_session, question, at_seconds, ask)) as texts:
                for text in texts:
                    # Once another video was opened, the page is not this one's.
                    if self._sessions.get(visitor) is not user_session:
                        return
                    box, send, stop = begins
                    yield box, user_session.conversation.messages(question, text), send, stop
                    begins = gr.skip(), gr.skip(), gr.skip()
        finally:  # also when a closed page ends the generator
            user_session.asking.release()
        if self._sessions.get(visitor) is not user_session:
            return
        yield gr.skip(), user_session.conversation.messages(), idle, gr.update(interactive=False)

    def _answer(
        self, user_session: UserSession, question: str, at_seconds: float | None, ask: Callable[[], AnswerStream]
    ) -> Generator[str, None, None]:
        """The answer as it grows; at its end it, or as much as there is of it, stands in the conversation.

        `at_seconds` None is the end.
        """
        text = ""
        wanted = user_session.duration_seconds if at_seconds is None else at_seconds
        try:
            # To find the picture of a moment may take seconds, in some files.
            yield "…" if at_seconds is None else f"Looking at {timestamp(at_seconds)} …"
            for seconds in user_session.until_ingested(at_seconds):
                yield components.progress_text(seconds, wanted)
            user_session.stream = None if user_session.stop_asked else ask()
            for piece in user_session.stream or ():
                text += piece
                yield text
                if user_session.stop_asked:
                    break
        except Exception as error:
            log.error("answering failed", exc_info=None if isinstance(error, StreamChatError) else error)
            warn(error, title="The answer broke off", duration=None)
        finally:  # also when a closed page ends the generator
            if user_session.stream is None:
                reached = user_session.session.stats().position_seconds
                user_session.conversation.add(question, "", reached if at_seconds is None else at_seconds, (), "")
            else:
                user_session.stream.close()
                self._finish(user_session, question, user_session.stream)

    @staticmethod
    def _finish(user_session: UserSession, question: str, stream: AnswerStream) -> None:
        """Put the answer, or as much of it as there is, and its moments into the conversation."""
        answer: Answer = stream.answer
        user_session.last_timing, user_session.highlighted = answer.timing, stream.context.visited
        user_session.conversation.add(
            question, answer.text, answer.asked_at_seconds, answer.evidence, provenance(answer)
        )

    def _wait_for(self, questions: list[str], request: gr.Request) -> None:
        """Change the alerts."""
        try:
            self._sessions.wait_for(str(request.session_hash), questions)
        except InputError as error:
            warn(error, title="This cannot be waited for")

    def _clear(self, request: gr.Request) -> None:
        """Empty the conversation on the page; the memory of it stays."""
        user_session = self._sessions.get(str(request.session_hash))
        if user_session is not None:
            user_session.conversation.clear()

    def _stop(self, request: gr.Request) -> Any:
        """End the answer on its way at its next token."""
        user_session = self._sessions.get(str(request.session_hash))
        if user_session is not None:
            user_session.stop()
        return gr.update(interactive=False)


def warn(error: Exception, *, title: str, duration: float | None = 10.0) -> None:
    """A toast; its text is HTML to the page, and may hold the name of an uploaded file."""
    gr.Warning(f"{title}: {escape(str(error), quote=False)}", duration=duration)
