"""Output in terminals that lack letters: nothing dies of it, and JSON stays JSON."""

from __future__ import annotations

import io
import json
import sys

import pytest
import videos

from streamchat.__main__ import main

QUESTION = "Wo ist das Fahrrad für Hündchen? 自転車"


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
@pytest.mark.parametrize("as_json", [True, False])
def test_every_encoding_shows_what_it_can(encoding: str, as_json: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", out)
    given = ["--json"] if as_json else []
    assert main([str(videos.bikes()), "--model", "fake", "--ask", "1", QUESTION, *given]) == 0
    out.flush()
    said = out.buffer.getvalue().decode(encoding)  # type: ignore[attr-defined]
    if as_json:
        assert json.loads(said)["answers"][0]["question"] == QUESTION
    else:
        assert QUESTION.encode(encoding, "replace").decode(encoding) in said


def test_a_name_that_is_no_text_is_shown_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    monkeypatch.setattr(sys, "stderr", out)
    assert main(["missing-\udcff.mp4", "--model", "fake"]) == 2
    out.flush()
    assert b"missing-" in out.buffer.getvalue()  # type: ignore[attr-defined]
