"""The hand-off between threads, and whose turn it is on the model."""

import itertools
import threading
from types import SimpleNamespace

import pytest

from streamchat.channel import Channel
from streamchat.gate import Gate, Priority


def run(work) -> threading.Thread:  # type: ignore[no-untyped-def]
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def test_items_come_out_in_order_and_a_closed_channel_ends() -> None:
    channel: Channel[int] = Channel(3)
    for number in range(3):
        assert channel.put(number)
    channel.close()
    assert list(channel) == [0, 1, 2]
    assert not channel.put(9)


def test_a_full_channel_makes_the_writer_wait() -> None:
    channel: Channel[int] = Channel(1)
    channel.put(0)
    written = threading.Event()

    def write() -> None:
        channel.put(1)
        written.set()

    thread = run(write)
    assert not written.is_set()
    assert channel.take() == [0]
    assert written.wait(10)
    thread.join(10)
    assert channel.take() == [1]


def test_a_full_live_channel_drops_the_oldest_and_counts_it() -> None:
    channel: Channel[int] = Channel(2, when_full="drop_oldest")
    for number in range(5):
        channel.put(number)
    assert channel.dropped == 3
    assert channel.take(at_most=5) == [3, 4]


def test_an_error_comes_out_after_the_items_before_it() -> None:
    channel: Channel[int] = Channel(2)
    channel.put(1)
    channel.close(OSError("gone"))
    assert channel.take() == [1]
    with pytest.raises(OSError, match="gone"):
        channel.take()


def test_closing_frees_a_waiting_reader_and_a_waiting_writer() -> None:
    empty: Channel[int] = Channel(1)
    full: Channel[int] = Channel(1)
    full.put(0)
    threads = [run(empty.take), run(lambda: full.put(1))]
    empty.close()
    full.close(discard=True)
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()


def test_a_question_gets_the_turn_that_a_caption_offers() -> None:
    gate = Gate()
    order: list[str] = []
    holding, asked = threading.Event(), threading.Event()

    def caption() -> None:
        with gate.turn(Priority.CAPTION):
            holding.set()
            asked.wait(10)
            order.append("caption begins")
            while "question" not in order:
                gate.offer(Priority.CAPTION)
            order.append("caption ends")

    def question() -> None:
        holding.wait(10)
        asked.set()
        with gate.turn(Priority.QUESTION):
            order.append("question")

    threads = [run(caption), run(question)]
    for thread in threads:
        thread.join(10)
    assert order == ["caption begins", "question", "caption ends"]


def test_an_offer_is_kept_when_nobody_with_priority_waits() -> None:
    gate = Gate()
    waiting = threading.Event()
    entered = threading.Event()

    def other_caption() -> None:
        waiting.set()
        with gate.turn(Priority.CAPTION):
            entered.set()

    with gate.turn(Priority.CAPTION):
        thread = run(other_caption)
        waiting.wait(10)
        gate.offer(Priority.CAPTION)
        assert not entered.is_set()
    thread.join(10)
    assert entered.is_set()


def test_as_many_hold_the_turn_as_there_is_capacity() -> None:
    gate = Gate(3)
    together = threading.Barrier(3)

    def question() -> None:
        with gate.turn(Priority.QUESTION):
            together.wait(10)

    threads = [run(question) for _ in range(3)]
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    with pytest.raises(ValueError, match="capacity of 1 or more"):
        Gate(0)


def test_captions_leave_turns_for_a_question() -> None:
    gate = Gate(4)
    holding, release = threading.Semaphore(0), threading.Event()

    def caption() -> None:
        with gate.turn(Priority.CAPTION):
            holding.release()
            release.wait(10)

    threads = [run(caption) for _ in range(4)]
    assert all(holding.acquire(timeout=10) for _ in range(2))
    assert not holding.acquire(timeout=0.1), "captions hold half of the turns"
    with gate.turn(Priority.QUESTION), gate.turn(Priority.QUESTION):
        pass
    release.set()
    for thread in threads:
        thread.join(10)
    assert all(holding.acquire(timeout=10) for _ in range(2)), "the others followed"


def test_a_kept_turn_lets_questions_in_and_captions_only_when_it_is_let_go() -> None:
    gate = Gate()
    order: list[str] = []
    about_to_enter = threading.Event()

    def caption() -> None:
        about_to_enter.set()
        with gate.turn(Priority.CAPTION):
            order.append("caption")

    with gate.turn(Priority.QUESTION, keep_seconds=1000):
        thread = run(caption)
        about_to_enter.wait(10)
        order.append("first piece")
    with gate.turn(Priority.QUESTION, keep_seconds=1000):
        order.append("second piece")
    gate.let_go()
    thread.join(10)
    assert order == ["first piece", "second piece", "caption"]


def test_a_kept_turn_is_over_after_its_time() -> None:
    gate = Gate()
    with gate.turn(Priority.QUESTION, keep_seconds=0.05):
        pass
    thread = run(lambda: gate.turn(Priority.CAPTION).__enter__())
    thread.join(10)
    assert not thread.is_alive()


def test_a_kept_turn_that_ends_between_two_looks_at_the_clock_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count(0.0, 0.02)
    monkeypatch.setattr("streamchat.gate.time", SimpleNamespace(monotonic=lambda: next(clock)))
    gate = Gate()
    with gate.turn(Priority.QUESTION, keep_seconds=0.03):
        pass
    entered = threading.Event()

    def enter() -> None:
        with gate.turn(Priority.CAPTION):
            entered.set()

    threading.Thread(target=enter, daemon=True).start()
    assert entered.wait(30)
