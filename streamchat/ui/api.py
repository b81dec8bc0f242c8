"""The app for programs: what the page does, as named calls of `gradio.Client`, and as tools over MCP."""

from __future__ import annotations

import base64
import math
import secrets
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import gradio as gr
from gradio.events import api

from streamchat.errors import InputError, StreamChatError
from streamchat.session.answer import AnswerStream
from streamchat.session.questions import check_question
from streamchat.types import Evidence
from streamchat.ui.session_manager import SessionManager
from streamchat.ui.user_session import UserSession
from streamchat.ui.view import memory_json

IDLE_SECONDS = 1800.0  # a session of which nothing was asked for so long is ended
WAIT_SECONDS = 600.0  # a question waits this long for the video to come to its time
PREFIX = "api-"  # of sessions that no page holds

T = TypeVar("T")


class Api:
    """The calls; made inside a `gr.Blocks`. A session is a name that only its owner knows."""

    def __init__(self, sessions: SessionManager) -> None:
        self._sessions = sessions
        self._lock = threading.Lock()
        self._used: dict[str, float] = {}  # by session: when it was called last
        for call in (self.open_session, self.ask, self.session_memory, self.close_session):
            api(call, api_name=call.__name__, concurrency_limit=None)
        # A file that comes over the network is checked by a component; nobody sees these.
        session = gr.Textbox(visible=False, label="session")
        video = gr.File(visible=False, label="video", type="filepath")
        gr.Button(visible=False).click(
            self.add_video,
            [session, video],
            gr.JSON(visible=False, label="video"),
            api_name="add_video",
            concurrency_limit=None,
        )

    def open_session(self, request: gr.Request) -> str:
        """Begin a session. Give the name that is returned to every other call; close it when you are done.

        Returns:
            The session's name.
        """
        self._end_idle()
        session = PREFIX + secrets.token_urlsafe(16)
        with self._lock:
            self._used[session] = time.monotonic()
        self._sessions.presence.heard(session, str(request.session_hash))
        return session

    def add_video(self, session: str, video: str) -> dict[str, Any]:
        """Give a session a video, in place of what it had; it is ingested at full speed.

        Args:
            session: The name that open_session returned.
            video: The video: MP4, WebM, MKV, MOV or AVI.

        Returns:
            Title and length in seconds.
        """

        def add() -> dict[str, Any]:
            visitor = self._visitor(session)
            if not video:
                raise InputError("there is no video: give the video as a file")
            self._sessions.open(visitor, Path(video))
            user_session = self._sessions.watching(visitor, None)
            user_session.ingest_the_rest()
            return {"title": user_session.title, "duration_seconds": user_session.duration_seconds}

        return _with_gradio_errors(add)

    def ask(self, session: str, question: str, at_seconds: float = -1.0) -> dict[str, Any]:
        """Ask about what a session's video showed up to a moment; nothing later is used.

        Args:
            session: The name that open_session returned.
            question: What you want to know.
            at_seconds: The moment in seconds; below 0 is the end of the video.

        Returns:
            The answer, the moments that it rests on (start, end, caption, JPEG in base64), and how long it took.
        """

        def answer() -> dict[str, Any]:
            user_session = self._sessions.watching(self._visitor(session), None)
            check_question(question)
            if not user_session.asking.acquire(blocking=False):
                raise InputError("this session is answering a question: ask again when its answer is there")
            try:
                stream = _asked(user_session, question, at_seconds)
                for _ in stream:
                    pass
            finally:
                user_session.asking.release()
            return _answer_json(stream)

        return _with_gradio_errors(answer)

    def session_memory(self, session: str) -> dict[str, Any]:
        """The long-term memory of a session in words: its nodes with their spans and captions.

        Args:
            session: The name that open_session returned.

        Returns:
            Nodes in time order, parents before their children.
        """
        return _with_gradio_errors(
            lambda: memory_json(self._sessions.watching(self._visitor(session), None).session.snapshot())
        )

    def close_session(self, session: str) -> str:
        """End a session and forget all that it saw.

        Args:
            session: The name that open_session returned.

        Returns:
            The name of the session that was ended.
        """
        visitor = _with_gradio_errors(lambda: self._visitor(session))
        self._sessions.forget(visitor)
        with self._lock:
            self._used.pop(visitor, None)
        return session

    def _visitor(self, session: str) -> str:
        """The visitor of a session, who was there just now; InputError if it was never opened, or has ended."""
        with self._lock:
            if not isinstance(session, str) or session not in self._used:
                raise InputError("this session is not open: call open_session first, and use the name it returns")
            self._used[session] = time.monotonic()
        self._sessions.presence.heard(session)
        return session

    def _end_idle(self) -> None:
        """Give back the places of those who went without closing."""
        now = time.monotonic()
        with self._lock:
            idle = [session for session, used in self._used.items() if now - used > IDLE_SECONDS]
            for session in idle:
                del self._used[session]
        for session in idle:
            self._sessions.forget(session)


def _asked(user_session: UserSession, question: str, at_seconds: float) -> AnswerStream:
    """The answer of a question that waits until the video has come to its time."""
    if not isinstance(at_seconds, int | float) or not math.isfinite(at_seconds):
        raise InputError(f"at_seconds must be a number, got {at_seconds!r}")
    if user_session.duration_seconds is not None and at_seconds > user_session.duration_seconds:
        raise InputError(
            f"at_seconds must be at most {user_session.duration_seconds:g}, where the video ends, got {at_seconds:g}"
        )
    end = at_seconds < 0
    reached = user_session.session.wait_until(
        lambda stats: stats.finished or (not end and stats.position_seconds >= at_seconds), WAIT_SECONDS
    )
    if user_session.session.error is not None:
        raise user_session.session.error
    if not reached:
        raise StreamChatError(f"the video was not processed within {WAIT_SECONDS:.0f} s: ask again later")
    return user_session.session.ask(question, None if end else at_seconds)


def _answer_json(stream: AnswerStream) -> dict[str, Any]:
    answer = stream.answer
    return {
        "answer": answer.text,
        "asked_at_seconds": answer.asked_at_seconds,
        "evidence": [_evidence_json(one) for one in answer.evidence],
        "retrieval_seconds": answer.timing.retrieval_seconds,
        "first_token_seconds": answer.timing.first_token_seconds,
        "total_seconds": answer.timing.total_seconds,
        "memory_nodes": list(stream.context.visited),
        "given": answer.given.as_json(),
    }


def _evidence_json(evidence: Evidence) -> dict[str, Any]:
    return {
        "start_seconds": evidence.span.start,
        "end_seconds": evidence.span.end,
        "caption": evidence.caption,
        "keyframe_jpeg": None if evidence.keyframe is None else base64.b64encode(evidence.keyframe).decode(),
    }


def _with_gradio_errors(work: Callable[[], T]) -> T:
    """What it gives; its errors go to the caller in words."""
    try:
        return work()
    except StreamChatError as error:
        raise gr.Error(str(error), print_exception=False) from None
