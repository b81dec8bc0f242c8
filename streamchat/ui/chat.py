"""The conversation beside the player: ask, stop, retry, edit, clear; answers stream in."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from html import escape, unescape
from pathlib import Path
from typing import Any

import gradio as gr

from streamchat.errors import InputError, StreamChatError
from streamchat.session.alerts import MOST_STANDING
from streamchat.session.answer import AnswerStream
from streamchat.session.questions import check_question
from streamchat.types import Answer
from streamchat.ui import components
from streamchat.ui.conversation import made_of
from streamchat.ui.session_manager import Visitors
from streamchat.ui.user_session import Visit

log = logging.getLogger(__name__)

WELCOME = "Ask about the video while it plays.\n\nUpload a film, pick an example or start the camera; then write below."
SUGGESTIONS = (
    "What is shown now?",
    "What happened so far?",
    "How many people are there?",
    "Which words were on the screen?",
)
ONLY_THE_LAST = "only the last question can be changed: what came after an older one was said with it in mind"


class ChatPanel:
    """Layout and events of the conversation; made inside a `gr.Blocks`."""

    def __init__(self, visitors: Visitors) -> None:
        self._visitors = visitors
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
        self.hint = gr.HTML(
            '<p class="sc-hint">A question is about what was shown up to the moment you ask it.</p>', elem_id="hint"
        )

        self.standing = gr.Dropdown(
            [],
            value=[],
            multiselect=True,
            allow_custom_value=True,
            max_choices=MOST_STANDING,
            label="Tell me when …",
            info="Write what to wait for, then Enter: a dog appears. What is found is told in the chat.",
            elem_id="standing",
        )

    def listen(self, video: gr.Video) -> None:
        """Connect the events; the questions are about the player's position."""
        quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "concurrency_limit": None}
        changed = [self.question, self.chat, self.send, self.stop]
        gr.on(
            [self.send.click, self.question.submit],
            self._ask,
            [self.question, video],
            changed,
            trigger_mode="once",
            **quiet,
        )
        self.chat.example_select(self._suggested, video, changed, trigger_mode="once", **quiet)
        self.chat.retry(self._retry, None, changed, trigger_mode="once", **quiet)
        self.chat.edit(self._edit, None, changed, trigger_mode="once", **quiet)
        self.chat.clear(self._clear, None, None, **quiet)
        self.standing.change(self._wait_for, self.standing, None, **quiet)
        self.stop.click(self._stop, None, self.stop, **quiet)

    def _ask(self, question: str, video: gr.Video, request: gr.Request) -> Iterator[Any]:
        """Stream the answer to a question about what was shown up to the player's position."""
        visitor = str(request.session_hash)
        try:
            film = None if video.value is None else Path(video.value)
            visit = self._visitors.watching(visitor, film)
            check_question(question)
            idle = True
        except InputError as error:
            warn(error, title="Nothing was asked")
            idle = False
        if not idle:
            yield gr.skip(), gr.skip(), gr.skip(), gr.skip()
            return
        player_seconds = video.playback_position or 0.0
        asked = visit.moment_of(player_seconds)
        yield from self._answered(visitor, visit, question, asked, lambda: visit.ask(question, player_seconds))

    def _suggested(self, video: gr.Video, chosen: gr.SelectData, request: gr.Request) -> Iterator[Any]:
        yield from self._ask(str(chosen.value["text"]), video, request)

    def _retry(self, chosen: gr.RetryData, request: gr.Request) -> Iterator[Any]:
        yield from self._ask_again(None, chosen.index, request)

    def _edit(self, chosen: gr.EditData, request: gr.Request) -> Iterator[Any]:
        yield from self._ask_again(unescape(str(chosen.value)), chosen.index, request)

    def _ask_again(self, question: str | None, index: Any, request: gr.Request) -> Iterator[Any]:
        """Replace the last round: the same question, or another one, at the moment of the last."""
        visitor = str(request.session_hash)
        visit = self._visitors.get(visitor)
        if visit is None:
            yield gr.skip(), gr.skip(), gr.skip(), gr.skip()
            return
        last = visit.conversation.last_question
        number = index[0] if isinstance(index, list | tuple) else index
        try:
            if last is None or number < (visit.conversation.index_of_last_question() or 0):
                raise InputError(ONLY_THE_LAST)
            text = last.question if question is None else question
            assert text is not None  # of a question
            check_question(text)
        except InputError as error:
            warn(error, title="Nothing was asked")
            yield gr.skip(), visit.conversation.messages(), gr.skip(), gr.skip()
            return
        assert last is not None
        yield from self._answered(visitor, visit, text, last.at_seconds, lambda: visit.ask_again(text))

    def _answered(
        self, visitor: str, visit: Visit, question: str, at_seconds: float, ask: Callable[[], AnswerStream]
    ) -> Iterator[Any]:
        """The page while an answer is on its way, and after it; nothing while another one is."""
        if not visit.asking.acquire(blocking=False):
            yield gr.skip(), gr.skip(), gr.skip(), gr.skip()
            return
        question = question.strip()
        busy, idle = gr.update(interactive=False), gr.update(interactive=True)
        begins = "", busy, idle
        try:
            visit.stop_asked, visit.stream = False, None
            with closing(self._answer(visit, question, at_seconds, ask)) as texts:
                for text in texts:
                    if self._visitors.get(visitor) is not visit:  # another film was opened: its page is not this one's
                        return
                    box, send, stop = begins
                    yield box, visit.conversation.messages(question, text), send, stop
                    begins = gr.skip(), gr.skip(), gr.skip()
        finally:  # also when a closed page ends the generator
            visit.asking.release()
        if self._visitors.get(visitor) is not visit:
            return
        yield gr.skip(), visit.conversation.messages(), idle, gr.update(interactive=False)

    def _answer(
        self, visit: Visit, question: str, at_seconds: float, ask: Callable[[], AnswerStream]
    ) -> Generator[str, None, None]:
        """The answer as it grows; at its end it, or as much as there is of it, stands in the conversation."""
        text = ""
        try:
            yield "…"
            for seconds in visit.until_taken_in(at_seconds):
                yield components.waiting(seconds, visit.duration_seconds)
            visit.stream = None if visit.stop_asked else ask()
            for piece in visit.stream or ():
                text += piece
                yield text
                if visit.stop_asked:
                    break
        except Exception as error:
            log.error("answering failed", exc_info=None if isinstance(error, StreamChatError) else error)
            warn(error, title="The answer broke off", duration=None)
        finally:  # also when a closed page ends the generator
            if visit.stream is None:
                visit.conversation.add(question, "", at_seconds, (), "")
            else:
                visit.stream.close()
                self._finish(visit, question, visit.stream)

    @staticmethod
    def _finish(visit: Visit, question: str, stream: AnswerStream) -> None:
        """Put the answer, or as much of it as there is, and its moments into the conversation."""
        answer: Answer = stream.answer
        visit.last_timing, visit.lit = answer.timing, stream.context.visited
        visit.conversation.add(question, answer.text, answer.asked_at_seconds, answer.evidence, made_of(answer))

    def _wait_for(self, questions: list[str], request: gr.Request) -> None:
        """Change the standing questions."""
        try:
            self._visitors.wait_for(str(request.session_hash), questions)
        except InputError as error:
            warn(error, title="This cannot be waited for")

    def _clear(self, request: gr.Request) -> None:
        """Empty the conversation on the page; the memory of it stays."""
        visit = self._visitors.get(str(request.session_hash))
        if visit is not None:
            visit.conversation.clear()

    def _stop(self, request: gr.Request) -> Any:
        """End the answer on its way at its next token."""
        visit = self._visitors.get(str(request.session_hash))
        if visit is not None:
            visit.stop()
        return gr.update(interactive=False)


def warn(error: Exception, *, title: str, duration: float | None = 10.0) -> None:
    """A toast; its text is HTML to the page, and may hold the name of an uploaded file."""
    gr.Warning(f"{title}: {escape(str(error), quote=False)}", duration=duration)
