"""The command line, as a stranger uses it."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import videos
from vlm import Build

from streamchat import models
from streamchat.__main__ import main, stream_time
from streamchat.errors import InputError
from streamchat.models import transformers

ROOT = Path(__file__).resolve().parent.parent


def report(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert main([str(videos.bikes()), "--model", "fake", "--json", *arguments]) == 0
    printed: dict[str, Any] = json.loads(capsys.readouterr().out)
    return printed


def without_times(found: dict[str, Any]) -> dict[str, Any]:
    answers = [{key: value for key, value in answer.items() if key != "timing"} for answer in found["answers"]]
    return {**found, "answers": answers, "frames_per_second": None}


def test_json_has_the_answers_with_evidence_and_the_counts(capsys: pytest.CaptureFixture[str]) -> None:
    found = report(capsys, "--ask", "0:07", "And now?", "--ask", "3", "What is shown?")
    assert [answer["question"] for answer in found["answers"]] == ["What is shown?", "And now?"]
    for answer, asked in zip(found["answers"], (3.0, 7.0), strict=True):
        assert answer["asked_at_seconds"] == asked
        assert answer["text"]
        assert answer["evidence"]
        assert all(moment["start"] <= moment["end"] <= asked for moment in answer["evidence"])
        assert set(answer["timing"]) == {"retrieval_seconds", "first_token_seconds", "total_seconds"}
    assert found["frames_seen"] == 100, "of 25 frames a second 10 are looked at"
    assert 0 < found["frames_kept"] < 60
    assert sum(found["nodes_by_level"]) >= 2
    assert found["memory_bytes"] > 0
    assert found["frames_per_second"] > 0


def test_the_same_command_gives_the_same_answers(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("--ask", "5", "What is shown?", "--seed", "3")
    assert without_times(report(capsys, *arguments)) == without_times(report(capsys, *arguments))


def test_the_budget_of_the_memory_is_reported_where_it_was_chosen(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(videos.bikes()), "--model", "fake", "--json"]) == 0
    captured = capsys.readouterr()
    chosen = json.loads(captured.out)["memory_budget_bytes"] // 2**20
    assert f"memory: at most {chosen:,} MiB, chosen for this machine and model; --memory-mib fixes it" in captured.err
    assert main([str(videos.bikes()), "--model", "fake", "--json", "--memory-mib", "96"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["memory_budget_bytes"] == 96 * 2**20
    assert "memory: at most" not in captured.err


def test_a_time_past_the_end_is_asked_at_the_end_with_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(videos.bikes()), "--model", "fake", "--json", "--ask", "99", "What is shown?"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["answers"][0]["asked_at_seconds"] == pytest.approx(9.96, abs=0.05)
    assert "ends at" in captured.err
    assert "asked there" in captured.err


def test_standard_output_carries_the_json_alone_and_text_without_it(capfd: pytest.CaptureFixture[str]) -> None:
    arguments = [str(videos.bikes()), "--model", "fake", "--ask", "2", "What is shown?"]
    command = [sys.executable, "-m", "streamchat", *arguments, "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    assert json.loads(done.stdout)["answers"]
    assert main(arguments) == 0
    assert "[0:02] What is shown?" in capfd.readouterr().out


def test_the_prompt_is_shown_beside_the_answers(capsys: pytest.CaptureFixture[str]) -> None:
    command = [str(videos.bikes()), "--model", "fake", "--json", "--max-pictures", "6", "--ask", "5", "What is shown?"]
    assert main([*command, "--show-prompt"]) == 0
    shown = capsys.readouterr()
    (answer,) = json.loads(shown.out)["answers"]
    assert shown.err.count("<picture>") == len(answer["given"]["pictures"]) == 6
    assert "What is shown?" in shown.err
    assert "given: " in shown.err
    assert answer["given"]["captions"]


@pytest.mark.parametrize(
    ("flag", "value", "said"),
    [
        ("--retrieval", "nope", "option retrieval must be search or tree, got nope"),
        ("--context", "nope", "option context must be full or two-step, got nope"),
        ("--max-pictures", "0", "option max_pictures must be 1 or more, got 0"),
    ],
)
def test_what_cannot_be_given_is_refused(flag: str, value: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(videos.bikes()), "--model", "fake", flag, value]) == 2
    assert said in capsys.readouterr().err


def test_models_are_listed_with_what_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list-models"]) == 0
    listed = capsys.readouterr().out
    assert "embedded" in listed
    assert "does not understand actions" in listed
    assert "fake" in listed


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nothing.mp4", "--model", "fake"], "nothing.mp4"),
        (["{video}", "--model", "nope"], "unknown model 'nope': choose one of auto, embedded, fake"),
        (["{video}", "--preset", "nope"], "unknown preset 'nope': choose one of slow, base, fast"),
        (["{video}", "--memory-mib", "0", "--model", "fake"], "--memory-mib must be 1 or more, got 0"),
        (["{video}", "--retrieval", "nope", "--model", "fake"], "retrieval must be search or tree, got nope"),
        (["{video}", "--selector", "nope", "--model", "fake"], "unknown selector 'nope': choose one of"),
        (["{video}", "--model", "fake", "--ask", "3", "  "], "question is empty"),
        (["{video}", "--model", "fake", "--ask", "soon", "What?"], "'soon' is not a time"),
        (["{video}", "--model", "fake", "--ask", "1:-3", "What?"], "is not a time"),
        ([], "no video was given"),
    ],
)
def test_bad_input_is_explained_with_exit_code_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert main([argument.format(video=videos.bikes()) for argument in arguments]) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.out == ""
    assert "Traceback" not in captured.err


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("90.5", 90.5), ("1:30", 90), ("1:02:03", 3723)])
def test_times_are_seconds_or_clock_times(text: str, seconds: float) -> None:
    assert stream_time(text) == seconds


@pytest.mark.parametrize("text", ["", "nan", "inf", "-1", "1:2:3:4", "a:b"])
def test_other_times_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="is not a time"):
        stream_time(text)


def test_a_checkpoint_is_taken_by_its_folder(capsys: pytest.CaptureFixture[str], build: Build) -> None:
    assert main([str(videos.bikes()), "--model", str(build("llava")), "--ask", "2", "What is shown?", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["model"] == "llava on cpu"
    assert found["answers"][0]["text"]


def test_auto_says_what_it_took_and_what_would_be_better(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, build: Build
) -> None:
    monkeypatch.setattr(models, "cached", lambda repo: build("llava") if "500M" in repo else None)
    monkeypatch.setattr(transformers, "local_folder", lambda repo: build("llava"))
    assert main([str(videos.bikes()), "--model", "auto", "--device", "cpu", "--ask", "1", "What is shown?"]) == 0
    assert "model: The best of those downloaded for this machine (CPU" in capsys.readouterr().err


class Terminal(io.StringIO):
    """What a person types."""

    def isatty(self) -> bool:
        return True


def test_without_questions_a_person_is_asked_for_them(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", Terminal("What is shown?\n0:03 And then?\n0:03\n2 cars?\n\nnot asked"))
    assert main([str(videos.bikes()), "--model", "fake"]) == 0
    said = capsys.readouterr()
    asked = [line.lstrip("> ") for line in said.out.splitlines() if line.lstrip("> ").startswith("[")]
    assert asked == ["[0:09] What is shown?", "[0:03] And then?", "[0:09] 2 cars?"]
    assert "error: the question is empty" in said.err
    monkeypatch.setattr("sys.stdin", io.StringIO("What is shown?"))
    assert main([str(videos.bikes()), "--model", "fake"]) == 0
    assert "[" not in capsys.readouterr().out, "a pipe is nobody"
