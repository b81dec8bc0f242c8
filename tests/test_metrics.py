"""Metrics, against numbers worked out by hand; and the report made of them."""

from __future__ import annotations

from typing import Any

import pytest

from evaluation import metrics, plots
from evaluation.metrics import Graded
from evaluation.report import Table, as_csv, markdown, page


def row(entry: int, index: int, **changes: Any) -> dict[str, Any]:
    return {
        "id": f"{entry}-{index}",
        "entry": entry,
        "index": index,
        "video": f"{entry}.mp4",
        "kind": "OS",
        "question": f"What {index}?",
        "time_seconds": float(index),
        "asked_at_seconds": float(index),
        "error": None,
        "frames_seen": 10 * (index + 1),
        "take_in_seconds": 0.5 * (index + 1),
        "pictures": 4,
        "timing": {"retrieval_seconds": 0.1 * (index + 1), "first_token_seconds": 0.2 * (index + 1)},
        **changes,
    }


def graded(entry: int, index: int, score: float | None, **changes: Any) -> Graded:
    correct = None if score is None else score >= 3
    return Graded(row=row(entry, index, **changes), correct=correct, score=score)


# Video 0: scores 5, 1, (ungraded), 4; video 1: 2, 3.
ANSWERS = [
    graded(0, 0, 5),
    graded(0, 1, 1),
    graded(0, 2, None),
    graded(0, 3, 4),
    graded(1, 0, 2),
    graded(1, 1, 3),
]


def test_accuracy_and_score_are_means_over_what_was_graded() -> None:
    found = metrics.scores(ANSWERS)
    assert (found.questions, found.graded, found.ungraded) == (6, 5, 1)
    assert found.accuracy.value == pytest.approx(100 * 3 / 5)
    assert found.score.value == pytest.approx((5 + 1 + 4 + 2 + 3) / 5)


def test_coherence_takes_neighbours_within_one_sample_both_graded() -> None:
    assert sorted(value for _, value in metrics.changes(ANSWERS)) == [1, 4]
    assert metrics.scores(ANSWERS).coherence.value == pytest.approx(2.5)


def test_coherence_follows_the_order_of_time() -> None:
    late_first = [graded(0, 0, 5, asked_at_seconds=9.0), graded(0, 1, 1), graded(0, 2, 2)]
    assert [value for _, value in metrics.changes(late_first)] == [1, 3]


def test_entries_that_share_a_video_are_not_merged() -> None:
    shared = [graded(0, 0, 5, video="a.mp4"), graded(1, 0, 0, video="a.mp4")]
    assert metrics.changes(shared) == []


def test_the_interval_comes_from_drawing_videos() -> None:
    one_video = metrics.scores([graded(0, index, score) for index, score in enumerate([0, 5, 0, 5])])
    assert (one_video.score.low, one_video.score.high) == (2.5, 2.5)
    two_videos = metrics.scores([graded(0, 0, 0), graded(1, 0, 4)])
    assert (two_videos.score.low, two_videos.score.value, two_videos.score.high) == (0, 2, 4)


def test_nothing_graded_is_no_figure_and_not_zero() -> None:
    found = metrics.scores([graded(0, 0, None)])
    assert (found.accuracy.value, found.score.value, found.coherence.value) == (None, None, None)


def test_repeats_are_left_out_once() -> None:
    twice = [graded(0, 0, 5), graded(7, 0, 1, video="0.mp4"), graded(0, 1, 2)]
    assert [one.row["id"] for one in metrics.without_repeats(twice)] == ["0-0", "0-1"]


def test_speed_is_taken_of_answers_that_came() -> None:
    rows = [row(0, 0), row(0, 1), row(1, 0), row(2, 0, error="gone", timing=None)]
    found = metrics.speed(rows)
    assert found.rpd_median == pytest.approx(0.1)
    assert found.rpd_p95 == pytest.approx(0.19)
    assert found.first_token_median == pytest.approx(0.2)
    assert found.fps == pytest.approx((20 + 10) / (1.0 + 0.5))


def test_a_difference_is_paired() -> None:
    baseline = [graded(0, 0, 0), graded(0, 1, 5), graded(0, 3, None), graded(1, 0, 0), graded(1, 1, 0)]
    # Pairs: 0-0 yes/no +1, 0-1 no/yes -1, 0-3 left out, 1-0 no/no 0, 1-1 yes/no +1.
    assert metrics.difference(ANSWERS, baseline).value == pytest.approx(25.0)


@pytest.mark.parametrize(
    ("seconds", "name"),
    [(None, "unknown"), (59, "under 1 min"), (60, "1-3 min"), (599, "3-10 min"), (3600, "over 10 min")],
)
def test_videos_are_grouped_by_length(seconds: float | None, name: str) -> None:
    assert metrics.length_of({"video_seconds": seconds}) == name


def test_names_with_numbers_are_sorted_by_them() -> None:
    names = ["60 min", "10 s", "OS", "1 min", "0 s", "5 min"]
    assert sorted(names, key=plots.natural) == ["0 s", "10 s", "1 min", "5 min", "60 min", "OS"]


def test_tables_survive_every_format() -> None:
    table = Table(title="T", columns=["run", "a|b"], rows=[["<b>x</b>", "1 | 2"]], note="n & m")
    assert "1 \\| 2" in markdown([table])
    assert "<b>x" not in page([table], [])
    assert "&lt;b&gt;x" in page([table], [])
    assert as_csv([table]).splitlines()[1] == "T,<b>x</b>,a|b,1 | 2"
