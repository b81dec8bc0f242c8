"""Answers of the built-in model to every kind of question, from observations written by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from conftest import picture

from streamchat.embedding import minilm
from streamchat.models.embedded import answering
from streamchat.models.embedded.answering import ANALYZES_MORE, NOT_ALL, Answerer
from streamchat.models.embedded.observation import Observation, data_of
from streamchat.models.scheduler import NEVER
from streamchat.types import Caption, Clip, Context, DialogueTurn, Evidence, Frame, RetrievedCaption, Span


def seen(kind: str, label: str, start: float, end: float, **more: object) -> Observation:
    return Observation(kind=kind, label=label, span=Span(start, end), **more)  # type: ignore[arg-type]


def counted(label: str, start: float, end: float, count: int = 1) -> Observation:
    return seen("count", label, start, end, count=count, score=0.8)


# 0-10 s: a white dog beside a red car whose number plate is read; a new scene at 10 s with two people, one of whom has
# left at 18 s. On the screen at 20 s: a person and a blue cup.
GARDEN = (
    seen("picture", "colors", 0, 9, colors=("green", "brown")),
    seen("area", "ground", 0, 9, colors=("green",)),
    seen("object", "dog", 1, 5, colors=("white",), place="on the left", score=0.8),
    counted("dog", 1, 5),
    seen("object", "car", 0, 9, colors=("red",), place="on the right", score=0.9),
    counted("car", 0, 9),
    seen("text", "XY 123", 2, 6, detail="car", place="on the right", colors=("black",)),
    seen("event", "dog", 5, 6, detail="left", place="on the left", score=0.8),
)
ROOM = (
    seen("view", "new scene", 10, 10),
    seen("picture", "colors", 10, 18, colors=("grey",)),
    seen("person", "person", 10, 18, colors=("yellow",), place="on the left", score=0.8),
    seen("clothes", "top", 10, 18, colors=("yellow",), place="on the left", score=0.8),
    seen("clothes", "head", 10, 18, colors=("blue",), place="on the left", score=0.8),
    seen("person", "person", 12, 16, colors=("black",), place="on the right", score=0.8),
    seen("clothes", "top", 12, 16, colors=("black",), place="on the right", score=0.8),
    counted("person", 10, 11),
    counted("person", 12, 16, count=2),
    counted("person", 17, 18),
    seen("event", "person", 12, 12, detail="appeared", place="on the right", score=0.8),
    seen("event", "person", 16, 17, detail="left", place="on the right", score=0.8),
    seen("event", "person", 10, 18, detail="moved up in the picture and got smaller, so it went farther away"),
    seen("text", "EXIT", 10, 18, place="at the top in the middle", colors=("green",)),
    seen("tag", "shop", 10, 18, score=0.6),
)
NOW = (
    seen("picture", "colors", 19, 20, colors=("grey",)),
    seen("person", "person", 19, 20, colors=("yellow",), place="on the left", score=0.8),
    counted("person", 19, 20),
    seen("object", "cup", 19, 20, colors=("blue",), place="in the middle", score=0.7),
    counted("cup", 19, 20),
    seen("text", "EXIT", 19, 20, place="at the top in the middle", colors=("green",)),
)


def context(question: str, last: tuple[str, str] | None = None, **more: object) -> Context:
    vector = np.zeros(384, np.float32)
    leaves = [(Span(0, 10), GARDEN), (Span(10, 19), ROOM)]
    settings: dict[str, object] = {
        "question": question,
        "question_embedding": vector,
        "asked_at_seconds": 20.0,
        "newest": Frame(picture(9), 20.0, 20),
        "captions": tuple(
            RetrievedCaption(
                span=span, caption=Caption("…", data_of(notes), vector), level=0, relevance=0.1, keyframe=b"jpeg"
            )
            for span, notes in leaves
        ),
        "last_turn": DialogueTurn(*last, 19.0, vector) if last else None,
    }
    return Context(**(settings | more))  # type: ignore[arg-type]


class ScriptedAnalyzer:
    """Sees what it is given, and counts what it analyzes."""

    def __init__(self, now: Sequence[Observation] = NOW, seen: Sequence[Frame] = ()) -> None:
        self._now = now
        self._seen = [frame.data for frame in seen]
        self.looked: list[float] = []
        self.analysis_seconds = 0.1

    def observe(
        self, frames: Sequence[Frame], starts_scene: bool, expected: frozenset[str], *, hurried: bool
    ) -> list[Observation]:
        del starts_scene, expected, hurried
        fresh = [frame for frame in frames if not self.has_analyzed(frame)]
        self.looked += [frame.pts_seconds for frame in fresh]
        self._seen += [frame.data for frame in fresh]
        return list(self._now)

    def has_analyzed(self, frame: Frame) -> bool:
        return any(frame.data is data for data in self._seen)


def answer(
    question: str, last: tuple[str, str] | None = None, now: Sequence[Observation] = NOW, **more: object
) -> tuple[str, list[Evidence]]:
    pieces = [
        piece
        for part in Answerer(minilm(), ScriptedAnalyzer(now)).answer(context(question, last, **more), NEVER.check)
        for piece in part
    ]
    text = "".join(piece for piece in pieces if isinstance(piece, str))
    return text, [piece for piece in pieces if isinstance(piece, Evidence)]


@pytest.mark.parametrize(
    ("question", "says"),
    [
        ("What is written on the car?", "XY 123"),
        ("Which text is on the screen now?", "EXIT"),
        ("What is the number on the car?", "XY 123"),
        ("What color are the letters now?", "Green"),
        ("How many people are there now?", "Now I count 1 person"),
        ("How many people were there?", "I counted 2 people"),
        ("How many animals did you see?", "1 dog"),
        ("What colour was the dog?", "White"),
        ("What color is the cup?", "Blue"),
        ("What color was the grass?", "Green"),
        ("What color is the hat?", "Blue"),
        ("What color is the jacket of the person on the right?", "Black"),
        ("When was the dog there?", "0:01–0:05"),
        ("When did the dog leave?", "0:05–0:06"),
        ("Which animal was shown?", "A white dog"),
        ("Which vehicle was shown first?", "red car"),
        ("What was shown first?", "red car"),
        ("What was shown before the cup?", "person"),
        ("What came after the dog?", "person appeared"),
        ("Is there a cup?", "Yes: a blue cup"),
        ("Did you see a dog?", "Yes: a white dog"),
        ("Was the car red?", "Yes: a red car"),
        ("Was there a driver?", "I noticed a person in"),
        ("Is the dog still there?", "I don't see it now; I last noticed a white dog"),
        ("Is there a dog?", "I don't see it now; I last noticed a white dog"),
        ("Was there a dog?", "Yes: a white dog"),
        ("What happens now?", "Now I see a person in yellow"),
        ("What happened at the beginning?", "In order: 0:00–0:09 a red car"),
        ("Was the car green?", "It looks red"),
        ("Was it a dog or a cat?", "dog"),
        ("Was the car blue or red?", "Red"),
        ("What is shown now?", "a blue cup"),
        ("What do you see?", "a blue cup"),
        ("What was at 0:03?", "a white dog"),
        ("Where is the cup?", "in the middle"),
        ("Where was the dog?", "on the left"),
        ("What just left?", "went out of view on the right at 0:16–0:17"),
        ("Who came in last?", "a person appeared on the right at 0:12"),
        ("Did the view change?", "Yes, the view changed at 0:10"),
        ("How many shots were there?", "2 shots"),
        ("Does the person walk towards the camera or away from it?", "Away from the camera"),
        ("Where did the person go?", "farther away"),
        ("What kind of place was it?", "looks like a shop"),
        ("Summarize the video", "a white dog"),
    ],
)
def test_the_answer_says(question: str, says: str) -> None:
    text, evidence = answer(question)
    assert says.lower() in text.lower()
    assert evidence


@pytest.mark.parametrize(
    ("question", "says"),
    [
        ("Is there an elephant?", "I did not notice an elephant"),
        ("Did a bus pass?", "I did not notice a bus"),
        ("How many horses are there?", "I did not notice any horses"),
        ("What color is the umbrella?", "I did not notice an umbrella"),
        ("What color is the wall behind the dog?", "I did not notice a wall"),
        ("Where is the guitar?", "I did not notice a guitar"),
        ("What was shown before the parrot?", "I did not notice a parrot"),
        ("Is the person smiling?", "can't see “smiling”"),
        ("What is the person doing?", "can't see actions in built-in mode"),
        ("Why did the dog leave?", "can't see reasons in built-in mode"),
        ("Who is the person?", "in built-in mode"),
        ("Which city is this?", "in built-in mode"),
        ("Is it a man or a woman?", "can't see whether it is a man or a woman"),
        ("What is on the shelf now?", "no notion of “shelf”"),
    ],
)
def test_what_was_not_noted_is_named_as_such(question: str, says: str) -> None:
    text, _ = answer(question)
    assert says in text
    assert not text.startswith("No")


def test_a_color_is_never_that_of_another_thing() -> None:
    text, _ = answer("What color is the table?")
    assert "grey" not in text.lower().partition("what i noticed")[0]


@pytest.mark.parametrize(
    ("question", "last", "says"),
    [
        ("What color was it?", ("Which animal was shown?", "A white dog (0:01–0:05)."), "White"),
        ("And where was it?", ("Did you see a car?", "Yes: a red car (0:00–0:09)."), "on the right"),
        ("How many of them are there now?", ("Are there people?", "Yes: a person."), "1 person"),
        ("And what passes now?", ("Which person came first?", "A person in yellow."), "a person in yellow"),
    ],
)
def test_a_follow_up_takes_its_subject_from_the_last_turn(question: str, last: tuple[str, str], says: str) -> None:
    assert says in answer(question, last)[0]


def test_small_talk_gets_a_plain_word_about_the_mode() -> None:
    assert "built-in mode" in answer("Hello!")[0]
    assert "don't understand actions" in answer("What can you do?")[0]


def test_the_evidence_is_the_moment_of_the_thing_with_its_picture() -> None:
    (moment,) = answer("What color was the dog?")[1]
    assert moment.span == Span(1, 5)
    assert "dog" in moment.caption
    assert moment.keyframe == b"jpeg"


def test_nothing_after_the_question_is_used() -> None:
    late = (*NOW, seen("object", "cat", 21, 22, score=0.9), counted("cat", 21, 22))
    text, evidence = answer("Is there a cat?", now=late)
    assert "I did not notice a cat" in text
    assert all(moment.span.end <= 20 for moment in evidence)


def test_a_summary_is_used_where_its_leaves_are_not_at_hand() -> None:
    vector = np.zeros(384, np.float32)
    parent = RetrievedCaption(
        span=Span(0, 19), caption=Caption("…", data_of((*GARDEN, *ROOM)), vector), level=1, relevance=0.1
    )
    text, evidence = answer("What color was the dog?", captions=(parent,))
    assert "White" in text
    assert evidence[0].span == Span(1, 5)


def test_what_changed_between_two_clips_is_an_event() -> None:
    before = (seen("picture", "colors", 0, 9), counted("dog", 0, 9), counted("car", 0, 9))
    after = (seen("picture", "colors", 10, 20), counted("car", 10, 20))
    vector = np.zeros(384, np.float32)
    caption = RetrievedCaption(span=Span(0, 10), caption=Caption("…", data_of(before), vector), level=0, relevance=0.1)
    text, _ = answer("What just left?", now=after, captions=(caption,))
    assert "a dog went out of view" in text.lower()


def test_a_text_that_the_question_quotes_is_said_alone() -> None:
    now = (*NOW, seen("text", "GATE 4827", 20, 20), seen("text", "PIER 1234", 20, 20))
    text, _ = answer("Which number was shown together with the word PIER?", now=now)
    assert "PIER 1234" in text
    assert "4827" not in text
    assert "4827" in answer("Which text is on the screen now?", now=now)[0]


class TestTimeBudget:
    """How much is looked at for one question."""

    kept = tuple(Frame(picture(level), seconds, level) for level, seconds in enumerate((16.0, 18.0, 19.5)))
    pending = tuple(
        Clip(torch.zeros(1, 1, 3), (Frame(picture(level), start, level),), Span(start, start + 2))
        for level, start in ((7, 12.0), (8, 14.0))
    )

    def looked(self, seen: Sequence[Frame], time_budget_seconds: float | None, **more: object) -> list[float]:
        analyzer = ScriptedAnalyzer(seen=seen)
        open_clip = Clip(torch.zeros(1, 1, 3), self.kept, Span(16.0, 20.0))
        settings: dict[str, Any] = {
            "open_clip": open_clip,
            "open_frames": self.kept,
            "pending_clips": self.pending,
            **more,
        }
        asked = context("What is shown?", time_budget_seconds=time_budget_seconds, **settings)
        assert list(Answerer(minilm(), analyzer).answer(asked, NEVER.check))
        return sorted(analyzer.looked)

    def test_without_a_limit_all_that_has_no_caption_is_looked_at(self) -> None:
        assert self.looked([], None) == [12.0, 14.0, 16.0, 18.0, 19.5, 20.0]

    def test_without_time_only_what_is_on_the_screen_is(self) -> None:
        assert self.looked([], 0.0) == [20.0]

    def test_what_was_looked_at_just_before_stands_for_the_screen(self) -> None:
        assert self.looked(self.kept[-1:], 0.0) == []

    def test_so_does_what_was_looked_at_longer_before_if_nothing_new_is_shown_since(self) -> None:
        now = Frame(picture(200), 20.0, 20)
        assert self.looked(self.kept[:1], 0.0) == []
        assert self.looked(self.kept[:1], 0.0, newest=now) == [20.0]

    def test_with_time_enough_all_is_looked_at(self) -> None:
        assert self.looked(self.kept[-1:], 60.0) == [12.0, 14.0, 16.0, 18.0]

    def test_what_is_not_found_in_a_hurry_is_looked_for_in_all(self) -> None:
        analyzer = ScriptedAnalyzer([], seen=self.kept[-1:])
        open_clip = Clip(torch.zeros(1, 1, 3), self.kept, Span(16.0, 20.0))
        asked = context(
            "Where is the zebra?",
            open_clip=open_clip,
            open_frames=self.kept,
            pending_clips=self.pending,
            time_budget_seconds=0.0,
        )
        parts = Answerer(minilm(), analyzer).answer(asked, NEVER.check)
        assert "".join(piece for piece in next(parts) if isinstance(piece, str)) == ANALYZES_MORE
        assert analyzer.looked == []
        said = "".join(piece for piece in next(parts) if isinstance(piece, str))
        assert "did not notice a zebra" in said
        assert NOT_ALL not in said
        assert sorted(analyzer.looked) == [12.0, 14.0, 16.0, 18.0]
        assert next(parts, None) is None

    def test_with_time_all_pictures_of_a_clip_are_looked_at(self) -> None:
        analyzer = ScriptedAnalyzer()
        pictures = tuple(Frame(picture(level), 12.0 + level, level) for level in range(4))
        pending = (Clip(torch.zeros(1, 1, 3), pictures, Span(12.0, 16.0)),)
        asked = context("Where is the zebra?", pending_clips=pending, time_budget_seconds=60.0)
        assert list(Answerer(minilm(), analyzer).answer(asked, NEVER.check))
        assert sorted(analyzer.looked) == [12.0, 13.0, 14.0, 15.0, 20.0]

    @pytest.mark.parametrize(
        "question",
        [
            "Where is the zebra?",
            "How many zebras were there?",
            "What color is the zebra?",
            "Did the view change?",
            "What was shown before?",
            "Was it a zebra or an elephant?",
            "What did the person wear?",
            "Did somebody come in?",
            "Which words were on the screen?",
            "What was at 0:17?",
            "Summarize the video",
        ],
    )
    def test_what_even_then_was_not_looked_at_is_said(self, question: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(answering, "SECOND_BUDGET_SECONDS", 0.0)
        open_clip = Clip(torch.zeros(1, 1, 3), self.kept, Span(16.0, 20.0))
        text, _ = answer(
            question, open_clip=open_clip, open_frames=self.kept, captions=(), time_budget_seconds=0.0, now=()
        )
        assert text.startswith(ANALYZES_MORE)
        assert text.endswith(NOT_ALL)

    @pytest.mark.parametrize("question", ["How many shots were there?", "Summarize the video"])
    def test_who_speaks_of_all_says_if_not_all_was_looked_at(self, question: str) -> None:
        text, evidence = answer(question, time_budget_seconds=0.0, captioned_until_seconds=1.0)
        assert evidence
        assert text.endswith(NOT_ALL)
        assert NOT_ALL not in answer(question, time_budget_seconds=0.0)[0]

    def test_older_leaves_that_no_caption_speaks_of_count_as_not_looked_at(self) -> None:
        assert answer("Where is the zebra?", time_budget_seconds=60.0, captioned_until_seconds=1.0)[0].endswith(NOT_ALL)
