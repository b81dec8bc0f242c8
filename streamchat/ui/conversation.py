"""The conversation of one visitor, as it is shown, saved and exported."""

from __future__ import annotations

import base64
import re
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from html import escape
from itertools import islice
from typing import Any

import cv2
import gradio as gr

from streamchat.clock import time_range, timestamp
from streamchat.errors import InputError
from streamchat.types import Answer, Evidence, Span
from streamchat.ui import components
from streamchat.ui.components import Moment
from streamchat.video.images import jpeg, jpeg_size, picture

MOST_ENTRIES = 200  # that stand on the page; older ones leave it, not the memory
MOST_MOMENTS = 8  # below an answer
MOST_TEXT_CHARACTERS = 500_000  # of one text out of a file
PICTURE_SIDE = 320  # pixels of a moment's picture
NOTHING = "(no answer)"
MARKUP = re.compile(r"<(?=[A-Za-z/!?])|&(?=[A-Za-z#])")

Message = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A question with its answer, or what an alert found."""

    question: str | None
    text: str
    at_seconds: float
    moments: tuple[Moment, ...] = ()
    made: str = ""  # how the answer came to be


class Conversation:
    """What was asked and answered, in order; the pictures of its moments are fetched by the page one by one.

    Thread-safe: an answer ends in one thread while an alert comes in another.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: list[Entry] = []
        self.pictures: dict[int, bytes] = {}  # JPEG
        self.alerts_posted = 0  # how many were ever added by alerts
        self._next_picture = 0  # never used again, as pages keep the pictures that they have

    def add(self, question: str | None, text: str, at_seconds: float, evidence: Sequence[Evidence], made: str) -> None:
        """Put an answer, or as much as there is of it, and its moments at the end."""
        cited = evidence[:MOST_MOMENTS]
        pictures = [None if one.keyframe is None else jpeg(picture(one.keyframe), PICTURE_SIDE) for one in cited]
        with self._lock:
            moments = tuple(self._moment(one, small) for one, small in zip(cited, pictures, strict=True))
            entry = Entry(question=question, text=text or NOTHING, at_seconds=at_seconds, moments=moments, made=made)
            self._entries.append(entry)
            while len(self._entries) > MOST_ENTRIES:
                self._forget(0)
            self.alerts_posted += question is None

    def _moment(self, evidence: Evidence, small: bytes | None) -> Moment:
        number = None
        if small is not None:
            number, self._next_picture = self._next_picture, self._next_picture + 1
            self.pictures[number] = small
        return Moment(start=evidence.span.start, end=evidence.span.end, caption=evidence.caption, picture=number)

    def _forget(self, index: int) -> None:
        for moment in self._entries.pop(index).moments:
            if moment.picture is not None:
                self.pictures.pop(moment.picture, None)

    @property
    def entries(self) -> tuple[Entry, ...]:
        """All that stands on the page, in order."""
        with self._lock:
            return tuple(self._entries)

    @property
    def last_question(self) -> Entry | None:
        """The newest question with its answer."""
        return next((entry for entry in reversed(self.entries) if entry.question is not None), None)

    def take_back(self) -> Entry | None:
        """Take the newest question and its answer out; None if there is none."""
        with self._lock:
            for index in reversed(range(len(self._entries))):
                if (entry := self._entries[index]).question is not None:
                    self._forget(index)
                    return entry
        return None

    def clear(self) -> None:
        """Empty the page; the memory of what was said stays."""
        with self._lock:
            self._entries.clear()
            self.pictures.clear()

    def messages(self, asking: str | None = None, so_far: str | None = None) -> list[Message]:
        """What the chat shows; at its end a question that is being asked, and what there is of its answer."""
        shown = [message for entry in self.entries for message in _messages(entry)]
        if asking is not None:
            shown.append({"role": "user", "content": _plain(asking)})
        if so_far is not None:
            shown.append({"role": "assistant", "content": _plain(so_far)})
        return shown

    def index_of_last_question(self) -> int | None:
        """Which of `messages()` is the newest question."""
        found = [index for index, message in enumerate(self.messages()) if message["role"] == "user"]
        return found[-1] if found else None

    def markdown(self, title: str) -> str:
        """The transcript."""
        parts = [f"# {_markdown(title)}"]
        for entry in self.entries:
            if entry.question is not None:
                parts.append(f"**{timestamp(entry.at_seconds)} — {_markdown(entry.question)}**")
            parts.append(_markdown(entry.text))
            parts += [
                f"- {time_range(Span(moment.start, moment.end))}: {_markdown(moment.caption)}"
                for moment in entry.moments
            ]
            if entry.made:
                parts.append(f"*{_markdown(entry.made)}*")
        return "\n\n".join(parts).replace("\n\n- ", "\n- ") + "\n"

    def to_json(self) -> dict[str, Any]:
        """Plain values that `from_json` takes back."""
        with self._lock:
            entries, pictures = list(self._entries), dict(self.pictures)
        written = {str(number): base64.b64encode(data).decode() for number, data in pictures.items()}
        return {"entries": [asdict(entry) for entry in entries], "pictures": written}

    @classmethod
    def from_json(cls, stored: Any) -> Conversation:
        """A conversation out of a saved session; raises InputError if it is not one."""
        conversation = cls()
        try:
            for number, data in islice(stored["pictures"].items(), MOST_ENTRIES * MOST_MOMENTS):
                conversation.pictures[int(number)] = _small_picture(base64.b64decode(data))
            conversation._next_picture = max(conversation.pictures, default=-1) + 1
            conversation._entries = [_entry(one, conversation.pictures) for one in stored["entries"][-MOST_ENTRIES:]]
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError, cv2.error) as error:
            raise InputError(f"the conversation in the session's file is damaged ({error}): save it again") from None
        return conversation


