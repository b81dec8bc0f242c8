"""Metrics, against numbers worked out by hand; and the report made of them."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from typing import Any

import pytest

from evaluation import metrics, plots, report
from evaluation.judges.base import PAPERS_MODEL
from evaluation.metrics import Figure, Graded
from evaluation.records import RunFolder, answer_digest
from evaluation.tables import Number, Table, as_csv, markdown, page
from streamchat.errors import InputError


def row(entry: int, index: int, **changes: Any) -> dict[str, Any]:
    return {
        "id": f"{entry}-{index}",
        "entry": entry,
        "index": index,
        "video": f"{entry}.mp4",
        "kind": "OS",
        "domain": "Ego",
        "reference": "That.",
        "answer": "That.",
        "past_the_end": False,
        "frames_kept": 4,
        "question": f"What {index}?",
        "time_seconds": float(index),
        "asked_at_seconds": float(index),
        "error": None,
        "frames_seen": 10 * (index + 1),
        "ingest_seconds": 0.5 * (index + 1),
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
    late_first = [graded(0, 0, 5, time_seconds=9.0), graded(0, 1, 1), graded(0, 2, 2)]
    assert [value for _, value in metrics.changes(late_first)] == [1, 3]


def test_coherence_follows_the_times_of_the_file_where_all_are_asked_at_the_end() -> None:
    late = {"asked_at_seconds": 5.3}
    rounds = [graded(0, 0, 0), graded(0, 1, 5, time_seconds=70, **late), graded(0, 2, 0, time_seconds=60, **late)]
    assert [value for _, value in metrics.changes(rounds)] == [0, 5]


def test_entries_that_share_a_video_are_not_merged() -> None:
    shared = [graded(0, 0, 5, video="a.mp4"), graded(1, 0, 0, video="a.mp4")]
    assert metrics.changes(shared) == []


def test_the_interval_comes_from_drawing_videos() -> None:
    five = metrics.scores([graded(entry, index, 2.0) for entry in range(5) for index in range(3)])
    assert (five.score.low, five.score.value, five.score.high, five.score.videos) == (2, 2, 2, 5)
    spread = metrics.scores([graded(entry, 0, float(entry)) for entry in range(5)])
    assert 0 <= (spread.score.low or 0) < 2 < (spread.score.high or 0) <= 4


def test_fewer_than_five_videos_have_no_interval() -> None:
    found = metrics.scores([graded(entry, 0, 2.0) for entry in range(4)]).score
    assert found == Figure(value=2.0, videos=4)


def test_nothing_graded_is_no_figure_and_not_zero() -> None:
    found = metrics.scores([graded(0, 0, None)])
    assert (found.accuracy.value, found.score.value, found.coherence.value) == (None, None, None)


def test_repeats_are_left_out_once() -> None:
    twice = [graded(0, 0, 5), graded(7, 0, 1, video="0.mp4"), graded(0, 1, 2)]
    assert [one.row["id"] for one in metrics.without_repeats(twice)] == ["0-0", "0-1"]


def test_speed_is_taken_of_answers_that_came() -> None:
    rows = [row(0, 0), row(0, 1), row(1, 0), row(2, 0, error="gone", timing=None)]
    found = metrics.speed(rows)
    assert found.retrieval_median == pytest.approx(0.1)
    assert found.retrieval_p95 == pytest.approx(0.19)
    assert found.rpd_median == pytest.approx(0.2)
    assert found.rpd_p95 == pytest.approx(0.38)
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


def test_lengths_are_sorted_from_the_shortest() -> None:
    names = ["unknown", "over 10 min", "1-3 min", "under 1 min", "3-10 min"]
    assert sorted(names, key=plots.natural) == ["under 1 min", "1-3 min", "3-10 min", "over 10 min", "unknown"]


def test_the_grade_of_an_answer_that_was_replaced_counts_no_more() -> None:
    before = row(0, 0, answer="", error="503", timing=None)
    grades = {"0-0": {"correct": None, "score": None, "answer_digest": answer_digest(before)}}
    assert metrics.join([before], grades)[0].score is None
    grade = {"correct": True, "score": 5.0, "answer_digest": answer_digest(row(0, 0))}
    assert [one.score for one in metrics.join([row(0, 0)], {"0-0": grade})] == [5.0]
    assert not metrics.join([row(0, 0, answer="This.")], {"0-0": grade})[0].is_graded


def given(*, captions: Any = (), pictures: Any = ()) -> dict[str, Any]:
    return {"captions": list(captions), "pictures": list(pictures)}


@pytest.mark.parametrize(
    ("what", "yes"),
    [
        (given(), False),
        (given(pictures=[[9.0, 9.0], [12.0, 12.0]]), True),
        (given(pictures=[[9.75, 9.75]]), True),  # half a frame's time before it
        (given(pictures=[[9.7, 9.7], [14.3, 14.3]]), False),
        (given(pictures=[[8.0, 16.0]]), False),  # an average of more than the evidence
        (given(captions=[[0.0, 10.0, 0], [14.0, 20.0, 0]]), False),  # they touch it
        (given(captions=[[0.0, 10.1, 0]]), True),
        (given(captions=[[11.0, 12.0, 0]]), True),
        (given(captions=[[0.0, 60.0, 1]]), False),  # a summary
    ],
)
def test_evidence_is_reached_by_a_picture_or_by_the_caption_of_a_leaf(what: dict[str, Any], yes: bool) -> None:
    asked = row(0, 0, asked_at_seconds=40.0, frames_seen=81, reference_span=[10.0, 14.0], given=what)
    assert metrics.was_reached(asked) is yes


def test_evidence_of_an_instant_is_reached_by_the_leaf_that_it_lies_in() -> None:
    asked = row(0, 0, asked_at_seconds=40.0, frames_seen=81, reference_span=[10.0, 10.0])
    leaves = [[0.0, 10.0, 0], [10.0, 15.0, 0]]
    assert [metrics.was_reached(asked | {"given": given(captions=[leaf])}) for leaf in leaves] == [False, True]


def test_what_is_not_known_to_be_reached_is_in_no_mean() -> None:
    span = {"reference_span": [0.0, 1.0], "asked_at_seconds": 5.0}
    rows = [
        row(0, 0, **span, given=given(captions=[[0.0, 2.0, 0]])),
        row(0, 1, **span, given=given()),
        row(0, 2, **span),  # of a run from before this was recorded
        row(0, 3, **span, error="gone"),
        row(0, 4, given=given(captions=[[0.0, 2.0, 0]])),
    ]
    assert metrics.reached(rows).value == 50.0
    assert metrics.reached(rows[2:]).value is None


@pytest.mark.parametrize(
    ("seconds", "name"),
    [
        (0, "under 10 s"),
        (10, "10-60 s"),
        (60, "1-5 min"),
        (899, "5-15 min"),
        (900, "15-60 min"),
        (3600, "60 min or more"),
    ],
)
def test_questions_are_grouped_by_the_time_since_their_evidence(seconds: float, name: str) -> None:
    assert metrics.distance_of(row(0, 0, asked_at_seconds=100 + seconds, reference_span=[90, 100])) == name
    assert metrics.distance_of(row(0, 0)) == "unknown"


def test_distances_are_sorted_from_the_shortest() -> None:
    names = [name for _, name in metrics.DISTANCES]
    assert sorted(set(names), key=plots.natural) == names


def written(folder: Path, rows: list[dict[str, Any]], benchmark: str = "x") -> RunFolder:
    run = RunFolder(folder)
    identity = {
        "benchmark": benchmark,
        "data": {},
        "model": "m",
        "model_name": "m",
        "method": "memory",
        "preset": "base",
    }
    run.begin({**identity, "model_revision": "0123456789abcdef"}, {"questions": 9, "problems": 2})
    with run.writer(0) as writer:
        for one in rows:
            writer.write(one)
    return run


def test_a_report_names_runs_apart_and_counts_the_questions_of_each(tmp_path: Path) -> None:
    runs = [written(tmp_path / "a" / "run", [row(0, 0)]), written(tmp_path / "b" / "run", [row(0, 0), row(0, 1)])]
    loaded = report.load(runs)
    assert len({run.label for run in loaded}) == 2
    assert str(tmp_path / "a" / "run") in loaded[0].label
    grade = {"judge": "j", "caveat": "a stand-in", "correct": True, "score": 5, "ungraded": None}
    for run in loaded:
        run.grades["j"] = {one["id"]: {**grade, "answer_digest": answer_digest(one)} for one in run.rows}
    text = markdown(report.tables_of(loaded))
    assert "OS (1 to 2)" in text
    assert "The judge is a stand-in" in text
    assert "0123456789ab" in text
    assert "5.00 [–; 1 video]" in text


def test_a_report_says_of_how_many_questions_the_evidence_was_reached(tmp_path: Path) -> None:
    near = {"reference_span": [0.0, 1.0], "asked_at_seconds": 5.0}
    far = {"reference_span": [0.0, 1.0], "asked_at_seconds": 500.0, "kind": "LM"}
    yes, no = given(pictures=[[0.5, 0.5]]), given(pictures=[[3.0, 3.0]])
    run = written(
        tmp_path / "run",
        [row(0, 0, **near, given=yes), row(0, 1, **near, given=no), row(0, 2, **far, given=yes), row(0, 3)],
    )
    by_time, by_kind = (table for table in report.tables_of(report.load([run])) if table.title.startswith("Reached"))
    assert list(by_time.columns) == ["run", "questions", "all", "under 10 s", "5-15 min"]
    assert [str(cell).split()[0] for cell in by_time.rows[0][1:]] == ["3", "66.7", "50.0", "100.0"]
    assert list(by_kind.columns) == ["run", "questions", "all", "LM", "OS"]
    assert [str(cell).split()[0] for cell in by_kind.rows[0][1:]] == ["3", "66.7", "100.0", "50.0"]
    old = written(tmp_path / "old", [row(0, 0)])
    assert not any(table.title.startswith("Reached") for table in report.tables_of(report.load([old])))


def test_a_report_names_the_number_of_frames_where_it_is_not_the_usual_one(tmp_path: Path) -> None:
    labels = []
    for method, most in (("recent", 4), ("recent", 32), ("memory", 4)):
        run = RunFolder(tmp_path / f"{method}{most}")
        identity = {"benchmark": "x", "data": {}, "model": "m", "model_name": "m", "method": method, "preset": "base"}
        run.begin({**identity, "options": {"max_pictures": most}}, {"questions": 1})
        with run.writer(0) as writer:
            writer.write(row(0, 0))
        labels.append(report.load([run])[0].label)
    assert labels == ["recent-4, m, base", "recent, m, base", "memory, m, base"]


@pytest.mark.parametrize("caveat", ["", f"{PAPERS_MODEL} a prompt of our own", "another one than the paper's"])
def test_published_rows_stand_beside_the_papers_model_alone_and_say_what_they_are(tmp_path: Path, caveat: str) -> None:
    """Grades that were given before there was a caveat are of the paper's model, with our own prompt."""
    (run,) = report.load([written(tmp_path / "run", [row(0, 0)], benchmark="streambench")])
    grade = {"judge": "j", "caveat": caveat, "correct": True, "score": 5, "ungraded": None}
    run.grades["j"] = {one["id"]: {**grade, "answer_digest": answer_digest(one)} for one in run.rows}
    scores = markdown([table for table in report.tables_of([run]) if table.title.startswith("Scores")])
    near = caveat != "another one than the paper's"
    assert ("published: base, LongVA-7B on two 80 GB GPUs, their own prompt | 3.42 | 63.8" in scores) == near
    assert ("not to be compared digit for digit" in scores) == near
    assert ("with a prompt of our own: its figures are near the published ones, and not equal" in scores) == near
    assert ("cannot be compared with published ones" in scores) != near


