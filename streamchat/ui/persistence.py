"""Sessions that are kept: saved to one file, loaded again; and the transcript."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from streamchat.errors import InputError, StreamChatError
from streamchat.ui.chat import warn
from streamchat.ui.session_manager import SessionManager

log = logging.getLogger(__name__)

SUFFIX = ".streamchat"
MOST_NAME_CHARACTERS = 60  # of up to four bytes each, of which a file name has 255
# The link is there once the file is written; a click on it is a download, as if the visitor had clicked it.
DOWNLOAD = """
() => {
  const click = (tries) => {
    const link = document.querySelector('#kept-file a[href]') || document.querySelector('a#kept-file[href]');
    if (link) link.click(); else if (tries > 0) setTimeout(() => click(tries - 1), 100);
  };
  click(50);
}
"""


def file_name(title: str) -> str:
    """What a file about a video is called: its name, as far as every file system takes it."""
    return re.sub(r"[^\w .-]", "_", Path(title).stem)[:MOST_NAME_CHARACTERS].strip() or "session"


class PersistencePanel:
    """Buttons below the conversation; made inside a `gr.Blocks`."""

    def __init__(self, sessions: SessionManager) -> None:
        self._sessions = sessions
        with gr.Row(elem_id="sc-persistence"):
            self.save = gr.Button("Save session", size="sm", elem_id="save", min_width=90)
            self.load = gr.UploadButton("Load session", size="sm", elem_id="load", file_types=[SUFFIX], min_width=90)
            self.transcript = gr.Button("Transcript", size="sm", elem_id="transcript", min_width=90)
        self.file = gr.File(visible="hidden", elem_id="kept-file")

    def listen(self, after_loading: Callable[[str], Any], outputs: list[Any]) -> None:
        """Connect the events; `after_loading` gives the page of a visitor's session, for `outputs`."""
        quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "concurrency_limit": None}

        def load(file: str, request: gr.Request) -> Any:
            loaded = self._load(file, str(request.session_hash))
            return after_loading(str(request.session_hash)) if loaded else tuple(gr.skip() for _ in outputs)

        self.load.upload(load, self.load, outputs, **quiet)
        self.save.click(self._save, None, self.file, **quiet).success(None, None, None, js=DOWNLOAD)
        self.transcript.click(self._transcript, None, self.file, **quiet).success(None, None, None, js=DOWNLOAD)

    def _save(self, request: gr.Request) -> Any:
        return self._written(request, SUFFIX, lambda visitor, file: self._sessions.save(visitor, file))

    def _transcript(self, request: gr.Request) -> Any:
        def write(visitor: str, file: Path) -> None:
            user_session = self._sessions.watching(visitor, None)
            file.write_text(user_session.conversation.markdown(user_session.title), encoding="utf-8")

        return self._written(request, ".md", write)

    def _written(self, request: gr.Request, suffix: str, write: Callable[[str, Path], None]) -> Any:
        """The file that a visitor asked for; it goes when they leave."""
        visitor = str(request.session_hash)
        try:
            user_session = self._sessions.watching(visitor, None)
            file = self._sessions.folder_of(visitor) / f"{file_name(user_session.title)}{suffix}"
            write(visitor, file)
        except Exception as error:
            log.warning("nothing was saved: %s", error)
            warn(error, title="Nothing was saved", duration=None)
            return None
        return str(file)

    def _load(self, file: object, visitor: str) -> bool:
        """Whether the session could be loaded; if not, what there was stays."""
        try:
            if not isinstance(file, str):
                raise InputError("there is no file: give a saved session")
            self._sessions.load(visitor, Path(file))
        except Exception as error:
            log.warning("no session was loaded: %s", error, exc_info=not isinstance(error, StreamChatError))
            warn(error, title="No session was loaded", duration=None)
            return False
        return True
