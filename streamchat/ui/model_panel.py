"""Which model answers, at the top of the page, and which others its owner may take."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr

from streamchat.checkpoints.hub import size_text
from streamchat.checkpoints.serving import look
from streamchat.errors import InputError
from streamchat.models import REMOTE
from streamchat.ui import components
from streamchat.ui.access import check_owner
from streamchat.ui.chat import warn
from streamchat.ui.session_manager import SessionManager

log = logging.getLogger(__name__)

KEPT = "Model changed: the conversation goes on, and the video is watched again from its beginning, in the background."
SERVER = re.compile(rf"{REMOTE}:|https?://|[\w.-]+:\d+(?:$|[/#])")  # how one is written
BARE_ADDRESS = re.compile(r"https?://[^/?#]+/?")  # without the path that such servers have
LINE_BITS_A_SECOND = 100e6  # an everyday one, by which the time of a download is estimated


class ModelPanel:
    """Layout and events; made inside a `gr.Blocks`. `listen` is called once the rest of the page is there."""

    def __init__(self, sessions: SessionManager) -> None:
        self._sessions = sessions
        with gr.Row(elem_id="sc-model-row"):
            self.line = gr.HTML(self.described(), elem_id="model")
            self._upgrade = gr.Button(visible=False, elem_id="upgrade", size="sm", scale=0, min_width=340)
        with gr.Accordion("Use another model", open=False, visible=not sessions.public, elem_id="other-models"):
            self._found = gr.Dropdown([], label="Served on this machine", elem_id="found-models", visible=False)
            self._use_found = gr.Button("Use the one served here", size="sm", elem_id="use-found", visible=False)
            with gr.Row():
                self._model = gr.Textbox(
                    label="Model",
                    info="the address of a model server, a name on the Hugging Face Hub, a folder, auto or embedded",
                    placeholder="http://127.0.0.1:8000/v1",
                    max_lines=1,
                    elem_id="model-name",
                )
                self._key = gr.Textbox(
                    label="Key",
                    info="if the server wants one; it is not stored",
                    type="password",
                    max_lines=1,
                    elem_id="server-key",
                )
            self._use_model = gr.Button("Use this model", size="sm", elem_id="use-model")

    @property
    def outputs(self) -> list[Any]:
        """What changes with the model, in the order of `shown`."""
        return [self.line, self._upgrade, self._found, self._use_found]

    def listen(self, page: list[Any], opened: Callable[[str], tuple[Any, ...]]) -> None:
        """Bind the buttons; `opened` gives what the `page` shows of a visitor's session that has begun anew."""
        self._opened = opened
        for button, asked, work in (
            (self._upgrade, [], self._fetch),
            (self._use_found, [self._found], self._take_found),
            (self._use_model, [self._model, self._key], self._take_named),
        ):
            button.click(
                work,
                asked,
                [*self.outputs, self._key, *page],
                concurrency_limit=None,
                trigger_mode="once",
                show_progress="full",
                show_progress_on=self.line,
                api_visibility="private",
            )

    def described(self) -> str:
        """The line that names the model."""
        model = self._sessions.model
        if model.ready:
            return components.model_line(f"Model: {model.get().name}", busy=False, reason=model.reason)
        return components.model_line(f"Loading the model “{model.spec}” …", busy=True)

    def loaded(self) -> Iterator[tuple[Any, ...]]:
        """Load the model; gives what the page shows before and after."""
        yield self.described(), *[gr.skip()] * 3
        try:
            self._sessions.model.get()
        except Exception as error:
            log.warning("the model cannot be loaded: %s", error)
            yield components.model_line(f"The model cannot be loaded: {error}", busy=False), *[gr.skip()] * 3
        else:
            yield self.shown()

    def shown(self) -> tuple[Any, ...]:
        """The line, and what is offered to the owner."""
        found = [] if self._sessions.public else look()
        return (
            self.described(),
            self._offer(),
            gr.update(
                choices=[(one.title, one.spec) for one in found],
                value=found[0].spec if found else None,
                visible=bool(found),
            ),
            gr.update(visible=bool(found)),
        )

    def _offer(self) -> Any:
        """A better model from the Hub, as a button for the owner."""
        model = self._sessions.model
        better = None if self._sessions.public else model.better
        if better is None:
            return gr.update(visible=False)
        if model.better_is_here:
            return gr.update(visible=True, value=f"Use {better.title} (downloaded)")
        size, minutes = size_text(better.weights_bytes), 8 * better.weights_bytes / LINE_BITS_A_SECOND / 60
        about = f"about {size}, {better.licence}, {max(1, round(minutes))} min at 100 Mbit/s"
        return gr.update(visible=True, value=f"Get {better.title} ({about})")

    def _fetch(self, request: gr.Request, progress: gr.Progress = gr.Progress()) -> Any:  # noqa: B008 - how Gradio asks for it
        """Fetch the better model, and use it."""

        def show(done: int, total: int) -> None:
            progress(done / max(total, 1), desc=f"{size_text(done)} of {size_text(total)}")

        return self._changed(lambda: self._sessions.model.upgrade(show), request)

    def _take_found(self, spec: str | None, request: gr.Request) -> Any:
        """Use a model of a server of this machine."""
        return self._changed(lambda: self._sessions.model.switch(spec or ""), request)

    def _take_named(self, written: str, key: str, request: gr.Request) -> Any:
        """Use the model that was written; a key that was written beside it is for its server."""
        return self._changed(lambda: self._sessions.model.switch(spec_of(written), key.strip()), request)

    def _changed(self, change: Callable[[], None], request: gr.Request) -> Any:
        """Change the model for all, and begin this visitor's video anew with it; else all stays as it is."""
        visitor = str(request.session_hash)
        try:
            check_owner(self._sessions.public, "the model is")
            change()
        except Exception as error:
            log.warning("the model cannot be changed: %s", error)
            warn(error, title="The model stays as it is", duration=None)
            return gr.skip()
        try:
            if self._sessions.watch_again(visitor):
                gr.Info(KEPT)
        except Exception as error:
            log.warning("the video cannot be watched again: %s", error)
            warn(error, title="The model changed; the video cannot be watched again with it", duration=None)
        return *self.shown(), "", *self._opened(visitor)


def spec_of(written: str) -> str:
    """A model as a person wrote it, often without the beginning or the end of an address, as `load_model` takes it."""
    name = written.strip()
    if not name:
        raise InputError("no model is written: write a server's address, such as http://127.0.0.1:8000/v1, or a name")
    if not SERVER.match(name):
        return name
    address, mark, model = name.removeprefix(f"{REMOTE}:").partition("#")
    if "://" not in address:
        address = f"http://{address}"
    if BARE_ADDRESS.fullmatch(address):
        address = f"{address.rstrip('/')}/v1"
    return f"{REMOTE}:{address}{mark}{model}"
