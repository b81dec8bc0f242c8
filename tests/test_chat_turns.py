"""One answer at a time for each visitor, whatever their page does meanwhile; without a browser."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest
import videos
from conftest import picture
from test_ui_sessions import WAIT_SECONDS, push, session_threads, sessions

from streamchat.errors import InputError
from streamchat.options import Options
from streamchat.session.live import LiveSession
from streamchat.types import Evidence, Span
from streamchat.ui import user_session
from streamchat.ui.chat import HERE, WHOLE, ChatPanel
from streamchat.ui.conversation import MOST_ENTRIES, NOTHING, Conversation
from streamchat.ui.session_manager import SessionManager
from streamchat.ui.user_session import UserSession

__all__ = ["sessions"]  # a fixture


class Page:
    """What a visitor's page does in the chat."""

    def __init__(self, sessions: SessionManager) -> None:
        with gr.Blocks():
            self._chat = ChatPanel(sessions)
        sessions.open("one", videos.bikes())
        self.user_session = sessions.watching("one", None)

    def ask(self, question: str = "What is shown?", scope: str = HERE, at_seconds: float = 0.5) -> Iterator[Any]:
        video: Any = SimpleNamespace(value=str(videos.bikes()), playback_position=at_seconds)
        return self._chat._ask(question, scope, video, self._request)

    def retry(self) -> Iterator[Any]:
        chosen: Any = SimpleNamespace(index=0)
        return self._chat._retry(chosen, self._request)

    @property
    def _request(self) -> Any:
        return SimpleNamespace(session_hash="one")

    @property
    def texts(self) -> list[str]:
        return [entry.text for entry in self.user_session.conversation.entries]


@pytest.fixture
def page(sessions: SessionManager) -> Page:
    return Page(sessions)


def test_a_page_that_closes_at_the_first_piece_leaves_the_question_and_a_free_place(page: Page) -> None:
    updates = page.ask()
    next(updates)
    assert page.user_session.answering
    updates.close()  # type: ignore[attr-defined]
    assert not page.user_session.answering
    assert page.texts == [NOTHING]
    assert list(page.ask())[-1] is not None
    assert len(page.texts) == 2
    assert page.texts[1] != NOTHING


def test_a_second_question_waits_for_nothing_and_changes_nothing(page: Page) -> None:
    first = page.ask("What is the first?")
    next(first)
    assert all(value == gr.skip() for value in next(page.ask("What is the second?")))
    list(first)
    assert [entry.question for entry in page.user_session.conversation.entries] == ["What is the first?"]


def test_a_page_that_opens_another_video_in_mid_answer_may_ask_about_it_at_once(
    page: Page, sessions: SessionManager
) -> None:
    updates = page.ask()
    next(updates)
    sessions.open("one", videos.bigbuckbunny())
    assert list(updates) == []
    assert not page.user_session.answering
    assert not sessions.watching("one", None).answering


def test_a_question_that_was_cleared_cannot_be_asked_again(page: Page) -> None:
    list(page.ask())
    page.user_session.conversation.clear()
    with pytest.raises(InputError, match="was cleared: ask the question anew"):
        page.user_session.ask_again("What is shown?")
    list(page.retry())
    assert page.texts == []
    assert not page.user_session.answering


def test_answers_and_alerts_of_two_threads_are_all_there_each_once() -> None:
    talked = Conversation()
    shown = [Evidence(span=Span(0, 1), caption="x")]

    def add(question: str | None) -> None:
        for number in range(90):
            talked.add(question, f"{question} {number}", float(number), shown, "")
            assert len({entry.text for entry in talked.entries}) == len(talked.entries)
            talked.messages()

    threads = [threading.Thread(target=add, args=(question,)) for question in (None, "What?")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_SECONDS)
    assert sorted(entry.text for entry in talked.entries) == sorted(
        f"{who} {n}" for who in (None, "What?") for n in range(90)
    )
    assert talked.alerts_posted == 90
    assert len(talked.entries) <= MOST_ENTRIES


def test_taking_back_gives_every_question_to_one_thread_only() -> None:
    talked = Conversation()
    for number in range(100):
        talked.add(f"{number}?", "Yes.", 0.0, (), "")
    taken: list[str | None] = []

    def take() -> None:
        while (entry := talked.take_back()) is not None:
            taken.append(entry.question)

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_SECONDS)
    assert len(taken) == len(set(taken)) == 100


def test_a_camera_that_is_started_again_ends_the_session_before_its_clock_is_read(
    sessions: SessionManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions.open_camera("one")
    before = sessions.watching("one", None)
    push(before, 0.0, 3)
    ended: list[float] = []

    end = UserSession.end

    def late(self: UserSession, within_seconds: float = WAIT_SECONDS) -> None:
        if self is before and not ended:  # what the old camera sent last is still ingested while its session ends
            self.push(picture(200, 90, 160), 5.0)
            assert self.session.wait_until(lambda stats: stats.frames_seen == 4, WAIT_SECONDS)
            ended.append(self.session.stats().position_seconds)
        end(self, within_seconds)

    monkeypatch.setattr(UserSession, "end", late)
    sessions.open_camera("one")
    assert ended == [5.0]
    assert sessions.watching("one", None).camera_began > 5.0


def test_a_session_that_cannot_start_holds_no_place(sessions: SessionManager, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: LiveSession) -> None:
        self._threads[0].start()
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(LiveSession, "start", fail)
        with pytest.raises(RuntimeError, match="new thread"):
            sessions.open("one", videos.bikes())
    assert len(sessions) == 0
    assert session_threads() == []
    sessions.open("one", videos.bikes())


def test_a_session_keeps_the_options_that_it_was_opened_with(sessions: SessionManager) -> None:
    sessions.open("one", videos.bikes())
    sessions.choose("one", Options(chunk_frames=7))
    assert sessions.watching("one", None).chosen == Options()


def test_what_an_earlier_session_kept_fewer_of_is_kept_again(sessions: SessionManager) -> None:
    sessions.open_camera("one")
    push(sessions.watching("one", None), 0.0, 2)
    engine = sessions.watching("one", None).session.engine
    engine.limit_kept(1)
    sessions.open_camera("one")
    user_session = sessions.watching("one", None)
    assert user_session.session.engine is engine
    before = user_session.session.stats().frames_kept
    for number in range(20):
        user_session.push(picture(250 * (number % 2), 90, 160), number / 20)
    assert user_session.session.wait_until(lambda stats: stats.frames_seen == 22, WAIT_SECONDS)
    assert user_session.session.stats().frames_kept - before > 2


def test_a_question_is_about_the_player_or_the_whole_video_whatever_was_processed(page: Page) -> None:
    list(page.ask())
    page.user_session.ingest_the_rest()
    assert page.user_session.session.wait_until(lambda stats: stats.finished, WAIT_SECONDS)
    list(page.ask(at_seconds=3.0))
    list(page.ask(scope=WHOLE))
    entries = [entry for entry in page.user_session.conversation.entries if entry.question is not None]
    assert [entry.at_seconds for entry in entries] == pytest.approx([0.5, 3.0, 9.92])


def test_progress_counts_towards_what_is_waited_for(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(user_session, "WAIT_SECONDS", 0.0)
    assert "of 0:05 …" in str(list(page.ask(at_seconds=5.0)))
    assert "of 0:10 …" in str(list(page.ask(scope=WHOLE)))
