"""Alerts: posted once when something begins to be shown, by any model."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import videos
from conftest import WordEmbedder, picture

from streamchat.embedding import minilm
from streamchat.errors import InputError
from streamchat.models.base import Message, Model
from streamchat.models.fake import FakeModel
from streamchat.models.scheduler import NEVER, CancelToken
from streamchat.options import Options
from streamchat.session.alerts import MOST_ALERTS, Alerts
from streamchat.session.engine import StreamChat
from streamchat.types import Caption, Clip, Frame, Span
from streamchat.video.file import open_video


class Scripted(FakeModel):
    """Says of one leaf after the other what it is given."""

    def __init__(self, *replies: str) -> None:
        super().__init__()
        self.replies = list(replies)
        self.asked: list[str] = []

    def stream(self, messages: list[Message], visuals: object = (), **_: object) -> Iterator[str]:  # type: ignore[override]
        text = messages[-1]["content"][-1]["text"]
        if "yes or no" in text:
            self.asked.append(text)
            yield self.replies.pop(0)
        else:
            yield "A stretch."


def chat_of(model: FakeModel, leaves: int) -> StreamChat:
    """A chat that ingested so many leaves of two frames, and one frame more."""
    options = Options(chunk_frames=2)
    chat = StreamChat(model, options, WordEmbedder())
    chat.alerts.set(["a dog appears"])
    for number in range(2 * leaves + 1):
        chat.push(Frame(picture(), 2.0 * number, number))  # kept, as nothing was for so long
    return chat


def test_what_goes_on_is_reported_once_and_again_when_it_comes_back() -> None:
    chat = chat_of(Scripted("No.", "Yes, a brown dog.", "yes", "no: it left", "YES - it is back"), 5)
    hits = chat.alerts.take_hits()
    assert [(hit.reason, hit.evidence.span.start) for hit in hits] == [("a brown dog.", 4.0), ("it is back", 16.0)]
    assert all(hit.question == "a dog appears" and hit.evidence.keyframe for hit in hits)
    assert chat.alerts.take_hits() == []


def test_nothing_but_yes_is_a_hit_and_the_question_is_asked_with_its_span() -> None:
    model = Scripted("Perhaps yes", "yesterday", "There is a dog")
    assert chat_of(model, 3).alerts.take_hits() == []
    assert "a dog appears" in model.asked[0]
    assert "0:00–0:04" in model.asked[0]


def test_a_question_that_was_removed_is_asked_no_more() -> None:
    model = Scripted("yes")
    chat = chat_of(model, 1)
    chat.alerts.set([])
    for seconds in (10.0, 12.0, 14.0):
        chat.push(Frame(picture(), seconds, 10))
    assert len(model.asked) == 1


def test_one_that_is_removed_while_it_is_checked_finds_nothing() -> None:
    class Removing(FakeModel):
        chat: StreamChat

        def check_alert(self, question: str, clip: Clip, caption: Caption, cancel: CancelToken) -> str | None:
            self.chat.alerts.set([])
            return "it is there"

    model = Removing()
    model.chat = StreamChat(model, Options(chunk_frames=2), WordEmbedder())
    model.chat.alerts.set(["a dog appears"])
    for number in range(5):
        model.chat.push(Frame(picture(), 2.0 * number, number))
    assert model.chat.alerts.take_hits() == []
    assert model.chat.alerts.questions == ()


def test_the_end_of_a_video_is_checked_as_well() -> None:
    chat = chat_of(Scripted("no", "yes, at last"), 1)
    chat.check_rest()
    (hit,) = chat.alerts.take_hits()
    assert hit.evidence.span.start == 4.0


def test_too_many_or_too_long_are_refused_and_blank_ones_left_out() -> None:
    alerts = Alerts()
    alerts.set(["  a   dog ", "", "a dog", " "])
    assert alerts.questions == ("a dog",)
    with pytest.raises(InputError, match="at most 8 alerts at once, got 9: remove one"):
        alerts.set([str(number) for number in range(MOST_ALERTS + 1)])
    with pytest.raises(InputError, match="may have 300 characters, got 301"):
        alerts.set(["a" * 301])
    assert alerts.questions == ("a dog",)


def test_the_built_in_model_finds_what_it_noted(embedded_model: Model) -> None:
    shown = {
        "Tell me when a bicycle appears": (7.48, "bicycle"),
        "let me know when you see a person": (1.2, "a person in black"),
        "a red car": (0.0, "a red car"),
    }
    chat = StreamChat(embedded_model)
    chat.alerts.set([*shown, "tell me when a dog appears", "a blue car"])
    for frame in open_video(videos.bikes()):
        chat.push(frame)
    hits = chat.alerts.take_hits()
    assert {hit.question for hit in hits} == set(shown)
    for question, (start, reason) in shown.items():
        first = next(hit for hit in hits if hit.question == question)
        assert first.evidence.span.start == pytest.approx(start, abs=0.05)
        assert reason in first.reason


def test_the_built_in_model_falls_back_on_likeness_of_meaning(embedded_model: Model) -> None:
    frame = Frame(picture(), 0.0, 0)
    clip = Clip(embedded_model.encode([frame]), (frame,), Span(0.0, 1.0))
    vectors = minilm().embed(["A joyful celebration.", "zyx"])
    caption = Caption("A celebration.", embedding=vectors[0])
    assert embedded_model.check_alert("joyful celebration", clip, caption, NEVER) == "A celebration."
    assert embedded_model.check_alert("zyx", clip, caption, NEVER) is None
