"""Who a model serves next, how many at once, and how its work is cancelled."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Generator
from contextlib import closing
from types import SimpleNamespace

import pytest

from streamchat.models.scheduler import NEVER, CancelledError, CancelToken, Priority, Scheduler

WAIT_SECONDS = 30


def run(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def join(*threads: threading.Thread) -> None:
    for thread in threads:
        thread.join(WAIT_SECONDS)
        assert not thread.is_alive()


class Holder:
    """Someone who holds a slot until it is released, in a thread of its own."""

    def __init__(self, scheduler: Scheduler, priority: Priority, cancel: CancelToken = NEVER) -> None:
        self.entered, self.leave = threading.Event(), threading.Event()
        self.cancelled = False
        self._scheduler, self._priority, self._cancel = scheduler, priority, cancel
        self.thread = run(self._work)

    def _work(self) -> None:
        try:
            with self._scheduler.slot(self._priority, self._cancel):
                self.entered.set()
                self.leave.wait(WAIT_SECONDS)
        except CancelledError:
            self.cancelled = True

    def holds(self) -> bool:
        return self.entered.wait(WAIT_SECONDS)

    def waits(self) -> bool:
        return not self.entered.wait(0.1)

    def let_go(self) -> None:
        self.leave.set()
        join(self.thread)


class TestSlots:
    def test_a_question_goes_first_between_two_tokens_of_a_caption(self) -> None:
        scheduler = Scheduler()
        order: list[str] = []
        holding, asked = threading.Event(), threading.Event()

        def caption() -> None:
            with scheduler.slot(Priority.CAPTION) as token:
                holding.set()
                asked.wait(WAIT_SECONDS)
                order.append("caption begins")
                while "question" not in order:
                    token.check()
                order.append("caption ends")

        def question() -> None:
            holding.wait(WAIT_SECONDS)
            asked.set()
            with scheduler.slot(Priority.QUESTION):
                order.append("question")

        join(run(caption), run(question))
        assert order == ["caption begins", "question", "caption ends"]

    def test_a_slot_is_kept_when_nobody_more_important_waits(self) -> None:
        scheduler = Scheduler()
        with scheduler.slot(Priority.CAPTION) as token:
            other = Holder(scheduler, Priority.CAPTION)
            assert other.waits()
            token.check()
            assert other.waits()
        assert other.holds()
        other.let_go()

    def test_as_many_hold_one_as_there_is_capacity(self) -> None:
        scheduler = Scheduler(3)
        together = threading.Barrier(3)

        def question() -> None:
            with scheduler.slot(Priority.QUESTION):
                together.wait(WAIT_SECONDS)

        join(*[run(question) for _ in range(3)])
        assert not together.broken
        with pytest.raises(ValueError, match="capacity of 1 or more"):
            Scheduler(0)

    def test_who_waits_is_served_by_priority_and_then_by_arrival(self) -> None:
        scheduler = Scheduler()
        first = Holder(scheduler, Priority.QUESTION)
        assert first.holds()
        order: list[str] = []

        def wait(name: str, priority: Priority) -> threading.Thread:
            def work() -> None:
                with scheduler.slot(priority):
                    order.append(name)

            before = len(scheduler._queue)
            thread = run(work)
            while len(scheduler._queue) == before:
                assert thread.is_alive()
            return thread

        threads = [
            wait("background", Priority.BACKGROUND),
            wait("caption", Priority.CAPTION),
            wait("another caption", Priority.CAPTION),
            wait("alert", Priority.ALERT),
            wait("question", Priority.QUESTION),
        ]
        first.let_go()
        join(*threads)
        assert order == ["question", "alert", "caption", "another caption", "background"]

    def test_a_server_serves_captions_beside_questions_but_in_half_of_its_slots(self) -> None:
        scheduler = Scheduler(4, preempts=False)
        captions = [Holder(scheduler, Priority.CAPTION) for _ in range(3)]
        while sum(one.entered.is_set() for one in captions) < 2:
            assert all(one.thread.is_alive() for one in captions)
        assert sum(one.waits() for one in captions) == 1
        questions = [Holder(scheduler, Priority.QUESTION) for _ in range(2)]
        assert all(one.holds() for one in questions)
        for one in (*captions, *questions):
            one.let_go()
        assert all(one.entered.is_set() for one in captions)

    def test_a_model_that_preempts_serves_no_caption_while_it_serves_a_question(self) -> None:
        scheduler = Scheduler(4)
        question = Holder(scheduler, Priority.QUESTION)
        assert question.holds()
        caption = Holder(scheduler, Priority.CAPTION)
        assert caption.waits()
        with scheduler.free_slot(Priority.BACKGROUND) as token:
            assert token is None
        question.let_go()
        assert caption.holds()
        caption.let_go()

    def test_background_work_takes_a_slot_only_if_one_is_free(self) -> None:
        scheduler = Scheduler()
        with scheduler.free_slot(Priority.BACKGROUND) as token:
            assert token is not None
            question = Holder(scheduler, Priority.QUESTION)
            assert question.waits()
            question.leave.set()
            while not question.entered.is_set():
                token.check()
        question.let_go()
        caption = Holder(scheduler, Priority.CAPTION)
        assert caption.holds()
        with scheduler.free_slot(Priority.BACKGROUND) as token:
            assert token is None
        caption.let_go()


class TestStreams:
    @staticmethod
    def words(token: CancelToken) -> Generator[str, None, None]:
        for word in ("one", "two", "three"):
            token.check()
            yield word

    def test_all_pieces_come_in_order(self) -> None:
        for preempts in (True, False):
            assert list(Scheduler(preempts=preempts).stream(self.words, Priority.QUESTION)) == ["one", "two", "three"]

    def test_between_two_pieces_a_question_gets_in_and_a_caption_does_not(self) -> None:
        scheduler = Scheduler()
        with closing(scheduler.stream(self.words, Priority.QUESTION)) as pieces:
            next(pieces)
            scheduler._reserved_until += 1000
            question, caption = Holder(scheduler, Priority.QUESTION), Holder(scheduler, Priority.CAPTION)
            assert question.holds()
            question.let_go()
            assert caption.waits()
        assert caption.holds(), "the stream was closed"
        caption.let_go()

    def test_a_slow_reader_holds_up_nobody_for_long(self) -> None:
        scheduler = Scheduler()
        with closing(scheduler.stream(self.words, Priority.QUESTION)) as pieces:
            next(pieces)
            caption = Holder(scheduler, Priority.CAPTION)
            assert caption.holds()
            caption.let_go()

    def test_a_reserved_slot_that_ends_between_two_looks_at_the_clock_is_free(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        clock = itertools.count(0.0, 0.02)
        monkeypatch.setattr("streamchat.models.scheduler.time", SimpleNamespace(monotonic=lambda: next(clock)))
        scheduler = Scheduler()
        scheduler._reserved_for, scheduler._reserved_until = Priority.QUESTION, 0.03
        caption = Holder(scheduler, Priority.CAPTION)
        assert caption.holds()
        caption.let_go()

    def test_a_stream_of_a_server_holds_its_slot_until_it_is_closed(self) -> None:
        scheduler = Scheduler(1, preempts=False)
        with closing(scheduler.stream(self.words, Priority.QUESTION)) as pieces:
            next(pieces)
            other = Holder(scheduler, Priority.QUESTION)
            assert other.waits()
        assert other.holds()
        other.let_go()


class TestCancelling:
    def test_who_waits_for_a_slot_leaves_the_queue(self) -> None:
        scheduler, cancel = Scheduler(), CancelToken()
        first = Holder(scheduler, Priority.CAPTION)
        assert first.holds()
        waiting = Holder(scheduler, Priority.CAPTION, cancel)
        assert waiting.waits()
        cancel.cancel()
        join(waiting.thread)
        assert waiting.cancelled
        first.let_go()
        with scheduler.slot(Priority.BACKGROUND):
            pass

    def test_a_check_ends_the_work_and_the_slot_is_free_again(self) -> None:
        scheduler, cancel = Scheduler(), CancelToken()
        with scheduler.slot(Priority.CAPTION, cancel) as token:
            token.check()
            cancel.cancel()
            with pytest.raises(CancelledError):
                token.check()
        with scheduler.slot(Priority.CAPTION):
            pass

    def test_who_let_a_question_go_first_is_cancelled_while_that_is_served(self) -> None:
        scheduler, cancel = Scheduler(), CancelToken()
        paused = threading.Event()
        ended: list[bool] = []

        def caption() -> None:
            try:
                with scheduler.slot(Priority.CAPTION, cancel) as token:
                    paused.set()
                    while True:
                        token.check()
            except CancelledError:
                ended.append(True)

        thread = run(caption)
        assert paused.wait(WAIT_SECONDS)
        question = Holder(scheduler, Priority.QUESTION)
        assert question.holds()
        cancel.cancel()
        join(thread)
        assert ended
        question.let_go()
        assert scheduler._held == dict.fromkeys(Priority, 0)

    @pytest.mark.parametrize("preempts", [True, False])
    def test_a_stream_ends_at_its_next_token(self, preempts: bool) -> None:
        scheduler, cancel = Scheduler(preempts=preempts), CancelToken()
        closed: list[bool] = []

        def endless(token: CancelToken) -> Generator[str, None, None]:
            try:
                while True:
                    token.check()
                    yield "word"
            finally:
                closed.append(True)

        pieces = scheduler.stream(endless, Priority.QUESTION, cancel)
        next(pieces)
        cancel.cancel()
        with pytest.raises(CancelledError):
            next(pieces)
        assert closed
        with scheduler.slot(Priority.CAPTION):
            pass

    def test_a_child_is_cancelled_with_its_parent_and_not_the_other_way(self) -> None:
        parent = CancelToken()
        first, second = CancelToken(parent), CancelToken(parent)
        first.cancel()
        assert (first.cancelled, second.cancelled, parent.cancelled) == (True, False, False)
        parent.cancel()
        assert second.cancelled
        assert CancelToken(parent).cancelled, "one that comes later, too"

    def test_a_finished_child_is_forgotten(self) -> None:
        parent = CancelToken()
        for _ in range(3):
            with Scheduler().slot(Priority.CAPTION, parent):
                pass
        assert not parent._callbacks

    def test_a_callback_is_called_once_or_not_at_all_if_it_was_taken_back(self) -> None:
        token, called = CancelToken(), []
        token.on_cancel(lambda: called.append("kept"))
        token.on_cancel(lambda: called.append("taken back"))()
        token.cancel()
        token.cancel()
        token.on_cancel(lambda: called.append("late"))
        assert called == ["kept", "late"]

    def test_waiting_ends_when_it_is_cancelled(self) -> None:
        token = CancelToken()
        assert not token.wait(0.0)
        waiting = run(lambda: token.wait(WAIT_SECONDS * 10))
        token.cancel()
        join(waiting)

    def test_nobody_cancels_what_is_everyones(self) -> None:
        with pytest.raises(RuntimeError, match="make one of your own"):
            NEVER.cancel()
        NEVER.check()
