"""The hand-off between threads."""

import threading

import pytest

from streamchat.channel import Channel


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


def test_what_waits_can_be_thrown_away_with_the_closing() -> None:
    channel: Channel[int] = Channel(3)
    channel.put(1)
    channel.put(2)
    channel.close(discard=True)
    assert channel.take() == []
    assert len(channel) == 0


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
