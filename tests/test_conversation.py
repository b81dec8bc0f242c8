"""The conversation as it is shown, saved and exported."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from conftest import picture

from streamchat.errors import InputError
from streamchat.types import Evidence, Span
from streamchat.ui.conversation import MOST_ENTRIES, MOST_MOMENTS, NOTHING, Conversation
from streamchat.video.images import jpeg

KEYFRAME = jpeg(picture(90, 120, 160))
LARGE = base64.b64encode(jpeg(picture(90, 3000, 3000), None)).decode()


def moment(start: float) -> Evidence:
    return Evidence(span=Span(start, start + 2), caption=f"At {start:g} <b>s</b>", keyframe=KEYFRAME)


def conversation() -> Conversation:
    talked = Conversation()
    talked.add("What is <i>this</i>?", "A & B", 12.0, [moment(3.0), moment(7.0)], "at 0:12")
    talked.add(None, "a dog appears: a dog", 20.0, [moment(20.0)], "")
    talked.add("And *that*?", "", 31.0, [], "")
    return talked


def test_texts_are_shown_as_they_are_never_as_html() -> None:
    shown = conversation().messages("<script>", "so <far>")
    texts = [message["content"] for message in shown if isinstance(message["content"], str)]
    assert texts[:2] == ["What is &lt;i>this&lt;/i>?", "A & B"]
    assert texts[-2:] == ["&lt;script>", "so &lt;far>"]
    chips = next(message["content"].value for message in shown if not isinstance(message["content"], str))
    assert "&lt;b&gt;" in chips
    assert "<b>" not in chips


def test_the_last_question_is_the_one_that_can_be_taken_back() -> None:
    talked = conversation()
    last = talked.last_question
    assert last is not None
    assert (last.question, last.text) == ("And *that*?", NOTHING)
    talked.take_back()
    assert talked.last_question is not None
    assert talked.last_question.question == "What is <i>this</i>?"
    talked.take_back()
    assert [entry.question for entry in talked.entries] == [None]
    assert len(talked.pictures) == 1
    assert talked.index_of_last_question() is None


def test_pictures_leave_with_their_entry_and_their_numbers_never_come_again() -> None:
    talked = Conversation()
    for number in range(MOST_ENTRIES + 5):
        talked.add("?", "!", float(number), [moment(float(number))] * (MOST_MOMENTS + 3), "")
    assert len(talked.entries) == MOST_ENTRIES
    assert len(talked.pictures) == MOST_ENTRIES * MOST_MOMENTS
    before = set(talked.pictures)
    talked.take_back()
    talked.add("?", "!", 0.0, [moment(0.0)], "")
    assert max(talked.pictures) > max(before)


def test_it_comes_back_from_json_as_it_was() -> None:
    talked = conversation()
    again = Conversation.from_json(json.loads(json.dumps(talked.to_json())))
    assert again.entries == talked.entries
    assert set(again.pictures) == set(talked.pictures)
    again.add("More?", "Yes.", 40.0, [moment(1.0)], "")
    assert len(again.pictures) == len(talked.pictures) + 1


def changed(**changes: Any) -> dict[str, Any]:
    stored: dict[str, Any] = json.loads(json.dumps(conversation().to_json()))
    stored["entries"][0] |= changes
    return stored


@pytest.mark.parametrize(
    "stored",
    [
        None,
        [],
        {},
        {"entries": [], "pictures": []},
        {"entries": 5, "pictures": {}},
        changed(text=5),
        changed(text="x" * 500_001),
        changed(question=["a"]),
        changed(at_seconds=-1.0),
        changed(at_seconds="now"),
        changed(surprise="x"),
        changed(moments=[{"start": 0.0, "end": 1.0, "caption": "x", "picture": 99}]),
        changed(moments=[{"start": 0.0, "end": 1.0, "caption": 3, "picture": None}]),
        changed(moments="none"),
        conversation().to_json() | {"pictures": {"0": "bm8gcGljdHVyZQ==", "1": "", "2": ""}},
        conversation().to_json() | {"pictures": {"0": LARGE, "1": LARGE, "2": LARGE}},
    ],
)
def test_what_is_no_conversation_is_refused(stored: Any) -> None:
    with pytest.raises(InputError, match="the conversation in the session's file is damaged"):
        Conversation.from_json(stored)


def test_the_transcript_escapes_what_markdown_would_read() -> None:
    text = conversation().markdown("my video.mp4")
    assert text.startswith("# my video.mp4\n\n**0:12 — What is \\<i\\>this\\</i\\>?**\n\nA & B\n- 0:03–0:05: At 3")
    assert "**0:31 — And \\*that\\*?**" in text
    hostile = Conversation.from_json(changed(made="<script>x</script>\n# y")).markdown("<img src=x>\n# two")
    assert hostile.splitlines()[0] == "# \\<img src=x\\> \\# two"
    assert "*\\<script\\>x\\</script\\> \\# y*" in hostile
