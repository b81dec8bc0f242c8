"""Times in questions, in a table of cases; the stream is at 10:00 where nothing else is said."""

from __future__ import annotations

import pytest

from streamchat.retrieval.times import event_of, stretch_of

NOW = 600.0
CASES = [  # what is asked, a moment that must be in the stretch, and how long the stretch may be
    ("What was on the table at 0:40?", 40, 5),
    ("At 3:20, who was in the room?", 200, 5),
    ("What happened at 1:02?", 62, 5),
    ("what was shown around 14 s", 14, 5),
    ("Which car passed at about 90 seconds?", 90, 5),
    ("What did he hold two minutes ago?", 480, 60),
    ("What was there five minutes ago?", 300, 120),
    ("Who spoke 30 seconds ago?", 570, 20),
    ("Who spoke twenty-five seconds ago?", 575, 20),
    ("Was the lamp on thirty five seconds earlier?", 565, 20),
    ("What was there two and a half minutes ago?", 450, 60),
    ("What was there a minute and a half ago?", 510, 40),
    ("What was said a hundred seconds ago?", 500, 40),
    ("what was on the screen half a minute ago", 570, 20),
    ("What did I see a minute ago?", 540, 30),
    ("What was it ten seconds before now?", 590, 15),
    ("What was at the beginning?", 0, 40),
    ("What did the video show at the start?", 0, 40),
    ("At the start of the video, who speaks?", 0, 40),
    ("How does the video begin?", 0, 40),
    ("What was shown at first?", 0, 40),
    ("What happened in the last ten seconds?", 595, 10),
    ("What changed in the past minute?", 570, 60),
    ("Who came in during the last 2 minutes?", 540, 120),
    ("What was shown in the first minute?", 30, 60),
    ("What was in the first half of the video?", 150, 300),
    ("What was in the second half of the video?", 450, 300),
    ("What is written between 37 and 57 seconds?", 47, 20),
    ("What happened between 1:00 and 1:30?", 75, 30),
    ("What is shown 1:00-1:30?", 75, 30),
    ("What is shown from 1:00 to 1:30?", 75, 30),
    ("what was there from 2 to 3 minutes", 150, 60),
    ("Was there a dog after 8:00?", 550, 120),
    ("Was there a dog before 0:30?", 15, 30),
    ("What was there 3 minutes into the video?", 180, 5),
    ("What is on the wall 20 seconds in?", 20, 5),
    ("What was at 3m20s?", 200, 5),
    ("What was there at minute 3?", 185, 60),
    ("What was on the left 1 minute and 20 seconds ago?", 520, 40),
    ("What happened in the middle of the video?", 300, 130),
    ("What was it that fell down just now?", 598, 20),
    ("What was shown at the end?", 599, 20),
    ("What is he doing right now?", 599, 20),
    ("How many people are there now?", 599, 20),
    ("What is on the screen?", 599, 20),
    ("What do you see?", 599, 20),
    ("What happened recently?", 590, 60),
    ("What was the last scene?", 590, 60),
]
NONE = [
    "What is on the table?",
    "Wait a second, who is that?",
    "How many minutes does the cake bake?",
    "How long, about 3 minutes, did it take?",
    "Did it take 20 seconds in all?",
    "Is it 2 minutes in length?",
    "What is the score, 3 to 2?",
    "Who leads with a score 3:20?",
    "The clock on the wall shows 9:15, is that right?",
    "Is the score 103:20?",
    "Who won the first game?",
    "When does the race start?",
    "Where is the start line?",
    "What does the start button do?",
    "What happened from the beginning until now?",
    "What was there at 12:00?",  # later than now
    "What was there an hour ago?",  # before the stream
    "What was it a quarter of an hour ago?",
]


@pytest.mark.parametrize(("question", "moment", "length"), CASES, ids=[case[0] for case in CASES])
def test_the_stretch_that_is_named(question: str, moment: float, length: float) -> None:
    found = stretch_of(question, NOW)
    assert found is not None
    assert found.span.start <= moment <= found.span.end
    assert found.span.end - found.span.start <= length
    assert found.span.start <= found.middle_seconds <= found.span.end


@pytest.mark.parametrize("question", NONE)
def test_no_stretch_is_read_into_other_words(question: str) -> None:
    assert stretch_of(question, NOW) is None


def test_a_stretch_never_reaches_past_now() -> None:
    for question, moment, _ in CASES:
        found = stretch_of(question, 45.0)
        assert found is None or (0 <= found.span.start <= found.span.end <= 45.0), (question, moment)


@pytest.mark.parametrize(
    ("question", "side", "text"),
    [
        ("What was there before the bus came?", "before", "the bus came"),
        ("Who left right after the bell rang, and why?", "after", "the bell rang"),
        ("What came after 'MR HOLLOWAY'?", "after", "mr holloway"),
        ("What did he hold when the bus came?", "during", "the bus came"),
        ("Who was there while the man spoke?", "during", "the man spoke"),
    ],
)
def test_an_event_says_when(question: str, side: str, text: str) -> None:
    assert event_of(question) == (side, text)


@pytest.mark.parametrize(
    "question",
    [
        "What came after that?",
        "Was it there before 1:30?",
        "And before?",
        "after 5 s?",
        "Who will look after the dog?",
        "Before you answer, think.",
        "What was before my last question?",
        "Is it red after a while?",
        "When did the bus come?",
        "When the video ends, who is there?",
    ],
)
def test_what_is_no_event(question: str) -> None:
    assert event_of(question) is None
