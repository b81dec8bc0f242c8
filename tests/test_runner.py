"""Runs: online, recorded as they come, resumable after any end, shared by several processes."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import benchmark_roots
import benchmark_runs
import pytest
from benchmark_runs import bench, config, play, root, untimed
from conftest import WordEmbedder

from evaluation import METHODS, report, runner
from evaluation.benchmarks.streambench import StreamBench
from evaluation.methods import Blind, Recent, Uniform
from evaluation.records import RunFolder, Writer, read_rows
from evaluation.runner import Run, Share
from evaluation.samples import Choice
from evaluation.tables import markdown
from streamchat.errors import InputError, StreamChatError
from streamchat.models.base import Model
from streamchat.options import Options
from streamchat.session import engine
from streamchat.types import Frame

__all__ = ["bench", "root"]


class Interrupting(WordEmbedder):
    """Ends the process's work, as Ctrl-C would, when a text is embedded for the n-th time."""

    def __init__(self, calls: int) -> None:
        super().__init__()
        self.left = calls

    def embed(self, texts: Any) -> Any:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return super().embed(texts)


class TestRun:
    @pytest.mark.parametrize("method", list(METHODS))
    def test_every_question_has_a_row_and_a_missing_video_is_recorded(
        self, method: str, bench: StreamBench, fake_model: Model, tmp_path: Path
    ) -> None:
        folder = RunFolder(tmp_path / "run")
        assert play(config(fake_model, method), bench, folder) == 1
        rows = {row["id"]: row for row in folder.rows()}
        assert set(rows) == {"0-0", "0-1", "0-2", "0-3", "1-0", "1-1", "2-0"}
        assert "gone.mp4 is not below" in rows["2-0"]["error"]
        assert rows["1-1"]["past_the_end"]
        assert not rows["1-0"]["past_the_end"]
        assert rows["1-1"]["asked_at_seconds"] < 6
        assert rows["0-2"]["answer"]
        pictures = {row["pictures"] for row in rows.values() if row["error"] is None}
        assert max(pictures) <= Options().max_pictures
        assert (pictures == {0}) == (method == "blind")

    def test_a_question_sees_no_frame_later_than_itself(
        self, bench: StreamBench, fake_model: Model, tmp_path: Path
    ) -> None:
        folder = RunFolder(tmp_path / "run")
        play(config(fake_model), bench, folder)
        for row in folder.rows():
            assert row["error"] or all(end <= row["asked_at_seconds"] for _, end, _ in row["evidence"])
            assert row["error"] or row["frames_seen"] <= row["asked_at_seconds"] * 25 + 1

    def test_a_row_has_what_was_given_and_where_the_evidence_is(self, fake_model: Model, tmp_path: Path) -> None:
        entry, _ = benchmark_roots.entries()
        entry["breakpoint"][0]["evidence"] = [1, 2.5]
        root = benchmark_roots.write(tmp_path / "root", [entry])
        folder = RunFolder(tmp_path / "run")
        play(config(fake_model), StreamBench(Choice(root=root)), folder)
        rows = {row["index"]: row for row in folder.rows()}
        assert rows[0]["reference_span"] == [1.0, 2.5]
        assert rows[1]["reference_span"] is None
        for row in rows.values():
            given = row["given"]
            assert len(given["pictures"]) == row["pictures"] > 0
            assert all(0 <= start <= end <= row["asked_at_seconds"] for start, end in given["pictures"])
            assert all(0 <= start <= end <= row["asked_at_seconds"] for start, end, _ in given["captions"])
            assert {"captions_left_out", "pictures_left_out", "turns_left_out"} <= given.keys()
        assert 0 in {level for row in rows.values() for *_, level in row["given"]["captions"]}

    def test_run_json_says_what_was_run(self, bench: StreamBench, fake_model: Model, tmp_path: Path) -> None:
        folder = RunFolder(tmp_path / "run")
        play(config(fake_model), bench, folder)
        described = folder.described()
        assert described["identity"]["model"] == "fake"
        assert described["identity"]["options"]["seed"] == 0
        assert len(described["identity"]["data"]["questions_sha256"]) == 64
        assert (described["questions"], described["problems"]) == (7, 0)
        play(config(fake_model), bench, folder)
        starts = folder.described()["starts"]
        assert [start["processes"] for start in starts] == [1, 1]
        assert {"torch", "numpy", "datasets", "accelerate"} <= set(starts[0]["versions"])
        assert starts[0]["streamchat"]
        assert starts[0]["machine"]["cores"] >= 1

    def test_each_start_says_what_the_memory_could_take_and_a_run_goes_on_elsewhere(
        self, bench: StreamBench, fake_model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = RunFolder(tmp_path / "run")
        for gibibytes in (2, 1):
            monkeypatch.setattr(engine, "free_memory_bytes", lambda gibibytes=gibibytes: gibibytes * 2**30)
            play(config(fake_model), bench, folder)
        described = folder.described()
        assert described["identity"]["options"]["memory_bytes"] is None
        assert [start["memory_budget_bytes"] for start in described["starts"]] == [2**29, 2**28]
        assert "256, 512 MiB, chosen" in markdown(report.tables_of(report.load([folder])))

    def test_all_sessions_of_a_start_have_the_same_budget_whatever_is_free_by_then(
        self, bench: StreamBench, fake_model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        free, begin, budgets = iter(range(4 * 2**30, 0, -(2**30))), runner.begin, []

        def noted(name: str, model: Model, options: Options, embedder: Any) -> Any:
            session = begin(name, model, options, embedder)
            budgets.append(session.memory_budget_bytes)  # type: ignore[union-attr]
            return session

        monkeypatch.setattr(engine, "free_memory_bytes", lambda: next(free))
        monkeypatch.setattr(runner, "begin", noted)
        folder = RunFolder(tmp_path / "run")
        play(config(fake_model), bench, folder)
        assert budgets == [folder.described()["starts"][0]["memory_budget_bytes"]] * 3

    @pytest.mark.parametrize(("method", "budget"), [("memory", 2**26), ("blind", None)])
    def test_a_budget_that_was_asked_for_is_the_runs_own(
        self, method: str, budget: int | None, bench: StreamBench, fake_model: Model, tmp_path: Path
    ) -> None:
        folder = RunFolder(tmp_path / "run")
        play(config(fake_model, method, memory_bytes=2**26), bench, folder)
        assert folder.described()["starts"][0]["memory_budget_bytes"] == budget
        assert ("| 64 MiB |" in markdown(report.tables_of(report.load([folder])))) == (method == "memory")
        with pytest.raises(InputError, match="differs in options"):
            play(config(fake_model, method), bench, folder)

    def test_a_budget_too_small_for_the_model_is_refused_before_anything_is_asked(
        self, bench: StreamBench, fake_model: Model, tmp_path: Path
    ) -> None:
        with pytest.raises(InputError, match="memory_bytes must be at least"):
            play(config(fake_model, memory_bytes=100), bench, RunFolder(tmp_path / "run"))
        assert not (tmp_path / "run").exists()

    @pytest.mark.parametrize("calls", [3, 9, 14])
    def test_an_interrupted_run_equals_an_unbroken_one_and_asks_nothing_twice(
        self, calls: int, bench: StreamBench, fake_model: Model, tmp_path: Path
    ) -> None:
        whole, broken = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "broken")
        play(config(fake_model), bench, whole)
        with pytest.raises(KeyboardInterrupt):
            play(Run(**{**vars_of(config(fake_model)), "embedder": Interrupting(calls)}), bench, broken)
        before = broken.rows()
        play(config(fake_model), bench, broken)
        assert untimed(broken.rows()) == untimed(whole.rows())
        assert len(before) < len(whole.rows())
        assert [row for row in broken.rows() if row["id"] in {row["id"] for row in before}] == before

    def test_a_torn_last_line_is_cut_and_asked_again(
        self, bench: StreamBench, fake_model: Model, tmp_path: Path
    ) -> None:
        folder = RunFolder(tmp_path / "run")
        play(config(fake_model), bench, folder)
        whole = folder.rows()
        file = folder.path / "answers.0.jsonl"
        rows = file.read_bytes().split(b"\n")
        whole_lines, last = rows[:-2], rows[-2]
        file.write_bytes(b"\n".join([*whole_lines, last[: len(last) // 2] + "…".encode()[:1]]))
        assert len(folder.rows()) == len(whole) - 1
        play(config(fake_model), bench, folder)
        assert untimed(folder.rows()) == untimed(whole)

    def test_another_configuration_in_the_same_folder_is_refused(
        self, bench: StreamBench, fake_model: Model, tmp_path: Path
    ) -> None:
        folder = RunFolder(tmp_path / "run")
        play(config(fake_model), bench, folder)
        with pytest.raises(InputError, match="differs in options"):
            play(config(fake_model, seed=1), bench, folder)
        with pytest.raises(InputError, match="differs in method"):
            play(config(fake_model, "recent"), bench, folder)

    def test_a_second_start_on_the_same_folder_is_refused(
        self, bench: StreamBench, fake_model: Model, tmp_path: Path
    ) -> None:
        folder = RunFolder(tmp_path / "run")
        play(config(fake_model), bench, folder)
        with folder.held("first"):
            for share in (Share(), Share(rank=1, of=2)):
                with pytest.raises(InputError, match="being written by another process"):
                    play(config(fake_model), bench, folder, share=share)

    def test_the_processes_of_one_start_hold_the_folder_together(self, tmp_path: Path) -> None:
        folder = RunFolder(tmp_path)
        with folder.held("first"), folder.held("first"), pytest.raises(InputError), folder.held("second"):
            pass
        with folder.held("second"):
            pass

    def test_a_folder_that_is_no_run_is_left_alone(self, bench: StreamBench, fake_model: Model, tmp_path: Path) -> None:
        (tmp_path / "notes.txt").write_text("mine")
        with pytest.raises(InputError, match="not empty and holds no run"):
            play(config(fake_model), bench, RunFolder(tmp_path))
        assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]

    @pytest.mark.parametrize("text", ["{", "[]", "{}", '{"identity": 5}', '{"identity": {}}'])
    def test_a_damaged_folder_is_named(self, text: str, tmp_path: Path) -> None:
        (tmp_path / "run.json").write_text(text)
        with pytest.raises(InputError, match="is not the folder of a run"):
            RunFolder(tmp_path).described()

    def test_a_damaged_line_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "answers.0.jsonl").write_text('{"id": "0-0"}\nrubbish\n')
        with pytest.raises(InputError, match=r"line 2 of .* is damaged"):
            read_rows(tmp_path / "answers.0.jsonl")

    def test_a_stop_keeps_what_was_answered(self, bench: StreamBench, fake_model: Model, tmp_path: Path) -> None:
        folder = RunFolder(tmp_path / "run")
        play(config(fake_model), bench, folder, stopped=lambda: folder.path.exists() and len(folder.rows()) >= 2)
        assert len(folder.rows()) == 2
        play(config(fake_model), bench, folder)
        assert len(folder.rows()) == 7


class Failing:
    """A model that fails at some of its answers, or at some of its pictures."""

    def __init__(self, model: Model, answers: Collection[int] = (), pictures: Collection[int] = ()) -> None:
        self._model, self._fails, self._fails_to_see = model, answers, pictures
        self.asked = self.seen = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def answer(self, context: Any, cancel: Any) -> Any:
        self.asked += 1
        if self.asked in self._fails:
            raise StreamChatError("the server answered 503")
        return self._model.answer(context, cancel)

    def encode(self, frames: Any) -> Any:
        self.seen += 1
        if self.seen in self._fails_to_see:
            raise RuntimeError("no memory left")
        return self._model.encode(frames)


class TestFailures:
    def test_a_question_that_failed_is_asked_again_and_no_other(
        self, bench: StreamBench, fake_model: Model, tmp_path: Path
    ) -> None:
        whole, folder, model = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "run"), Failing(fake_model, {2})
        play(config(fake_model, "blind"), bench, whole)
        assert play(config(model, "blind"), bench, folder) == 2
        errors = {row["id"]: row["error"] for row in folder.rows() if row["error"]}
        assert errors["0-2"] == "the server answered 503"
        assert set(errors) == {"0-2", "2-0"}
        assert play(config(model, "blind"), bench, folder) == 1
        assert model.asked == 7
        assert [row["id"] for row in folder.rows()] == [row["id"] for row in whole.rows()]
        assert {row["id"] for row in folder.rows() if row["error"]} == {"2-0"}

    def test_a_model_that_fails_again_and_again_ends_the_run(
        self, bench: StreamBench, fake_model: Model, tmp_path: Path
    ) -> None:
        folder, model = RunFolder(tmp_path / "run"), Failing(fake_model, {2, 4, 5, 6})
        with pytest.raises(StreamChatError, match="failed 3 times in a row, lastly: the server answered 503"):
            play(config(model, "blind"), bench, folder)
        assert [row["id"] for row in folder.rows() if row["error"] is None] == ["0-0", "0-1"]
        assert model.asked == 6
        play(config(model, "blind"), bench, folder)
        assert [row["id"] for row in folder.rows() if row["error"]] == ["2-0"]

    def test_a_model_that_cannot_see_a_frame_loses_only_what_is_asked_after_it(
        self, bench: StreamBench, fake_model: Model, tmp_path: Path
    ) -> None:
        folder = RunFolder(tmp_path / "run")
        assert play(config(Failing(fake_model, pictures={1}), heartbeat_seconds=1.0), bench, folder) == 5
        assert {row["error"] for row in folder.rows() if row["entry"] == 0} == {"RuntimeError: no memory left"}

    def test_what_failed_before_comes_last(self, bench: StreamBench, fake_model: Model, tmp_path: Path) -> None:
        folder = RunFolder(tmp_path / "run")
        play(config(Failing(fake_model, {1}), "blind"), bench, folder, stopped=lambda: bool(folder.rows()))
        rows = [progress.row for progress in runner.answers(config(fake_model, "blind"), bench, folder)]
        assert list(dict.fromkeys(row["entry"] for row in rows if row)) == [1, 2, 0]

    def test_progress_counts_what_was_recorded_of_a_video_that_is_gone_now(
        self, fake_model: Model, tmp_path: Path
    ) -> None:
        root, folder = benchmark_roots.write(tmp_path / "root"), RunFolder(tmp_path / "run")
        play(config(fake_model), StreamBench(Choice(root=root)), folder, stopped=lambda: bool(folder.rows()))
        (root / "Ego" / "bikes.mp4").unlink()
        *_, last = runner.answers(config(fake_model), StreamBench(Choice(root=root)), folder)
        assert (last.answered, last.questions, last.failed) == (6, 6, 3)

    def test_a_full_disk_ends_the_run_and_leaves_one_row_a_question(
        self, bench: StreamBench, fake_model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder, real = RunFolder(tmp_path / "run"), os.fsync
        left = iter([True, False])

        def fsync(number: int) -> None:
            if not next(left):
                raise OSError(errno.ENOSPC, "No space left on device")
            real(number)

        monkeypatch.setattr(os, "fsync", fsync)
        with pytest.raises(StreamChatError, match=r"answers\.0\.jsonl cannot be written \(No space left"):
            play(config(fake_model), bench, folder)
        assert all(row["error"] is None for row in folder.rows())
        assert len(read_rows(folder.path / "answers.0.jsonl")) == 2

    def test_a_benchmark_without_a_sound_question_is_refused(self, fake_model: Model, tmp_path: Path) -> None:
        root = benchmark_roots.write(tmp_path / "root", [{"info": {}}])
        with pytest.raises(InputError, match="no sound question to ask: `validate` lists"):
            play(config(fake_model), StreamBench(Choice(root=root)), RunFolder(tmp_path / "run"))


class TestRows:
    def row(self, **changes: Any) -> dict[str, Any]:
        return benchmark_runs.answered(**changes)

    def write(self, folder: Path, rank: int, *rows: dict[str, Any]) -> None:
        (folder / f"answers.{rank}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def test_a_question_has_one_row_an_answer_before_an_error(self, tmp_path: Path) -> None:
        failed, answered = self.row(answer="", error="503"), self.row()
        self.write(tmp_path, 0, failed, self.row(answer="", error="504"))
        assert [row["error"] for row in RunFolder(tmp_path).rows()] == ["504"]
        self.write(tmp_path, 1, answered)
        self.write(tmp_path, 2, failed)
        assert RunFolder(tmp_path).rows() == [answered]

    def test_they_come_in_the_order_of_their_times_as_the_file_has_them(self, tmp_path: Path) -> None:
        late = {"asked_at_seconds": 5.3}
        self.write(
            tmp_path,
            0,
            self.row(id="0-1", index=1, time_seconds=70, **late),
            self.row(id="0-2", index=2, time_seconds=60, **late),
        )
        assert [row["index"] for row in RunFolder(tmp_path).rows()] == [2, 1]

    @pytest.mark.parametrize(("row", "said"), [({}, "lacks id, entry, index"), ({"error": None}, "ingest_seconds")])
    def test_a_row_that_is_none_is_named(self, row: dict[str, Any], said: str, tmp_path: Path) -> None:
        self.write(tmp_path, 3, row)
        with pytest.raises(InputError, match=r"line 1 of .*answers\.3\.jsonl lacks .*") as raised:
            RunFolder(tmp_path).rows()
        assert said in str(raised.value)

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("entry", "0"),
            ("time_seconds", None),
            ("time_seconds", float("nan")),
            ("asked_at_seconds", [1]),
            ("kind", ["OS"]),
            ("video", 7),
            ("past_the_end", "no"),
            ("answer", None),
            ("timing", 0.5),
            ("timing", {"first_token_seconds": "fast", "retrieval_seconds": 0.0, "total_seconds": 0.0}),
            ("frames_seen", "all"),
            ("given", {"pictures": [[1.0]]}),
            ("reference_span", [1.0]),
        ],
    )
    def test_a_row_that_was_changed_to_a_wrong_type_is_named(self, name: str, value: object, tmp_path: Path) -> None:
        self.write(tmp_path, 0, self.row(), self.row(**{name: value}))
        with pytest.raises(InputError, match=rf"line 2 of .*answers\.0\.jsonl has a wrong {name}"):
            RunFolder(tmp_path).rows()


def vars_of(run: Run) -> dict[str, Any]:
    return {name: getattr(run, name) for name in Run.__slots__}


class TestBaselines:
    def frames(self, seconds: int) -> Iterator[Frame]:
        from conftest import picture

        return (Frame(picture(number % 256), number / 5, number) for number in range(seconds * 5))

    def times(self, session: Any, question: str = "What?") -> list[float]:
        stream = session.stream_answer(question, 1000.0)
        return [visual.span.start for visual in stream.context.present]

    def test_recent_has_the_newest_frames_one_a_second(self, fake_model: Model) -> None:
        session = Recent(fake_model, Options(max_pictures=4), WordEmbedder())
        for frame in self.frames(30):
            session.push(frame)
        assert self.times(session) == [27.0, 28.0, 29.0, 29.8]

    def test_recent_of_one_frame_has_only_what_is_on_the_screen(self, fake_model: Model) -> None:
        session = Recent(fake_model, Options(max_pictures=1), WordEmbedder())
        for frame in self.frames(3):
            session.push(frame)
        clip = session.stream_answer("What?", 3.0).context.open_clip
        assert clip is not None
        assert [frame.pts_seconds for frame in clip.keyframes] == [2.8]

    def test_uniform_spreads_over_all_that_was_shown(self, fake_model: Model) -> None:
        session = Uniform(fake_model, Options(max_pictures=5), WordEmbedder())
        for frame in self.frames(400):
            session.push(frame)
        times = self.times(session)
        assert len(times) == 5
        assert times[0] < 150
        assert times[-1] == pytest.approx(399.8)
        assert times == sorted(times)

    @pytest.mark.parametrize("method", [Recent, Uniform])
    def test_a_short_video_fills_the_pictures_too(self, method: Any, fake_model: Model) -> None:
        session = method(fake_model, Options(max_pictures=32), WordEmbedder())
        for frame in self.frames(10):
            session.push(frame)
        times = self.times(session)
        assert len(times) == 32
        assert times == sorted(set(times))
        assert times[0] < 0.5
        assert times[-1] == 9.8

    def test_blind_sees_nothing(self, fake_model: Model) -> None:
        session = Blind(fake_model, Options(), WordEmbedder())
        assert not any(map(session.push, list(self.frames(3))))
        stream = session.stream_answer("What?", 2.0)
        assert stream.given.pictures == ()
        assert int(stream.context.newest.data.max()) == 0

    def test_the_dialogue_goes_on(self, fake_model: Model) -> None:
        session = Recent(fake_model, Options(), WordEmbedder())
        for frame in self.frames(3):
            session.push(frame)
        session.record("Is there a red bicycle?", "Yes, a red bicycle.", 1.0)
        context = session.stream_answer("Which color was the bicycle?", 2.0)._context
        assert [turn.answer for turn in context.turns] == ["Yes, a red bicycle."]


def test_a_writer_appends_and_lets_go_of_its_lock(tmp_path: Path) -> None:
    for number in range(2):
        with Writer(tmp_path / "rows.jsonl") as writer:
            writer.write({"id": number})
    assert [json.loads(line)["id"] for line in (tmp_path / "rows.jsonl").read_text().splitlines()] == [0, 1]
