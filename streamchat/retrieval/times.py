"""Times in a question: "at 3:20", "five minutes ago", "in the last ten seconds", "before the bus came"."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal, NamedTuple

from streamchat.types import Span

MOMENT_SECONDS = 1.0  # to both sides of a moment that is named exactly
VAGUE_SHARE = 0.15  # of a time span: how far off "five minutes ago" may be, to both sides
VAGUE_SECONDS = 5.0  # and at least so far
BEGINNING_SECONDS, BEGINNING_SHARE = 15.0, 0.05  # of the stream: what "at the beginning" means, the longer of them
MIDDLE_SHARE = 0.1  # of the stream, to both sides of its middle
JUST_NOW_SECONDS = 20.0
_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_TEENS = ("ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen")
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
NUMBERS = {
    **{word: float(number) for number, word in enumerate((*_DIGITS, *_TEENS))},
    **{word: 10.0 * number for number, word in enumerate(_TENS, 2)},
    **{"a": 1.0, "an": 1.0, "half a": 0.5, "half an": 0.5, "a couple of": 2.0, "couple of": 2.0},  # noqa: PIE800
    **{"a few": 3.0, "few": 3.0, "several": 3.0},  # noqa: PIE800
}
UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}  # by their first letter

_NUMBER = r"(?:\d+(?:\.\d+)?|" + "|".join(sorted(map(re.escape, NUMBERS), key=len, reverse=True)) + ")"
_UNIT = r"(?:s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?)"
_DURATION = rf"{_NUMBER}[ -]?{_UNIT}\b(?:,? (?:and )?{_NUMBER}[ -]?{_UNIT}\b)?"
_CLOCK = r"\d{1,2}:\d{2}(?::\d{2})?"
_TIME = rf"(?:{_CLOCK}|{_DURATION})"
_WORD_OF_EVENT = r"(?!(?:that|this|it|then|now|all|the video|the film|the end|the start|the beginning)\b)[a-z]"


class Stretch(NamedTuple):
    """The part of the stream that a question speaks of."""

    span: Span
    middle_seconds: float  # what was meant most of all


class Event(NamedTuple):
    """Something that a question names to say when."""

    side: Literal["before", "after"]
    text: str


def stretch_of(question: str, now_seconds: float) -> Stretch | None:
    """The stretch that the words of a question name, as of a moment of the stream; None if they name none.

    Times are those of the stream. What would be later than now is no stretch.
    """
    text = " ".join(question.lower().replace("’", "'").split())
    for pattern, meaning in _MEANINGS:
        found = re.search(pattern, text)
        if found is None:
            continue
        start, middle, end = meaning(found, now_seconds)
        if start > now_seconds or end < start:
            return None
        start, end = max(0.0, start), min(now_seconds, max(0.0, end))
        return Stretch(Span(start, end), min(max(middle, start), end))
    return None


def event_of(question: str) -> Event | None:
    """The event before or after which something is asked for, in the question's own words; None if there is none."""
    text = " ".join(question.lower().split())
    found = re.search(rf"\b(before|after) ({_WORD_OF_EVENT}[^,?.!]*)", text)
    if found is None or re.match(_TIME, found[2]):
        return None
    return Event("before" if found[1] == "before" else "after", found[2].strip())


def _seconds(text: str) -> float:
    """The seconds of a clock time or of a duration."""
    if ":" in text:
        return sum(float(part) * 60**power for power, part in enumerate(reversed(text.split(":"))))
    parts = re.findall(rf"({_NUMBER})[ -]?({_UNIT})\b", text)
    return sum(_number(number) * UNITS[unit[0]] for number, unit in parts)


def _number(text: str) -> float:
    return NUMBERS[text] if text in NUMBERS else float(text)


Meaning = tuple[float, float, float]  # start, middle, end in seconds


def _around(seconds: float, most: float) -> Meaning:
    return seconds - most, seconds, seconds + most


def _ago(found: re.Match[str], now: float) -> Meaning:
    back = _seconds(found[1])
    return _around(now - back, max(VAGUE_SECONDS, VAGUE_SHARE * back))


def _between(found: re.Match[str], _: float) -> Meaning:
    last = _seconds(found[2])
    unit = re.search(_UNIT + "$", found[2])
    if ":" in found[1] or re.search(_UNIT + "$", found[1]):
        first = _seconds(found[1])
    else:
        first = _number(found[1]) * (UNITS[unit[0][0]] if unit else 1.0)
    return first, (first + last) / 2, last


def _last(found: re.Match[str], now: float) -> Meaning:
    back = _seconds(found[1] if re.match(_NUMBER, found[1]) else f"one {found[1]}")
    return now - back, now - back / 2, now


def _first(found: re.Match[str], _: float) -> Meaning:
    length = _seconds(found[1] if re.match(_NUMBER, found[1]) else f"one {found[1]}")
    return 0.0, length / 2, length


def _beginning(_: re.Match[str], now: float) -> Meaning:
    return 0.0, 0.0, max(BEGINNING_SECONDS, BEGINNING_SHARE * now)


_MEANINGS: tuple[tuple[str, Callable[[re.Match[str], float], Meaning]], ...] = (
    (rf"\b(?:between|from) ({_TIME}|{_NUMBER}) (?:and|to|until|till) ({_TIME})", _between),
    (rf"\b({_DURATION}) (?:ago|earlier|back)\b", _ago),
    (rf"\b(?:last|past|previous) ({_DURATION}|second|minute|hour)", _last),
    (rf"\bfirst ({_DURATION}|second|minute|hour)", _first),
    (rf"\b({_DURATION}) (?:into|in\b|after the (?:start|beginning)|from the (?:start|beginning))",
     lambda found, _: _around(_seconds(found[1]), MOMENT_SECONDS)),
    (rf"\b(?:after|since) ({_TIME})", lambda found, now: (at := _seconds(found[1]), at, now)),
    (rf"\b(?:before|until|till|up to) ({_TIME})", lambda found, _: (0.0, at := _seconds(found[1]), at)),
    (rf"({_CLOCK})", lambda found, _: _around(_seconds(found[1]), MOMENT_SECONDS)),
    (rf"\b(?:at|around|about|near) (?:about |around |the )?({_DURATION})",
     lambda found, _: _around(_seconds(found[1]), MOMENT_SECONDS)),
    (r"\b(?:(?:beginning|start|outset)\b(?! to)|at first\b|initially\b|first (?:thing|scene|shot)\b)", _beginning),
    (r"\b(?:in the middle of the (?:video|film|stream|clip)|halfway)\b",
     lambda _, now: _around(now / 2, MIDDLE_SHARE * now)),
    (r"\b(?:just now|a moment ago|moments ago|most recently|at the (?:very )?end)\b",
     lambda _, now: (now - JUST_NOW_SECONDS, now, now)),
)  # fmt: skip
