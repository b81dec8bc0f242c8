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
NOW_SECONDS, JUST_NOW_SECONDS, RECENT_SECONDS = 10.0, 20.0, 60.0

_ONES = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_TEENS = ("ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen")
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_COUNTS = {
    **{word: float(number) for number, word in enumerate((*_ONES, *_TEENS), 1)},
    **{word: 10.0 * number for number, word in enumerate(_TENS, 2)},
    **{"a hundred": 100.0, "half a": 0.5, "half an": 0.5, "a quarter of an": 0.25, "a": 1.0, "an": 1.0},  # noqa: PIE800
    **{"a couple of": 2.0, "couple of": 2.0, "a few": 3.0, "few": 3.0, "several": 3.0},  # noqa: PIE800
}
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}  # by their first letter

_WORDS = "|".join(sorted(map(re.escape, _COUNTS), key=len, reverse=True))
_NUMBER = rf"(?<![\w:.-])(?:\d+(?:\.\d+)?|(?:{'|'.join(_TENS)})[ -](?:{'|'.join(_ONES)})\b|(?:{_WORDS})\b)"
_HALF = r"(?: and a half)?"
_UNIT = r"(?:s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?)\b"
_DURATION = rf"(?:(?<![\w:.-])\d+m ?\d+s\b|{_NUMBER}{_HALF}[ -]?{_UNIT}{_HALF}(?:,? (?:and )?{_NUMBER}[ -]?{_UNIT})?)"
_CLOCK = r"(?<![\d:.-])\d{1,2}:\d{2}(?::\d{2})?(?![\d:])"
_TIME = rf"(?:{_CLOCK}|{_DURATION})"
_VIDEO = r"(?:video|film|movie|stream|clip|recording|show)"
_READ_OFF = re.compile(
    r"(?:shows?|showed|says?|said|reads?|score|clock is)[ :]*$"
)  # a clock time that is in the picture
_HOW_LONG = re.compile(r"\bhow (?:long|many|much)\b")
_NO_EVENT = (
    r"(?!(?:that|this|these|it|then|now|all|which|what|you|we|i|my|your|me|long|today|tomorrow|yesterday|tonight)\b"
    rf"|a (?:while|moment)|the (?:end|start|beginning|whole)\b|the {_VIDEO}\b|{_TIME})"
)
_EVENT = re.compile(
    rf"(?<!look )(?<!looks )(?<!looked )(?<!day )\b(before|after) {_NO_EVENT}[\"'“‘]?([a-z0-9][^,?.!;]*)"
    r"|(?<=\w )\b(when|while) ((?:the|a|an|he|she|they|someone|somebody|people) [^,?.!;]*)"
)


class Stretch(NamedTuple):
    """The part of the stream that a question speaks of."""

    span: Span
    middle_seconds: float  # what was meant most of all
    is_moment: bool  # what is near to the middle was meant, and not all of the span alike


class Event(NamedTuple):
    """Something that a question names to say when."""

    side: Literal["before", "after", "during"]
    text: str


def stretch_of(question: str, now_seconds: float) -> Stretch | None:
    """The stretch that the words of a question name, as of a moment of the stream; None if they name none.

    Times are those of the stream. What would be later than now, or before its beginning, is no stretch.
    """
    text = " ".join(question.lower().replace("’", "'").split())
    for pattern, meaning in _MEANINGS:
        found = pattern.search(text)
        meant = None if found is None else meaning(found, now_seconds)
        if meant is None:
            continue
        start, middle, end, is_moment = meant
        if start > now_seconds or end < 0 or end < start:
            return None
        start, end = max(0.0, start), min(now_seconds, end)
        return Stretch(Span(start, end), min(max(middle, start), end), is_moment)
    return None


def event_of(question: str) -> Event | None:
    """The event that a question names to say when, in its own words; None if it names none."""
    found = _EVENT.search(" ".join(question.lower().split()))
    if found is None:
        return None
    if found[3]:
        return Event("during", found[4].strip("\"'”’ "))
    return Event("before" if found[1] == "before" else "after", found[2].strip("\"'”’ "))


def _seconds(text: str) -> float:
    """The seconds of a clock time or of a duration."""
    if ":" in text:
        return sum(float(part) * 60.0**power for power, part in enumerate(reversed(text.split(":"))))
    if short := re.fullmatch(r"(\d+)m ?(\d+)s", text):
        return 60.0 * int(short[1]) + int(short[2])
    parts = re.findall(rf"({_NUMBER})({_HALF})[ -]?({_UNIT})({_HALF})", text)
    return sum((_number(number) + 0.5 * bool(one or other)) * _UNITS[unit[0]] for number, one, unit, other in parts)


def _number(text: str) -> float:
    if text in _COUNTS:
        return _COUNTS[text]
    tens, separator, ones = text.replace("-", " ").partition(" ")
    return _COUNTS[tens] + _COUNTS[ones] if separator else float(text)


Meaning = tuple[float, float, float, bool]  # start, middle and end in seconds, and whether a moment was meant


def _moment(seconds: float, most: float = MOMENT_SECONDS) -> Meaning:
    return seconds - most, seconds, seconds + most, True


def _stretch(start: float, end: float) -> Meaning:
    return start, (start + end) / 2, end, False


