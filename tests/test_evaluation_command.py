"""The command line of the evaluation, alone and as several processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import benchmark_roots
import pytest
from benchmark_runs import bench, config, root, untimed

from evaluation import report, runner
from evaluation.__main__ import main
from evaluation.benchmarks.streambench import StreamBench
from evaluation.records import RunFolder, read_rows
from evaluation.tables import markdown
from streamchat.models.base import Model
from streamchat.options import AS_IN_PAPER, Options

__all__ = ["bench", "root"]

ROOT = Path(__file__).resolve().parent.parent


class TestProcesses:
    def arguments(self, root: Path, out: Path) -> list[str]:
        return ["run", "streambench", "--root", str(root), "--model", "fake", "--out", str(out)]

    def command(self, root: Path, out: Path, *launcher: str) -> list[str]:
        return [*(launcher or (sys.executable,)), "-m", "evaluation", *self.arguments(root, out)]

    def test_a_killed_run_goes_on_and_equals_an_unbroken_one(self, root: Path, tmp_path: Path) -> None:
        assert main(self.arguments(root, tmp_path / "whole")) == 1
        killed = subprocess.Popen(self.command(root, tmp_path / "killed"), cwd=ROOT)
        answers = tmp_path / "killed" / "answers.0.jsonl"
        deadline = time.monotonic() + 120
        while killed.poll() is None and time.monotonic() < deadline:
            if answers.exists() and answers.read_bytes().count(b"\n") >= 2:
                killed.send_signal(signal.SIGKILL)
                killed.wait()
        assert killed.returncode in (-signal.SIGKILL, 1)
        assert main(self.arguments(root, tmp_path / "killed")) == 1
        whole, again = (RunFolder(tmp_path / name).rows() for name in ("whole", "killed"))
        assert untimed(again) == untimed(whole)

    def launched(self, root: Path, out: Path, *more: str) -> subprocess.CompletedProcess[str]:
        torchrun = str(Path(sys.executable).with_name("torchrun"))
        command = [*self.command(root, out, torchrun, "--standalone", "--nproc-per-node", "2"), *more]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)

    def test_two_processes_give_what_one_gives_though_one_has_nothing_but_failures(self, tmp_path: Path) -> None:
        gone = {
            "info": {"video_path": "gone.mp4", "class_1": "Movie"},
            "breakpoint": [benchmark_roots.point(1, "Where?", "There.", "CI")],
        }
        first, second = benchmark_roots.entries()
        root = benchmark_roots.write(tmp_path / "root", [gone, first, gone, second, gone])
        one = main(self.arguments(root, tmp_path / "one"))
        both = self.launched(root, tmp_path / "two")
        files = {path.name: len(read_rows(path)) for path in (tmp_path / "two").glob("answers.*.jsonl")}
        assert files == {"answers.0.jsonl": 3, "answers.1.jsonl": 6}, both.stderr
        assert (one, both.returncode) == (1, 1)
        assert "Signal 15" not in both.stderr, both.stderr  # nobody was ended by the launcher
        assert both.stderr.count("3 questions failed") == 1
        assert untimed(RunFolder(tmp_path / "two").rows()) == untimed(RunFolder(tmp_path / "one").rows())
        refused = self.launched(root, tmp_path / "two", "--method", "blind")
        assert refused.stderr.count("error: ") == 1, refused.stderr
        assert "holds another run, which differs in method" in refused.stderr
        assert "Signal 15" not in refused.stderr, refused.stderr


class TestCommandLine:
    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["run", "nope", "--out", "{tmp}/r"], "unknown benchmark 'nope': choose one of"),
            (["run", "streambench", "--out", "{tmp}/r"], "give --root FOLDER"),
            (
                ["run", "streambench", "--root", "{root}", "--out", "{tmp}/r", "--method", "best"],
                "unknown method 'best'",
            ),
            (["run", "streambench", "--root", "{root}", "--out", "{tmp}/r", "--subset", "99"], "from 1 to 6 questions"),
            (["run", "streambench", "--root", "{root}", "--out", "{tmp}/r", "--model", "nope"], "unknown model 'nope'"),
            (
                ["run", "streambench", "--root", "{root}", "--model", "fake", "--out", "{root}/Ego/bikes.mp4"],
                "a folder",
            ),
            (["run", "needle", "--model", "fake", "--subset", "0", "--out", "{tmp}/r"], "from 24 to 144, got 0"),
            (
                ["run", "streambench", "--root", "{root}", "--out", "{tmp}/r", "--frames", "4"],
                "--frames is for the method recent, got --frames 4 with 'memory'",
            ),
            (
                ["run", "streambench", "--root", "{root}", "--out", "{tmp}/r", "--method", "recent", "--frames", "0"],
                "--frames must be 1 or more, got 0",
            ),
            (
                ["run", "needle", "--out", "{tmp}/r", "--as-in-paper", "--selector", "novelty"],
                "--as-in-paper means --selector optical_flow, got novelty",
            ),
            (
                ["run", "needle", "--out", "{tmp}/r", "--as-in-paper", "--retrieval", "search"],
                "--as-in-paper means --retrieval tree, got search",
            ),
            (["run", "needle", "--out", "{tmp}/r", "--as-in-paper", "--method", "recent"], "got the method recent"),
            (
                ["run", "needle", "--out", "{tmp}/r", "--selector", "novelty", "--method", "blind"],
                "got the method blind",
            ),
            (["run", "needle", "--out", "{tmp}/r", "--memory-mib", "64", "--method", "blind"], "which has no memory"),
            (["run", "needle", "--out", "{tmp}/r", "--memory-mib", "0"], "--memory-mib must be 1 or more, got 0"),
            (["run", "needle", "--out", "{tmp}/r", "--selector", "nope"], "unknown selector 'nope': choose one of"),
            (
                ["run", "needle", "--out", "{tmp}/r", "--retrieval", "nope"],
                "retrieval must be search or tree, got nope",
            ),
            (["judge", "{tmp}/r"], "is not the folder of a run"),
            (["report", "{tmp}/r", "--out", "{tmp}/o"], "is not the folder of a run"),
        ],
    )
    def test_bad_input_is_explained_with_exit_code_2(
        self, arguments: list[str], said: str, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main([argument.format(root=root, tmp=tmp_path) for argument in arguments]) == 2
        assert said in capsys.readouterr().err

    def test_an_error_that_nobody_foresaw_says_what_it_is(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr("evaluation.report.write", lambda *_: dict[str, str]()["judge"])
        assert main(["report", str(tmp_path), "--out", str(tmp_path)]) == 1
        assert "error: KeyError: 'judge' (STREAMCHAT_LOG=debug shows where)" in capsys.readouterr().err

    def test_judging_a_run_without_answers_says_so(
        self, bench: StreamBench, fake_model: Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        runner.begin_folder(config(fake_model), bench, RunFolder(tmp_path / "run"))
        assert main(["judge", str(tmp_path / "run"), "--judge", "exact"]) == 2
        assert "has no answers yet" in capsys.readouterr().err

    def test_questions_that_are_left_out_are_reported(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        root = benchmark_roots.write(tmp_path / "root", [*benchmark_roots.entries(), "none"])
        run = ["run", "streambench", "--root", str(root), "--model", "fake", "--method", "blind"]
        assert main([*run, "--out", str(tmp_path / "run")]) == 0
        assert "problems in the questions: 1; `validate` lists them" in capsys.readouterr().err
        assert RunFolder(tmp_path / "run").described()["problems"] == 1

    @pytest.mark.parametrize("frames", [1, 4])
    def test_recent_takes_as_many_frames_as_it_is_given(self, frames: int, root: Path, tmp_path: Path) -> None:
        run = ["run", "streambench", "--root", str(root), "--model", "fake", "--method", "recent"]
        main([*run, "--frames", str(frames), "--out", str(tmp_path / "run")])
        rows = [row for row in RunFolder(tmp_path / "run").rows() if row["error"] is None]
        assert {len(row["given"]["pictures"]) for row in rows} == {frames}

    def test_prompts_are_shown_if_wanted(self, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        run = ["run", "streambench", "--root", str(root), "--model", "fake", "--subset", "2"]
        assert main([*run, "--show-prompt", "--out", str(tmp_path / "run")]) == 0
        assert capsys.readouterr().err.count("given: ") == 2

    def test_the_budget_of_the_memory_is_reported_where_it_was_chosen(
        self, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        common = ["run", "streambench", "--root", str(root), "--model", "fake", "--subset", "2"]
        assert main([*common, "--memory-mib", "96", "--out", str(tmp_path / "asked")]) == 0
        assert "memory: at most" not in capsys.readouterr().err
        described = RunFolder(tmp_path / "asked").described()
        assert described["identity"]["options"]["memory_bytes"] == 96 * 2**20
        assert main([*common, "--out", str(tmp_path / "chosen")]) == 0
        start = RunFolder(tmp_path / "chosen").described()["starts"][0]
        chosen = f"{start['memory_budget_bytes'] // 2**20:,} MiB"
        assert f"memory: at most {chosen} a session, chosen here" in capsys.readouterr().err

    def test_a_run_says_how_it_selected_and_retrieved(self, root: Path, tmp_path: Path) -> None:
        common = ["run", "streambench", "--root", str(root), "--model", "fake", "--subset", "2"]
        flags = {
            "paper": ["--as-in-paper", "--selector", "optical_flow", "--preset", "slow"],
            "tree": ["--retrieval", "tree"],
            "uniform": ["--selector", "uniform"],
        }
        for name, more in flags.items():
            assert main([*common, *more, "--out", str(tmp_path / name)]) == 0
        runs = {name: RunFolder(tmp_path / name).described()["identity"] for name in flags}
        assert {name: run["as_in_paper"] for name, run in runs.items()} == {
            "paper": True,
            "tree": False,
            "uniform": False,
        }
        wanted = Options.preset("slow", **AS_IN_PAPER)
        assert runs["paper"]["options"] == asdict(wanted)
        assert (wanted.selector, wanted.retrieval, wanted.retrieval_paths) == ("optical_flow", "tree", 1)
        labels = [run.label for run in report.load([RunFolder(tmp_path / name) for name in flags])]
        assert labels == ["memory, fake, slow, as in the paper", "memory, fake, base, tree", "memory, fake, base"]
        table = markdown(report.tables_of(report.load([RunFolder(tmp_path / "uniform")])))
        assert "uniform, search" in table

    def test_from_data_to_a_report(self, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        for method in ("memory", "recent"):
            folder = str(tmp_path / method)
            run = ["run", "streambench", "--root", str(root), "--model", "fake", "--method", method, "--out", folder]
            assert main([*run, "--no-repeats"]) == 1  # one video is missing
            assert main(["judge", folder, "--judge", "exact"]) == 0
            assert main(["judge", folder, "--judge", "exact"]) == 0
        grades = next((tmp_path / "memory").glob("grades.*.ndjson"))
        assert len(read_rows(grades)) == 6
        out = tmp_path / "report"
        assert main(["report", str(tmp_path / "memory"), str(tmp_path / "recent"), "--out", str(out)]) == 0
        text = (out / "report.md").read_text()
        assert "Scores, judged by exact" in text
        assert "Memory against the baselines" in text
        assert "gone.mp4" in text
        assert (out / "report.html").read_text().count("<svg") == 2
