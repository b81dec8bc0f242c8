"""What the page gets of a session, twice a second: only what changed since the last time."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

from streamchat.clock import time_range, timestamp
from streamchat.memory.forest import every_node
from streamchat.memory.store import Snapshot
from streamchat.options import MEBIBYTE
from streamchat.session.stats import Stats
from streamchat.types import MemoryNode
from streamchat.ui.tree_view import flattened
from streamchat.ui.user_session import UserSession
from streamchat.video.images import jpeg

PREVIEW_SIDE = 640  # pixels
SHORTEST_AXIS_SECONDS = 10.0  # of a stream whose end is not known


def view_of(user_session: UserSession, *, serial: int, motion_after: float, preview_after: float) -> dict[str, Any]:
    """All that the page shows, as plain values; `serial` is the page's newest change of the tree."""
    user_session.post_alerts()
    stats, snapshot = user_session.session.stats(), user_session.session.snapshot()
    strip = user_session.session.history.kept()
    short = [frame.pts_seconds for frame in snapshot.short_term]
    end = max(stats.position_seconds, SHORTEST_AXIS_SECONDS)
    if user_session.duration_seconds is not None:
        end = user_session.duration_seconds
    return {
        **user_session.tree.changes(snapshot.roots, serial),
        "gauges": gauges(user_session, stats),
        "status": status(user_session, stats),
        "position": stats.position_seconds,
        "end": end,
        "strip": [strip.bin_seconds, strip.counts],
        "short": [short[0], short[-1]] if short else None,
        "motion": [_finite(sample) for sample in user_session.session.history.motion(motion_after)],
        "highlighted": user_session.highlighted,
        "posted": user_session.conversation.alerts_posted,
        "follows": follows(user_session),
        "finished": stats.finished,
        "full_speed": user_session.to_the_end,
        "preview": _preview(user_session, preview_after),
    }


def found_node(roots: Sequence[MemoryNode], number: int) -> MemoryNode | None:
    """The node of an id; None if it was folded away."""
    return next((node for node, _ in flattened(roots) if node.id == number), None)


def node_details(node: MemoryNode) -> dict[str, Any]:
    """What the page shows of a node that was clicked."""
    return {
        "id": node.id,
        "time": time_range(node.span),
        "caption": "" if node.caption is None else node.caption.text,
        "keyframe": None if node.keyframe is None else base64.b64encode(node.keyframe).decode(),
        "facts": f"{_kind(node)}, {node.mass:,} kept frame{'' if node.mass == 1 else 's'}",
        "children": [[child.id, time_range(child.span)] for child in node.children],
    }


def memory_json(snapshot: Snapshot) -> dict[str, Any]:
    """The whole long-term memory in words, for download."""
    return {
        "until_seconds": snapshot.roots[-1].span.end if snapshot.roots else 0.0,
        "nodes": [
            {
                "id": node.id,
                "parent": parent,
                "level": node.level,
                "start_seconds": node.span.start,
                "end_seconds": node.span.end,
                "frames": node.mass,
                "caption": None if node.caption is None else node.caption.text,
            }
            for node, parent in flattened(snapshot.roots)
        ],
    }


def gauges(user_session: UserSession, stats: Stats) -> list[tuple[str, str]]:
    """Value and detail of every tile, in the order of `components.GAUGES`."""
    duration = user_session.duration_seconds
    end = "" if duration is None else f" / {timestamp(duration)}"
    position = duration if stats.finished and duration else stats.position_seconds
    share = stats.frames_kept / stats.frames_seen if stats.frames_seen else 0.0
    budget = user_session.session.engine.memory_budget_bytes / MEBIBYTE
    timing = user_session.last_timing
    return [
        (f"{timestamp(position)}{end}", f"{stats.frames_per_second:.0f} frames a second"),
        (f"{stats.frames_kept:,} of {stats.frames_seen:,}", f"{share:.0%}"),
        (f"{stats.frames_queued}", f"{stats.frames_dropped} dropped" if user_session.camera else ""),
        (f"{sum(stats.nodes_by_level[:1]):,}", _summaries(sum(stats.nodes_by_level[1:]))),
        (f"{stats.memory_bytes / MEBIBYTE:.1f} MiB", f"budget {budget:,.0f} MiB"),
        ("in progress", f"{stats.captions_pending} pending") if stats.captions_pending else ("up to date", ""),
        ("–", "")
        if timing is None
        else (f"{timing.retrieval_seconds:.2f} s", f"first word {timing.first_token_seconds:.2f} s"),
    ]


def _kind(node: MemoryNode) -> str:
    """What a node of the tree is, as people say it: a moment, or a summary of some, of which not all may be left."""
    seconds = f"{node.span.end - node.span.start:,.0f} s"
    if node.level == 0:
        return f"moment of {seconds}"
    ends = [one for one in every_node([node]) if not one.children]
    whole = all(one.level == 0 for one in ends)
    return f"summary of {len(ends):,} moments" if whole else f"summary of {seconds}"


def _summaries(count: int) -> str:
    return f"+ {count:,} {'summary' if count == 1 else 'summaries'}" if count else ""


def status(user_session: UserSession, stats: Stats) -> dict[str, str] | None:
    """What the visitor must know now: an error, or that a saved session waits for its video."""
    error = user_session.session.error
    if error is not None:
        return {"kind": "error", "text": f"Processing stopped: {error}"}
    if stats.degraded is not None:
        return {"kind": "error", "text": f"Degraded, and tried again: {stats.degraded}"}
    if user_session.is_loaded:
        title = user_session.title or "the video"
        text = f"This session was loaded. Ask about what it saw, or open {title} again to watch on where it ended."
        return {"kind": "note", "text": text}
    notes = [f"{note[:1].upper()}{note[1:]}." for note in stats.notes]
    if user_session.unplayable:
        state = "all of it was processed" if stats.finished else "it is processed all the same, at full speed"
        notes.append(f"This browser cannot play the video; {state}. A picture stands for it.")
    elif stats.kept_ceiling < user_session.session.engine.options.max_kept_per_second:
        notes.append(f"The model is behind: for now at most {stats.kept_ceiling} frames a second are kept.")
    return {"kind": "note", "text": " ".join(notes)} if notes else None


def follows(user_session: UserSession) -> str:
    """What a question is about: up to the "player", all that was "seen", or the "whole" video that no player shows."""
    if user_session.video_path is None:
        return "seen"
    return "whole" if user_session.unplayable else "player"


def _finite(sample: Sequence[float]) -> list[float | None]:
    """JSON has no infinity; at the ceiling there is no threshold to draw."""
    return [round(value, 3) if abs(value) < 1e9 else None for value in sample]


def _preview(user_session: UserSession, after_seconds: float) -> dict[str, Any] | None:
    """The newest frame, for a video that the browser cannot play, if it is newer than the one that the page has."""
    newest = user_session.session.engine.newest
    if not user_session.unplayable or newest is None or newest.pts_seconds <= after_seconds:
        return None
    return {"seconds": newest.pts_seconds, "jpeg": base64.b64encode(jpeg(newest.data, PREVIEW_SIDE)).decode()}
