"""What is live on the page: gauges, memory, camera. Its JavaScript asks these functions, beside Gradio's queue."""

from __future__ import annotations

import base64
import binascii
import functools
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import gradio as gr
import numpy as np

from streamchat.errors import InputError
from streamchat.types import finite_number
from streamchat.ui import components
from streamchat.ui.session_manager import SessionManager
from streamchat.ui.user_session import UserSession
from streamchat.ui.view import found_node, memory_json, node_details, view_of
from streamchat.video.images import jpeg_size, picture

log = logging.getLogger(__name__)

HERE = Path(__file__).parent
TILES = "<!-- the tiles of components.GAUGES -->"
MOST_FRAME_BYTES = 300_000  # of a camera's JPEG; the page sends about 17 KB
MOST_FRAMES = 8  # in one push
MOST_FRAME_SIDE = 1920  # pixels


def part(name: str) -> str:
    """A file of the page, such as "live.js"."""
    return (HERE / name).read_text(encoding="utf-8")


def _served(call: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A method as a function, which Gradio can mark as one that pages may call."""

    @functools.wraps(call)
    def served(asked: Any) -> Any:
        return call(asked)

    return served


class LivePanel:
    """The gauges, the memory's timeline and the nodes, below player and chat; made inside a `gr.Blocks`.

    `html` has the page's secret as its value, {"key": ...}; every function here takes one object that carries it.
    A page without a session is answered with nothing.
    """

    def __init__(self, sessions: SessionManager) -> None:
        self._sessions = sessions
        self.html = gr.HTML(
            value=None,
            html_template=part("live.html").replace(TILES, components.tiles()),
            js_on_load=part("live.js"),
            server_functions=[_served(call) for call in (self.view_of, self.node, self.picture, self.memory)],
            elem_id="live",
        )

    def view_of(self, asked: Any) -> dict[str, Any] | None:
        """What changed; the page gives its player's position, which the reader follows."""
        if isinstance(asked, dict) and not self._sessions.knows(asked.get("key")):
            return {"ended": True}
        user_session = self._user_session(asked)
        if user_session is None:
            return None
        user_session.unplayable = asked.get("unplayable") is True
        if user_session.unplayable and not user_session.to_the_end:
            user_session.ingest_the_rest()
        position = finite_number(asked.get("position"))
        if position is not None:
            user_session.follow(position)
        return view_of(
            user_session,
            serial=int(finite_number(asked.get("serial")) or 0),
            motion_after=_or_before(asked.get("motion")),
            preview_after=_or_before(asked.get("preview")),
        )

    def node(self, asked: Any) -> dict[str, Any] | None:
        """A node of the memory by its id; nothing if it was folded away."""
        user_session, number = self._user_session(asked), finite_number(asked.get("id"))
        if user_session is None or number is None:
            return None
        node = found_node(user_session.session.snapshot().roots, int(number))
        return None if node is None else node_details(node)

    def picture(self, asked: Any) -> str | None:
        """The picture of a moment of the conversation, JPEG in base64."""
        user_session, number = self._user_session(asked), finite_number(asked.get("id"))
        found = None if user_session is None or number is None else user_session.conversation.pictures.get(int(number))
        return None if found is None else base64.b64encode(found).decode()

    def memory(self, asked: Any) -> dict[str, Any] | None:
        """The whole long-term memory in words."""
        user_session = self._user_session(asked)
        return None if user_session is None else memory_json(user_session.session.snapshot())

    def _user_session(self, asked: Any) -> UserSession | None:
        return self._sessions.by_key(asked.get("key")) if isinstance(asked, dict) else None


class CameraPanel:
    """The camera of the visitor; made inside a `gr.Blocks`. Its page draws frames and pushes them as small JPEGs."""

    def __init__(self, sessions: SessionManager) -> None:
        self._sessions = sessions
        self.html = gr.HTML(
            value=None,
            html_template=part("camera.html"),
            js_on_load=part("camera.js"),
            server_functions=[_served(self.push)],
            elem_id="camera",
        )

    def push(self, asked: Any) -> dict[str, Any]:
        """Frames of the camera in time order: {"key", "frames": [{"seconds" on its clock, "jpeg" in base64}]}."""
        user_session = self._sessions.by_key(asked.get("key")) if isinstance(asked, dict) else None
        if user_session is None or user_session.camera is None:
            return {"listening": False}
        try:
            frames = asked.get("frames")
            if not isinstance(frames, list) or not 0 < len(frames) <= MOST_FRAMES:
                raise InputError(f"a push has 1 to {MOST_FRAMES} frames")
            for frame in frames:
                seconds = finite_number(frame.get("seconds")) if isinstance(frame, dict) else None
                if seconds is None:
                    raise InputError("a frame needs its time in seconds")
                user_session.push(_camera_frame(frame.get("jpeg")), seconds)
        except (InputError, ValueError) as error:
            log.info("a frame of a camera was refused: %s", error)
            return {"listening": True, "refused": str(error)}
        return {"listening": user_session.session.error is None}


def _camera_frame(data: object) -> np.ndarray:
    """The picture of a JPEG in base64, uint8 [H, W, 3] RGB; raises InputError for anything else."""
    if not isinstance(data, str) or len(data) > MOST_FRAME_BYTES:
        raise InputError(f"a frame must be a JPEG of at most {MOST_FRAME_BYTES} bytes in base64")
    try:
        raw = base64.b64decode(data, validate=True)
    except binascii.Error as error:
        raise InputError(f"a frame is not base64: {error}") from None
    if not raw.startswith(b"\xff\xd8"):
        raise InputError("a frame must be a JPEG")
    try:
        size = jpeg_size(raw)
        if max(size) > MOST_FRAME_SIDE:
            raise InputError(f"a frame may have a side of at most {MOST_FRAME_SIDE} pixels, got {size}")
        return picture(raw)
    except cv2.error as error:
        raise InputError(f"a frame is not a readable JPEG: {error}") from None


def _or_before(value: object) -> float:
    number = finite_number(value)
    return -1.0 if number is None else number