def test_a_report_whose_place_is_a_file_is_refused(tmp_path: Path) -> None:
    run = written(tmp_path / "run", [row(0, 0)])
    (tmp_path / "out").write_text("mine")
    with pytest.raises(InputError, match="out cannot be made a folder"):
        report.write([run], tmp_path / "out")


def test_numbers_are_rounded_for_the_eye_and_whole_in_csv() -> None:
    known = Number(value=2.0001, digits=2, low=1.75, high=2.5)
    assert str(known) == "2.00 [1.75, 2.50]"
    assert str(Number(value=1.25, digits=1, sign=True, why_alone="4 videos")) == "+1.2 [–; 4 videos]"
    assert str(Number(value=None, digits=1)) == "–"
    table = Table(title="T", columns=["run", "a", "b"], rows=[["x", known, "text"]])
    assert as_csv([table]).splitlines()[1:] == ["T,x,a,2.0001,1.75,2.5", "T,x,b,text,,"]


def test_tables_survive_every_format() -> None:
    table = Table(title="T", columns=["run", "a|b"], rows=[["<b>x</b>", "1 | 2"]], note="n & m")
    assert "1 \\| 2" in markdown([table])
    assert "<b>x" not in page([table], [])
    assert "&lt;b&gt;x" in page([table], [])
    assert as_csv([table]).splitlines()[1] == "T,<b>x</b>,a|b,1 | 2,,"


@pytest.mark.parametrize("hostile", ["=HYPERLINK(1)", "+1+cmd", "-2+3", "@SUM(1)", "\t=1", "\r=1"])
def test_no_cell_is_a_formula(hostile: str) -> None:
    table = Table(title=hostile, columns=["run", hostile], rows=[[hostile, hostile]])
    (line,) = list(csv.reader(io.StringIO(as_csv([table]))))[1:]
    assert [cell[:1] for cell in line[:4]] == ["'"] * 4


def test_no_text_is_a_tag_in_markdown() -> None:
    hostile = "a < b <script>alert(1)</script> <img src=x>"
    text = markdown([Table(title=hostile, columns=["run", hostile], rows=[[hostile, "1"]], note=hostile)])
    assert "a < b &lt;script>" in text
    assert not re.search("<[a-z/]", text)


def test_names_are_text_in_plots_whatever_they_look_like() -> None:
    picture = plots.live({"$\\undefinedmacro$ \x07 <b>": [0.1, 0.2]})
    assert "$\\undefinedmacro$" in picture
    assert "&lt;b&gt;" in picture
    assert "\x07" not in picture
