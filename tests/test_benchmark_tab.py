"""The benchmark tab without a browser: what fails in it leaves it usable."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import benchmark_roots
import gradio as gr
import pytest

from evaluation import tab
from evaluation.records import RunFolder
from evaluation.tab import EvaluationTab
from streamchat.ui.shared_model import SharedModel


def test_after_a_report_that_failed_run_works_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    root = benchmark_roots.write(tmp_path / "root")
    monkeypatch.chdir(tmp_path)
    shown: list[str] = []
    monkeypatch.setattr(gr, "Warning", shown.append)

    def broken(*_: Any) -> Any:
        raise TypeError("no report today")

    monkeypatch.setattr(tab.report, "write", broken)
    with gr.Blocks():
        page = EvaluationTab(SharedModel("fake"))
    steps = list(page._run("streambench", str(root), "fake", "base", ["blind"], "exact", 0, 0))
    _, live, tables, files, *_ = steps[0]
    assert (live, tables, files["value"], files["visible"]) == ("", "", None, False), "what was there is gone"
    status, *_, run, cancel = steps[-1]
    assert "Done." in status
    assert "sc-failed" not in status
    assert (run["interactive"], cancel["interactive"]) == (True, False)
    assert "The report cannot be written: no report today" in shown
    (folder,) = (tmp_path / "runs").glob("streambench-*")
    assert len(RunFolder(folder).rows()) == 6, "what was answered is kept"


def test_a_failure_is_red_and_names_the_data_before_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with gr.Blocks():
        page = EvaluationTab(SharedModel("fake"))
    steps = list(page._run("jsonl", str(tmp_path / "nowhere"), "nope", "base", ["blind"], "exact", 0, 0))
    assert "sc-failed" in steps[-1][0]
    assert "there is no folder" in steps[-1][0]
