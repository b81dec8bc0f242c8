"""What stands on the page as HTML. Texts from outside are escaped: film names, captions, words read on the screen."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape

from streamchat import prompts
from streamchat.images import jpeg, picture
from streamchat.pipeline import Stats
from streamchat.types import Answer, Evidence

MOST_MOMENTS = 8  # shown below an answer
THUMBNAIL_SIDE = 160  # pixels


def model_line(text: str, *, busy: bool) -> str:
    """The line that says which model answers, or that it is still loading."""
    state = "busy" if busy else "ready"
    return f'<div class="sc-model" role="status"><span class="sc-dot sc-{state}"></span>{escape(text)}</div>'


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


def gauges(stats: Stats | None, duration_seconds: float | None, delay_seconds: float | None) -> str:
    """How taking in stands, as small tiles that keep their place."""
    if stats is None:
        values = ["–"] * 6
    else:
        end = "" if duration_seconds is None else f" / {prompts.clock(duration_seconds)}"
        nodes = sum(stats.nodes_by_level)
        position = duration_seconds if stats.finished and duration_seconds else stats.position_seconds
        values = [
            f"{prompts.clock(position)}{end}",
            f"{stats.frames_kept} of {stats.frames_seen}",
            f"{stats.frames_per_second:.0f} / s",
            f"{nodes}" + (" …" if stats.captions_waiting else ""),
            f"{stats.memory_bytes / 2**20:.1f} MB",
            "–" if delay_seconds is None else f"{delay_seconds:.1f} s",
        ]
    tiles = "".join(
        f'<div class="sc-gauge" title="{hint}"><dt>{name}</dt><dd>{value}</dd></div>'
        for (name, hint), value in zip(GAUGES, values, strict=True)
    )
    return f'<dl class="sc-gauges" aria-label="How taking in stands">{tiles}</dl>'


GAUGES = (
    ("Taken in", "How far the film has been watched"),
    ("Frames kept", "Frames that showed something new, of all frames seen"),
    ("Speed", "Frames taken in each second"),
    ("Memory nodes", "Nodes of the long-term tree; … while captions are being made"),
    ("Memory", "Size of the whole memory"),
    ("Delay", "From your last question to the first word of its answer"),
)
