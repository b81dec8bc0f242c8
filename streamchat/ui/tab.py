"""The first tab: a film plays, the stream is taken in, and a person asks about it."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from streamchat.checkpoints.hub import size_text
from streamchat.engine import AnswerStream, check_question
from streamchat.errors import InputError, StreamChatError
from streamchat.types import Answer
from streamchat.ui import components, examples
from streamchat.ui.sessions import Visit, Visitors
from streamchat.ui.theme import PLAY

log = logging.getLogger(__name__)

TICK_SECONDS = 0.5
WELCOME = "Ask about the video while it plays.\n\nUpload a film or pick an example, then write a question below."

Message = dict[str, Any]


class WatchTab:
    """Layout and events of the tab; made inside a `gr.Blocks`."""

    def __init__(self, visitors: Visitors) -> None:
        self._visitors = visitors
        self._layout()
        self._events()

    def _layout(self) -> None:
        with gr.Row(elem_id="sc-model-row"):
            self.model = gr.HTML(self._model_line(), elem_id="model")
            self.upgrade = gr.Button(visible=False, elem_id="upgrade", size="sm", scale=0, min_width=240)
        with gr.Row(equal_height=False):
            with gr.Column(scale=6, min_width=320):
                self.video = gr.Video(label="Video", elem_id="film", sources=["upload"], height=400, buttons=[])
                gr.HTML('<p class="sc-hint">Or begin with one of these</p>', elem_id="sc-or")
                with gr.Row(elem_id="sc-examples"):
                    self.examples = [
                        gr.Button(title, icon=examples.poster(title), size="sm", min_width=96)
                        for title in examples.titles()
                    ]
                self.rest = gr.Button("Take in the rest at full speed", elem_id="rest", size="sm", interactive=False)
            with gr.Column(scale=5, min_width=320):
                self.chat = gr.Chatbot(
                    label="Conversation",
                    elem_id="chat",
                    height=432,
                    placeholder=WELCOME,
                    buttons=["copy"],
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
                self.hint = gr.HTML(components.hint(None), elem_id="hint")
        self.gauges = gr.HTML(components.gauges(None, None, None), elem_id="gauges")
        self.timer = gr.Timer(TICK_SECONDS)
        self.shown = gr.State(None)  # the gauges as the page has them

    def _events(self) -> None:
        quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
        gr.on(None, self._load, None, [self.model, self.upgrade], concurrency_limit=None, **quiet)
        self.upgrade.click(
            self._upgrade,
            None,
            [self.model, self.upgrade],
            concurrency_limit=None,
            trigger_mode="once",
            show_progress="full",
            show_progress_on=self.model,
            api_visibility="private",
        )
        for button, title in zip(self.examples, examples.titles(), strict=True):
            button.click(partial(self._film, title), None, self.video, **quiet)
        self.video.change(
            self._open,
            self.video,
            [self.video, self.chat, self.rest, self.hint, self.send, self.stop, self.gauges, self.shown],
            concurrency_limit=None,
            **quiet,
        ).then(None, None, None, js=PLAY)
        self.rest.click(self._rest, None, [self.rest, self.hint], **quiet)
        self.timer.tick(
            self._tick, [self.video, self.shown], [self.gauges, self.shown], concurrency_limit=None, **quiet
        )
        gr.on(
            [self.send.click, self.question.submit],
            self._ask,
            [self.question, self.video],
            [self.question, self.chat, self.send, self.stop],
            concurrency_limit=None,
            trigger_mode="once",
            **quiet,
        )
        self.chat.clear(self._clear, None, None, **quiet)
        self.stop.click(self._stop, None, None, **quiet)

    def _model_line(self) -> str:
        model = self._visitors.model
        if model.ready:
            return components.model_line(f"Model: {model.get().name}", busy=False, reason=model.reason)
        return components.model_line(f"Loading the model “{model.spec}” …", busy=True)

    def _load(self) -> Iterator[Any]:
        """Load the model once the page is there."""
        yield self._model_line(), gr.skip()
        try:
            self._visitors.model.get()
        except Exception as error:
            log.warning("the model cannot be loaded: %s", error)
            yield components.model_line(f"The model cannot be loaded: {error}", busy=False), gr.skip()
        else:
            yield self._model_line(), self._offer()

    def _offer(self) -> Any:
        """A better model that could be fetched, as a button; on a Space its owner decides, not its visitors."""
        better = None if "SPACE_ID" in os.environ else self._visitors.model.better
        if better is None:
            return gr.update(visible=False)
        size = size_text(better.weights_bytes)
        return gr.update(visible=True, value=f"Get {better.title} (about {size}, {better.licence})")

    def _upgrade(self, progress: gr.Progress = gr.Progress()) -> Any:  # noqa: B008 - how Gradio asks for it
        """Fetch the better model and use it from the next film on."""

        def show(done: int, total: int) -> None:
            progress(done / max(total, 1), desc=f"{size_text(done)} of {size_text(total)}")

        try:
            self._visitors.model.upgrade(show)
        except Exception as error:
            log.warning("the model cannot be fetched: %s", error)
            _warn(error, title="The model stays as it is", duration=None)
        else:
            gr.Info("Films that you open from now on are watched with the new model.")
        return self._model_line(), self._offer()

    @staticmethod
    def _film(title: str) -> Any:
        """The path of an example."""
        try:
            return str(examples.film(title))
        except (StreamChatError, OSError) as error:
            _warn(error, title="This film cannot be shown", duration=None)
            return gr.skip()

    def _open(self, film: str | None, request: gr.Request) -> Any:
        """Begin the film that was uploaded or picked, or end the one that was cleared."""
        visitor = str(request.session_hash)
        opened = False
        try:
            if film is None:
                self._visitors.close(visitor)
            else:
                self._visitors.open(visitor, Path(film))
                opened = True
        except Exception as error:
            log.error("opening failed", exc_info=None if isinstance(error, StreamChatError) else error)
            _warn(error, title="This video cannot be used", duration=None)
        refused = film is not None and not opened
        empty = components.gauges(None, None, None)
        ready, idle = gr.update(interactive=True), gr.update(interactive=False)
        hint = components.hint(self._visitors.get(visitor))
        return None if refused else gr.skip(), [], gr.update(interactive=opened), hint, ready, idle, empty, empty

    def _clear(self, request: gr.Request) -> None:
        """Empty the conversation on the page; the memory of it stays."""
        visit = self._visitors.get(str(request.session_hash))
        if visit is not None:
            visit.messages.clear()

    def _rest(self, request: gr.Request) -> Any:
        visit = self._visitors.get(str(request.session_hash))
        if visit is not None:
            visit.take_in_the_rest()
        return gr.update(interactive=False), components.hint(visit)

    def _tick(self, video: gr.Video, shown: str | None, request: gr.Request) -> Any:
        """Let the reader follow the player, and show how it stands if that changed."""
        visit = self._visitors.get(str(request.session_hash))
        if visit is None:
            return gr.skip(), gr.skip()
        if video.value is not None:
            visit.follow(video.playback_position)
        self._show_error(visit)
        now = components.gauges(visit.session.stats(), visit.duration_seconds, visit.delay_seconds)
        return (gr.skip(), gr.skip()) if now == shown else (now, now)

    def _show_error(self, visit: Visit) -> None:
        error = visit.session.error
        if error is not None and not visit.error_shown:
            visit.error_shown = True
            _warn(error, title="Taking in the video stopped", duration=None)

    def _ask(self, question: str, video: gr.Video, request: gr.Request) -> Iterator[Any]:
        """Stream the answer to a question about what was shown up to the player's position."""
        visitor = str(request.session_hash)
        try:
            visit = self._visitors.watching(visitor, None if video.value is None else Path(video.value))
            check_question(question)
            idle = not visit.answering
        except InputError as error:
            _warn(error, title="Nothing was asked")
            idle = False
        if not idle:
            yield gr.skip(), gr.skip(), gr.skip(), gr.skip()
            return
        visit.answering, visit.stop_asked = True, False
        visit.messages.append({"role": "user", "content": escape(question.strip(), quote=False)})
        yield "", [*visit.messages, _said("…")], gr.update(interactive=False), gr.update(interactive=True)
        for text in self._answer(visit, question, video.playback_position or 0.0):
            if self._visitors.get(visitor) is not visit:  # another film was opened: its page is not this one's
                return
            yield gr.skip(), [*visit.messages, _said(escape(text, quote=False))], gr.skip(), gr.skip()
        yield gr.skip(), visit.messages, gr.update(interactive=True), gr.update(interactive=False)

    def _answer(self, visit: Visit, question: str, player_seconds: float) -> Iterator[str]:
        """The answer as it grows; at its end it, or as much as there is of it, stands in the conversation."""
        stream: AnswerStream | None = None
        text = ""
        try:
            for seconds in visit.until_the_end():
                yield components.waiting(seconds, visit.duration_seconds)
            stream = None if visit.stop_asked else visit.ask(question, player_seconds)
            for piece in stream or ():
                text += piece
                yield text
                if visit.stop_asked:
                    break
        except Exception as error:
            log.error("answering failed", exc_info=None if isinstance(error, StreamChatError) else error)
            _warn(error, title="The answer broke off", duration=None)
        finally:  # also when a closed page ends the generator
            visit.answering = False
            if stream is None:
                visit.messages.append(_said("(no answer)"))
            else:
                stream.close()
                self._finish(visit, stream.answer)

    @staticmethod
    def _finish(visit: Visit, answer: Answer) -> None:
        """Put the answer, or as much of it as there is, and its moments into the conversation."""
        visit.delay_seconds = answer.timing.first_token_seconds
        visit.messages.append(_said(escape(answer.text, quote=False) or "(no answer)"))
        visit.messages.append(_said(gr.HTML(components.moments(answer.evidence) + components.footnote(answer))))

    def _stop(self, request: gr.Request) -> None:
        """End the answer on its way after the piece that is being made."""
        visit = self._visitors.get(str(request.session_hash))
        if visit is not None:
            visit.stop_asked = True


def _warn(error: Exception, *, title: str, duration: float | None = 10.0) -> None:
    """A toast; its text is HTML to the page, and may hold the name of an uploaded file."""
    gr.Warning(escape(str(error), quote=False), title=title, duration=duration)


def _said(content: Any) -> Message:
    return {"role": "assistant", "content": content}
