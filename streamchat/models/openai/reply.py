"""Replies as servers write them: events into text, and what a model thinks before it answers kept out of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import httpx2
import openai
from httpx_sse import EventSource, ServerSentEvent, SSEError

# What models write around their thoughts, as their chat templates have it.
MARKS = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("[THINK]", "[/THINK]"),
    ("◁think▷", "◁/think▷"),
)
OPENING = tuple(opening for opening, _ in MARKS)
CLOSING = tuple(closing for _, closing in MARKS)
REASONING_FIELDS = ("reasoning_content", "reasoning", "thinking")  # of a delta, beside its content
DONE = "[DONE]"


class Chunk(NamedTuple):
    """What an event says."""

    text: str
    thinks: bool  # it brings thoughts, in a field of their own
    end: str | None  # the `finish_reason`


def chunks(response: httpx2.Response) -> Iterator[Chunk]:
    """The chunks of a streamed reply; events without data, such as pings, are passed over.

    Raises openai.APIError for an error that the server sends as an event, ValueError for what is not the protocol.
    """
    request = response.request
    for event in _events(response):
        if event.data.startswith(DONE):
            return
        if not event.data.strip():
            continue
        data = json.loads(event.data)
        if isinstance(data, dict) and data.get("error"):
            error = data["error"]
            message = error.get("message") if isinstance(error, dict) else error
            raise openai.APIError(str(message or "no reason was given"), request, body=error)
        yield _chunk(data)


def _events(response: httpx2.Response) -> Iterator[ServerSentEvent]:
    """The events of a response, none if it is no stream of them; errors are those of the client's package."""
    try:
        yield from EventSource(response).iter_sse()  # type: ignore[arg-type]  # it knows the package's older name
    except SSEError:
        return
    except httpx2.TimeoutException:
        raise openai.APITimeoutError(response.request) from None
    except httpx2.TransportError as error:
        raise openai.APIConnectionError(request=response.request) from error


def _chunk(data: Any) -> Chunk:
    """What one event says; nothing is taken for granted about it."""
    choices = data.get("choices") if isinstance(data, dict) else None
    choice = choices[0] if isinstance(choices, list) and choices else None
    if not isinstance(choice, dict):
        return Chunk("", False, None)  # such as the last one, which counts tokens
    delta = choice.get("delta")
    delta = delta if isinstance(delta, dict) else {}
    end = choice.get("finish_reason")
    thinks = any(delta.get(field) for field in REASONING_FIELDS)
    return Chunk(_text(delta.get("content")), thinks, end if isinstance(end, str) else None)


def _text(content: object) -> str:
    """The text of a content, which some servers send as a list of parts."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    texts = [part.get("text") for part in parts if isinstance(part, dict) and part.get("type", "text") == "text"]
    return "".join(text for text in texts if isinstance(text, str))


class Thoughts:
    """Takes the thoughts out of a text that comes in pieces.

    With `hold`, nothing is given out before it is known whether the text begins with thoughts whose opening mark the
    server has kept for itself, which only their closing mark tells.
    """

    def __init__(self, *, hold: bool = False) -> None:
        self._waiting = ""  # what came, and may still become a mark
        self._inside = ""  # the mark that closes the thoughts; "" outside of them
        self._hold = hold
        self._after = False  # thoughts have just ended, and nothing came but space
        self.found = False  # whether there were thoughts
        self.unopened = False  # whether they had no opening mark

    def take(self, piece: str) -> str:
        """What of the text so far can be given out."""
        self._waiting += piece
        given = ""
        while True:
            step = self._close() if self._inside else self._open()
            if step is None:
                break
            given += step
        if self._hold and not self._inside:
            self._waiting = given + self._waiting
            return ""
        return given + self._settled()

    def rest(self) -> str:
        """What is left at the end; thoughts that were not ended are none of it."""
        left = "" if self._inside else self._waiting
        self._waiting = ""
        return left

    def _close(self) -> str | None:
        """Go past the end of the thoughts, if it has come."""
        before, mark, after = self._waiting.partition(self._inside)
        if not mark:
            self._waiting = before[-len(self._inside) :]
            return None
        self._inside, self._waiting, self._hold, self._after = "", after, False, True
        return ""

    def _open(self) -> str | None:
        """Go past the next mark, if there is one; what is before it, unless that was thoughts too."""
        places = [(self._waiting.find(mark), mark) for mark in (*OPENING, *CLOSING) if mark in self._waiting]
        if not places:
            return None
        place, mark = min(places)
        before, after = self._waiting[:place], self._waiting[place + len(mark) :]
        self.found = True
        if mark in OPENING:
            self._inside, self._waiting = dict(MARKS)[mark], after
            return before
        self.unopened = True
        self._waiting, self._hold, self._after = after, False, True
        return ""

    def _settled(self) -> str:
        """What waits and cannot become a mark any more."""
        if self._inside:
            return ""
        if self._after:
            self._waiting = self._waiting.lstrip()
            self._after = not self._waiting
        marks = (*OPENING, *CLOSING)
        begun = (n for mark in marks for n in range(1, len(mark)) if self._waiting.endswith(mark[:n]))
        longest = max(begun, default=0)
        cut = len(self._waiting) - longest
        given, self._waiting = self._waiting[:cut], self._waiting[cut:]
        return given
