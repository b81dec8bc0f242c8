"""How the built-in model takes questions apart."""

from __future__ import annotations

import pytest

from streamchat.models.embedded.lexicon import Kind, Time
from streamchat.models.embedded.questions import parse


@pytest.mark.parametrize(
    ("question", "kind", "time", "main"),
    [
        ("Which words are written on the screen?", Kind.TEXT, Time.ANY, "words"),
        ("What color are the chairs by the wall?", Kind.COLOR, Time.ANY, "chairs"),
        ("What color shirt is the man wearing?", Kind.COLOR, Time.ANY, "shirt"),
        ("What color is the wall behind the man?", Kind.COLOR, Time.ANY, "wall"),
        ("How many people sit at the tables?", Kind.COUNT, Time.ANY, "people"),
        ("How many shots have been shown?", Kind.SHOTS, Time.ANY, None),
        ("Did the view change just now?", Kind.VIEW, Time.NOW, None),
        ("Which fruit was the first to pass?", Kind.WHICH, Time.FIRST, "fruit"),
        ("Which vegetable came after the apple?", Kind.WHICH, Time.AFTER, "vegetable"),
        ("Where did the car go?", Kind.WHERE_TO, Time.ANY, "car"),
        ("Where is the traffic light?", Kind.WHERE, Time.ANY, "traffic light"),
        ("When did the bus appear?", Kind.WHEN, Time.ANY, "bus"),
        ("Is it a cat or a dog?", Kind.CHOICE, Time.ANY, "cat"),
        ("What is the animal doing?", Kind.UNSEEN, Time.ANY, "animal"),
        ("What was at 1:05?", Kind.WHAT, Time.MOMENT, None),
        ("Did somebody come in?", Kind.CHANGE, Time.ANY, None),
        ("hello!", Kind.SMALL_TALK, Time.ANY, None),
    ],
)
def test_kind_time_and_main_subject(question: str, kind: Kind, time: Time, main: str | None) -> None:
    parsed = parse(question)
    assert (parsed.kind, parsed.time) == (kind, time)
    if main is not None:
        assert parsed.main is not None
        assert parsed.main.word == main


def test_before_and_after_have_an_anchor() -> None:
    assert [target.word for target in parse("After the apple, what came?").anchor] == ["apple"]
    assert [target.word for target in parse("What was there before the dog?").anchor] == ["dog"]


def test_a_named_moment_is_in_seconds() -> None:
    assert parse("What was at 1:05?").moment_seconds == 65
    assert parse("What was there at 7 seconds?").moment_seconds == 7


@pytest.mark.parametrize("question", ["And after that?", "What color is it?", "Where are they now?"])
def test_a_question_without_a_subject_leans_on_the_last(question: str) -> None:
    assert parse(question).leans_on_the_last


def test_a_question_with_a_subject_stands_by_itself() -> None:
    assert not parse("What color is the car?").leans_on_the_last
    assert not parse("What color is the background?").leans_on_the_last
