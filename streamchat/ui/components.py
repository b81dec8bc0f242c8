"""What stands on the page as HTML. Texts from outside are escaped: video names, captions, words read on the screen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from streamchat.clock import time_range, timestamp
from streamchat.types import Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """A moment that an answer rests on, as the page shows it."""

    start: float  # seconds of the stream
    end: float
    caption: str
    picture: int | None  # the number under which the page fetches it


def model_line(text: str, *, busy: bool, reason: str = "") -> str:
    """The line that says which model answers and why it was chosen, or that it is still loading."""
    state = "busy" if busy else "ready"
    why = f"<small>{escape(reason)}</small>" if reason else ""
    line = f'<span class="sc-dot sc-{state}"></span><span>{escape(text)}{why}</span>'
    return f'<div class="sc-model" role="status">{line}</div>'


def moments(shown: Sequence[Moment]) -> str:
    """The moments that an answer rests on, as buttons that seek the player, or show the picture of a live stream.

    The page fetches the pictures by their number (`live.js`), so that a long conversation stays light.
    """
    if not shown:
        return ""
    chips = "".join(_chip(moment) for moment in shown)
    return f'<div class="sc-moments" aria-label="Moments of this answer">{chips}</div>'


def _chip(moment: Moment) -> str:
    image = "" if moment.picture is None else f'<img data-picture="{moment.picture}" alt="">'
    time = time_range(Span(moment.start, moment.end))
    caption = escape(moment.caption, quote=True)
    return (
        f'<button type="button" class="sc-chip" data-seek="{moment.start:.3f}" title="{caption}" '
        f'aria-label="Go to {time}: {caption}">{image}<span>{time}</span></button>'
    )


def footnote(made: str, answer: str) -> str:
    """How an answer came to be, and a way to copy it."""
    if not made:
        return ""
    copy = f'<button type="button" class="sc-link" data-copy="{escape(answer, quote=True)}">Copy</button>'
    return f'<div class="sc-footnote">{escape(made)} · {copy}</div>'


def progress_text(position_seconds: float, wanted_seconds: float | None) -> str:
    """Said in place of an answer while a video is ingested up to what the question is about, if that is known."""
    end = "" if wanted_seconds is None else f" of {timestamp(wanted_seconds)}"
    return f"Processing the video up to there first: {timestamp(position_seconds)}{end} …"


def speeds() -> str:
    """How fast the player plays; the page itself sets it."""
    options = "".join(
        f'<option value="{speed:g}"{" selected" if speed == 1 else ""}>{speed:g}×</option>' for speed in SPEEDS
    )
    return f'<label class="sc-hint">Speed <select id="sc-speed">{options}</select></label>'


SPEEDS = (0.5, 1, 1.5, 2, 4)


def tiles() -> str:
    """The gauges, empty."""
    return "".join(
        f'<div class="sc-gauge" title="{meaning}"><dt>{name}</dt><dd><span>–</span><small></small></dd></div>'
        for name, meaning in GAUGES
    )


GAUGES = (
    ("Processed", "How far into the stream the memory reaches"),
    ("Frames kept", "Frames that showed something new, of all frames seen"),
    ("Queued", "Kept frames still to be encoded, and frames of a camera that were dropped when it fell behind"),
    ("Moments", "In the long-term memory, and summaries of many"),
    ("Memory", "Size of the whole memory, against the budget of its tree"),
    ("Captions", "Whether all that is remembered has been put into words"),
    ("Delay", "Of your last question: until the answer began to be made, and until its first word"),
)
