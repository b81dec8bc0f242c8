"""What a stream did so far, kept small."""

from __future__ import annotations

import pytest
from conftest import picture

from streamchat.session.history import FIRST_BIN_SECONDS, MOTION_SAMPLES, STRIP_BINS, History
from streamchat.types import Frame


def add(history: History, seconds: float, *, kept: bool = True, motion: float = 1.0) -> None:
    history.add(Frame(picture(), seconds, 0), kept=kept, motion=motion, threshold=2.0)


def test_kept_frames_are_counted_where_they_are() -> None:
    history = History()
    for seconds, kept in ((0.0, True), (0.05, True), (0.12, False), (0.25, True)):
        add(history, seconds, kept=kept)
    assert history.kept() == (FIRST_BIN_SECONDS, (2, 0, 1))


def test_a_day_fits_and_no_kept_frame_is_lost() -> None:
    history = History()
    for hour in range(24):
        for second in range(0, 3600, 30):
            add(history, hour * 3600.0 + second)
    strip = history.kept()
    assert len(strip.counts) <= STRIP_BINS
    assert sum(strip.counts) == 24 * 120
    assert strip.bin_seconds * len(strip.counts) == pytest.approx(86400, rel=0.01)


def test_one_that_was_saved_goes_on() -> None:
    history = History()
    add(history, 1.0)
    later = History(history.kept())
    add(later, 1.01)
    assert later.kept().counts[10] == 2


def test_the_newest_motion_is_given_from_a_time_on() -> None:
    history = History()
    for number in range(3 * MOTION_SAMPLES):
        add(history, number / 25, motion=number)
    samples = history.motion()
    assert len(samples) == MOTION_SAMPLES
    assert samples[-1].seconds - samples[0].seconds == pytest.approx(0.12 * (MOTION_SAMPLES - 1), abs=0.01)
    assert history.motion(samples[-2].seconds) == samples[-1:]