def provenance(answer: Answer) -> str:
    """How an answer came to be: what it was made from, of how much that was found, and how long it took."""
    given = answer.given
    parts = [
        f"at {timestamp(answer.asked_at_seconds)}",
        f"{answer.timing.first_token_seconds:.2f} s to the first word, {answer.timing.total_seconds:.2f} s in all",
    ]
    if given.captions or given.captions_left_out:
        parts.append(f"from {_share(len(given.captions), given.captions_left_out, 'caption')}")
    parts.append(_share(len(given.pictures), given.pictures_left_out, "picture"))
    if given.turns:
        parts.append(_count(given.turns, "earlier round"))
    if given.prompt_tokens is not None:
        parts.append(_count(given.prompt_tokens, "token"))
    return " · ".join(parts)


def _share(given: int, left_out: int, noun: str) -> str:
    """So many, of how many if some were left out."""
    return f"{given:,} of {_count(given + left_out, noun)}" if left_out else _count(given, noun)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _messages(entry: Entry) -> list[Message]:
    shown: list[Message] = []
    if entry.question is not None:
        shown.append({"role": "user", "content": _plain(entry.question)})
    shown.append({"role": "assistant", "content": _plain(entry.text)})
    below = components.moments(entry.moments) + components.footnote(entry.made, entry.text)
    if below:
        shown.append({"role": "assistant", "content": gr.HTML(below)})
    return shown


def _small_picture(data: bytes) -> bytes:
    """A picture out of a file, made anew; ValueError for a large one, before it is decoded."""
    if max(jpeg_size(data)) > PICTURE_SIDE:
        raise ValueError(f"a picture is larger than {PICTURE_SIDE} pixels")
    return jpeg(picture(data))


def _entry(stored: Any, pictures: dict[int, bytes]) -> Entry:
    entry = Entry(**{**stored, "moments": tuple(Moment(**moment) for moment in stored["moments"][:MOST_MOMENTS])})
    texts = (entry.text, entry.made, *(moment.caption for moment in entry.moments))
    times = (entry.at_seconds, *(time for moment in entry.moments for time in (moment.start, moment.end)))
    known = all(moment.picture is None or moment.picture in pictures for moment in entry.moments)
    if not all(isinstance(text, str) for text in texts) or not isinstance(entry.question, str | None):
        raise TypeError("a text is not text")
    if max(map(len, (*texts, entry.question or ""))) > MOST_TEXT_CHARACTERS:
        raise ValueError(f"a text has more than {MOST_TEXT_CHARACTERS} characters")
    if not all(isinstance(time, int | float) and 0 <= time < 1e9 for time in times) or not known:
        raise ValueError("a moment is not one")
    return entry


def _plain(text: str) -> str:
    """Text as it is: to the chat it is HTML, so that what would be a tag or an entity is escaped, and no more."""
    return MARKUP.sub(lambda found: escape(found[0]), text)


def _markdown(text: str) -> str:
    """Text with what Markdown would take for its own marks escaped, on one line."""
    escaped = "".join(f"\\{sign}" if sign in "\\`*_{}[]<>#|" else sign for sign in text)
    return " ".join(escaped.split())
