"""What stands on the page as HTML. Texts from outside are escaped: film names, captions, words read on the screen."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape

from streamchat import prompts
from streamchat.images import jpeg, picture
from streamchat.pipeline import Stats
from streamchat.types import Answer, Evidence
from streamchat.ui.sessions import Visit

MOST_MOMENTS = 8  # shown below an answer
THUMBNAIL_SIDE = 160  # pixels


def model_line(text: str, *, busy: bool, reason: str = "") -> str:
    """The line that says which model answers and why it was chosen, or that it is still loading."""
    state = "busy" if busy else "ready"
    why = f"<small>{escape(reason)}</small>" if reason else ""
    line = f'<span class="sc-dot sc-{state}"></span><span>{escape(text)}{why}</span>'
    return f'<div class="sc-model" role="status">{line}</div>'


def moments(evidence: Sequence[Evidence]) -> str:
    """The moments that an answer rests on, as buttons that seek the player."""
    if not evidence:
        return ""
    chips = "".join(_chip(moment) for moment in evidence[:MOST_MOMENTS])
    return f'<div class="sc-moments" aria-label="Moments of this answer">{chips}</div>'


def _chip(moment: Evidence) -> str:
    image = ""
    if moment.keyframe is not None:
        data = base64.b64encode(jpeg(picture(moment.keyframe), THUMBNAIL_SIDE)).decode()
        image = f'<img src="data:image/jpeg;base64,{data}" alt="">'
    time = prompts.moment(moment.span)
    caption = escape(moment.caption, quote=True)
    return (
        f'<button type="button" class="sc-chip" data-seek="{moment.span.start:.3f}" title="{caption}" '
        f'aria-label="Go to {time}: {caption}">{image}<span>{time}</span></button>'
    )


def footnote(answer: Answer) -> str:
    """When the question was asked and how long the answer took."""
    first = answer.timing.first_token_seconds
    return (
        f'<div class="sc-footnote">at {prompts.clock(answer.asked_at_seconds)} · {first:.1f} s to the first word</div>'
    )


def hint(about: Visit | None) -> str:
    """What the next question is about; the browser keeps the player's time in it up to date."""
    if about is None:
        text = "A question is about what was shown up to the moment you ask it."
    elif about.to_the_end:
        text = "You ask about the whole film."
    else:
        text = 'You ask about what was shown up to <b id="sc-now">0:00</b>.'
    return f'<p class="sc-hint">{text}</p>'


def waiting(position_seconds: float, duration_seconds: float | None) -> str:
    """Said in place of an answer while the rest of the film is taken in for it."""
    end = "" if duration_seconds is None else f" of {prompts.clock(duration_seconds)}"
    return f"Taking in the rest of the film first: {prompts.clock(position_seconds)}{end} …"


def gauges(stats: Stats | None, duration_seconds: float | None, delay_seconds: float | None) -> str:
    """How taking in stands, as small tiles that keep their place."""
    if stats is None:
        values, details = ["–"] * 6, [""] * 6
    else:
        end = "" if duration_seconds is None else f" / {prompts.clock(duration_seconds)}"
        position = duration_seconds if stats.finished and duration_seconds else stats.position_seconds
        values = [
            f"{prompts.clock(position)}{end}",
            f"{stats.frames_kept} of {stats.frames_seen}",
            f"{sum(stats.nodes_by_level)}",
            "in the making" if stats.captions_waiting else "up to date",
            f"{stats.memory_bytes / 2**20:.1f} MB",
            "–" if delay_seconds is None else f"{delay_seconds:.1f} s",
        ]
        share = stats.frames_kept / stats.frames_seen if stats.frames_seen else 0.0
        levels = " + ".join(str(count) for count in stats.nodes_by_level)
        details = [
            f"{stats.frames_per_second:.0f} frames a second",
            f"{share:.0%}",
            f"leaves first: {levels}",
            "",
            "",
            "",
        ]
    tiles = "".join(
        f'<div class="sc-gauge" title="{meaning}"><dt>{name}</dt><dd>{value}<small>{detail}</small></dd></div>'
        for (name, meaning), value, detail in zip(GAUGES, values, details, strict=True)
    )
    return f'<dl class="sc-gauges" aria-label="How taking in stands">{tiles}</dl>'


GAUGES = (
    ("Taken in", "How far the film has been watched"),
    ("Frames kept", "Frames that showed something new, of all frames seen"),
    ("Memory nodes", "Nodes of the long-term tree, by level"),
    ("Captions", "Whether all that is remembered has been put into words"),
    ("Memory", "Size of the whole memory"),
    ("Delay", "From your last question to the first word of its answer"),
)
