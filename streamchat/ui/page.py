"""The page as Gradio serves it, with errors that fit an app that strangers reach."""

from __future__ import annotations

import logging
import traceback
from pathlib import Path
from typing import Any

import gradio as gr

from streamchat.ui.guard import REFUSED

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.01  # between two looks for a call; what it may begin later
PACKAGES = Path(__file__).resolve().parents[2]
OURS = tuple(str(PACKAGES / name) for name in ("streamchat", "evaluation"))


class Page(gr.Blocks):
    """A `gr.Blocks` whose failed calls put a line into the log, and a traceback only if the app's own code failed."""

    def queue(self, *args: Any, **named: Any) -> Page:
        """As Gradio's, but its loop looks for calls less often: at 1,000 times a second it takes 6 % of a core."""
        super().queue(*args, **named)
        self._queue.sleep_when_free = LOOK_SECONDS
        return self

    async def process_api(self, *args: Any, **named: Any) -> dict[str, Any]:
        """Answer a call; one of the page's own needs the name of its page, as all without one would be one visitor."""
        called = args[0] if args else named["block_fn"]
        if getattr(called, "api_visibility", "") == "private" and named.get("session_hash") is None:
            log.warning("a call was refused: it names no page")
            raise gr.Error(REFUSED, print_exception=False)
        try:
            return await super().process_api(*args, **named)
        except gr.Error as error:  # such as for a value that is none of a list
            error.print_exception = False
            raise
        except Exception as error:
            if _is_ours(error):
                log.exception("a call failed")
                text = "The app failed at this; its log says how."
            else:
                log.warning("a call was refused: %s: %s", type(error).__name__, str(error)[:200])
                text = REFUSED
            raise gr.Error(text, print_exception=False) from None


def _is_ours(error: Exception) -> bool:
    """Whether an error comes out of this project's code."""
    frames = traceback.extract_tb(error.__traceback__)
    return any(frame.filename.startswith(OURS) and frame.filename != __file__ for frame in frames)
