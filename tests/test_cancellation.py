"""Work that nobody wants any more ends at its next token: a session that is closed, an answer that is stopped."""

from __future__ import annotations

import math
import threading
from collections.abc import Generator, Sequence

import pytest
from test_live import WAIT_SECONDS, session_of, video

from streamchat.models.fake import FakeModel
from streamchat.models.scheduler import CancelledError, CancelToken
from streamchat.session.live import LiveSession
from streamchat.types import Caption, Clip, Context, Evidence
from streamchat.video.file import VideoFile

__all__ = ["video"]  # a fixture


class Endless(FakeModel):
    """Never ends one kind of its work by itself."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self._kind = kind
        self.begun, self.cancelled = threading.Event(), threading.Event()

    def _work(self, kind: str, cancel: CancelToken) -> None:
        if kind != self._kind:
            return
        self.begun.set()
        try:
            while True:
                cancel.check()
        except CancelledError:
            self.cancelled.set()
            raise

    def caption(self, clip: Clip, cancel: CancelToken) -> Caption:
        self._work("caption", cancel)
        return super().caption(clip, cancel)

    def summarize(self, captions: Sequence[Caption], cancel: CancelToken) -> Caption:
        self._work("summary", cancel)
        return super().summarize(captions, cancel)

    def check_alert(self, question: str, clip: Clip, caption: Caption, cancel: CancelToken) -> str | None:
        self._work("alert", cancel)
        return super().check_alert(question, clip, caption, cancel)

    def idle(self, cancel: CancelToken) -> bool:
        self._work("background", cancel)
        return super().idle(cancel)

    def answer(self, context: Context, cancel: CancelToken) -> Generator[str | Evidence, None, None]:
        yield "Well, "
        self._work("answer", cancel)
        yield from super().answer(context, cancel)


def nothing_is_left() -> bool:
    return not [thread for thread in threading.enumerate() if thread.name.startswith("streamchat-")]


@pytest.mark.parametrize("kind", ["caption", "summary", "alert", "background"])
def test_closing_a_session_ends_what_its_model_does(video: VideoFile, kind: str) -> None:
    model = Endless(kind)
    session = session_of(video, model)
    session.engine.alerts.set(["a red screen"])
    session.start()
    session.play_until(math.inf)
    assert model.begun.wait(WAIT_SECONDS)
    session.close()
    assert model.cancelled.is_set()
    assert nothing_is_left()
    assert session.error is None


class Asker:
    """Someone who reads an answer in a thread of its own."""

    def __init__(self, session: LiveSession) -> None:
        self.stream = session.ask("What is shown?")
        self.pieces: list[str] = []
        self.thread = threading.Thread(target=lambda: self.pieces.extend(self.stream), daemon=True)
        self.thread.start()


def test_closing_a_session_ends_its_answers_with_what_was_said(video: VideoFile) -> None:
    model = Endless("answer")
    session = session_of(video, model)
    session.start()
    asker = Asker(session)
    assert model.begun.wait(WAIT_SECONDS)
    session.close()
    asker.thread.join(WAIT_SECONDS)
    assert not asker.thread.is_alive()
    assert asker.stream.answer.text == "Well,"


def test_a_stopped_answer_ends_at_its_next_token_and_is_kept(video: VideoFile) -> None:
    model = Endless("answer")
    session = session_of(video, model)
    session.start()
    asker = Asker(session)
    assert model.begun.wait(WAIT_SECONDS)
    asker.stream.stop()
    asker.thread.join(WAIT_SECONDS)
    assert asker.pieces == ["Well, "]
    last = session.engine.memory.dialogue.last(count=99, until_seconds=math.inf)
    assert last is not None
    assert last.answer == "Well,"
    session.close()
    assert nothing_is_left()


def test_an_answer_that_is_stopped_before_it_began_says_nothing_and_is_no_round(video: VideoFile) -> None:
    session = session_of(video)
    session.start()
    stream = session.ask("What is shown?")
    stream.stop()
    assert list(stream) == []
    assert stream.answer.text == ""
    assert session.engine.memory.dialogue.last(count=99, until_seconds=math.inf) is None
    assert not session._paused_until, "ingestion goes on"
    session.close()