def _ago(found: re.Match[str], now: float) -> Meaning:
    back = _seconds(found[1])
    return _moment(now - back, max(VAGUE_SECONDS, VAGUE_SHARE * back))


def _between(found: re.Match[str], _: float) -> Meaning:
    last = _seconds(found[2])
    unit = re.search(_UNIT + "$", found[2])
    has_unit = ":" in found[1] or re.search(_UNIT + "$", found[1]) is not None
    first = _seconds(found[1]) if has_unit else _number(found[1]) * (_UNITS[unit[0][0]] if unit else 1.0)
    return _stretch(first, last)


def _of_length(found: re.Match[str]) -> float:
    return _seconds(found[1] if re.match(_NUMBER, found[1]) else f"one {found[1]}")


def _last(found: re.Match[str], now: float) -> Meaning:
    return _stretch(now - _of_length(found), now)


def _first(found: re.Match[str], _: float) -> Meaning:
    return _stretch(0.0, _of_length(found))


def _half(found: re.Match[str], now: float) -> Meaning:
    return _stretch(0.0, now / 2) if found[1] == "first" else _stretch(now / 2, now)


def _into(found: re.Match[str], _: float) -> Meaning:
    return _moment(_seconds(found[1]))


def _since(found: re.Match[str], now: float) -> Meaning:
    start = _seconds(found[1])
    return start, start, now, False


def _until(found: re.Match[str], _: float) -> Meaning:
    end = _seconds(found[1])
    return 0.0, end, end, False


def _clock(found: re.Match[str], _: float) -> Meaning | None:
    read_off = _READ_OFF.search(found.string[: found.start()])
    return None if read_off else _moment(_seconds(found[1]))


def _at(found: re.Match[str], _: float) -> Meaning | None:
    return None if _HOW_LONG.search(found.string) else _moment(_seconds(found[1]))


def _minute(found: re.Match[str], _: float) -> Meaning:
    start = int(found[2]) * _UNITS[found[1][0]]
    return start, start, start + _UNITS[found[1][0]], True


def _beginning(_: re.Match[str], now: float) -> Meaning:
    return 0.0, 0.0, max(BEGINNING_SECONDS, BEGINNING_SHARE * now), True


def _middle(_: re.Match[str], now: float) -> Meaning:
    return _moment(now / 2, MIDDLE_SHARE * now)


def _within(seconds: float) -> Callable[[re.Match[str], float], Meaning]:
    """The last seconds, the newest of them first."""
    return lambda _, now: (now - seconds, now, now, True)


_AT_THE_START = (
    r"\b(?:at|from|in|near) the (?:very )?(?:beginning|start|outset)"
    rf"(?! (?:line|button|menu|screen|until|till|to|up)\b)(?! of (?!the {_VIDEO}))"
)
_INTO = rf"({_DURATION}) (?:into|in(?= the {_VIDEO}|[?.!,]|$)|(?:after|from) the (?:start|beginning))"
_NOW = (
    r"\bright now\b|\bcurrently\b|\bat (?:the|this) moment\b|(?<!until )(?<!till )\bnow\W*$"
    r"|^(?!.*\b(?:was|were|did|had|has|have|so far)\b)"
    r".*\b(?:on (?:the |this )?screen|(?:do|can) you see|is happening)\W*$"
)
_PATTERNS: tuple[tuple[str, Callable[[re.Match[str], float], Meaning | None]], ...] = (
    (rf"({_CLOCK}) ?(?:-|–|to|until|till) ?(\d{{1,2}}:\d{{2}}(?::\d{{2}})?)", _between),
    (rf"\b(?:between|from) ({_TIME}|{_NUMBER}) (?:and|to|until|till) ({_TIME})", _between),
    (rf"({_DURATION}) (?:ago|earlier|back\b|before now)", _ago),
    (rf"\b(?:last|past|previous) ({_DURATION}|second|minute|hour)\b", _last),
    (rf"\b(first|second) half of the {_VIDEO}", _half),
    (rf"\bfirst ({_DURATION}|second|minute|hour)\b(?! hand)", _first),
    (_INTO, _into),
    (rf"\b(?:after|since) ({_TIME})", _since),
    (rf"\b(?:before|until|till|up to) ({_TIME})", _until),
    (rf"({_CLOCK})", _clock),
    (rf"\b(?:at(?: about| around)?|around|near) (?:the )?({_DURATION})", _at),
    (r"\b(minute|second) (\d+)\b", _minute),
    (_AT_THE_START, _beginning),
    (r"\bat first\b|\binitially\b|\bfirst (?:thing|scene|shot)\b", _beginning),
    (rf"\b{_VIDEO} (?:starts?|begins?|opens?)\b", _beginning),
    (rf"\bin the middle of the {_VIDEO}|\bhalfway\b", _middle),
    (_NOW, _within(NOW_SECONDS)),
    (r"\bjust now\b|\ba (?:moment|second) ago\b|\bmoments ago\b|\bat the (?:very )?end\b", _within(JUST_NOW_SECONDS)),
    (r"\brecently\b|\ba (?:little |short )?while ago\b|\blast (?:thing|scene|shot)\b", _within(RECENT_SECONDS)),
)
_MEANINGS = tuple((re.compile(pattern), meaning) for pattern, meaning in _PATTERNS)
