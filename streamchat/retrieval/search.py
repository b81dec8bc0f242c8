"""Which nodes of the memory a question is about: by meaning, by words, and by the times that it names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from streamchat.memory.long_term import path_to
from streamchat.memory.store import Snapshot
from streamchat.retrieval.times import Stretch, event_of, stretch_of
from streamchat.retrieval.tree import UNKNOWN, relevance
from streamchat.types import MemoryNode, Span

MOST_HITS = 64  # nodes found for a question
MOST_IN_STRETCH = 8  # nodes of a stretch that a question names
SHORT_SECONDS = 60.0  # a stretch up to so long is taken as it is, and a longer one searched
BESIDE_SECONDS = 30.0  # that "before" and "after" an event reach from it

Embed = Callable[[Sequence[str]], np.ndarray]  # texts to vectors [N, E]


class Hit(NamedTuple):
    """A node that was found."""

    node: MemoryNode
    relevance: float  # cosine of its caption with the question; UNKNOWN without a caption
    ancestors: tuple[MemoryNode, ...] = ()  # from the root down to its parent


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found, best first."""

    hits: tuple[Hit, ...]
    stretch: Stretch | None = None  # that the question names


def search(snapshot: Snapshot, question: str, embedding: np.ndarray, embed: Embed) -> Found:
    """The nodes of a snapshot that a question with its embedding [E] is about.

    If it names a time, the nodes of that stretch come first; an event that it names to say when is looked for, and what
    lies beside it is such a stretch. The others follow by meaning and words, over the captions of all levels.
    """
    general = _by_caption(snapshot, question, embedding)
    stretch = stretch_of(question, snapshot.until_seconds) or _beside_event(snapshot, question, embed)
    if stretch is None:
        return Found(tuple(general))
    inside = _in_stretch(snapshot, question, embedding, stretch)
    seen = {hit.node.id for hit in inside}
    others = [hit for hit in general if hit.node.id not in seen]
    return Found(tuple([*inside, *others][:MOST_HITS]), stretch)


def _by_caption(
    snapshot: Snapshot, question: str, embedding: np.ndarray, within: Span | None = None, most: int = MOST_HITS
) -> list[Hit]:
    """The nodes whose captions a question asks for, best first, of those that end by the snapshot's moment."""
    until = snapshot.until_seconds
    matches = snapshot.captions.search(question, embedding, most, until_seconds=until, within=within)
    hits = []
    for match in matches:
        path = path_to(snapshot.roots, match.key, match.start_seconds)
        if path:
            hits.append(Hit(path[-1], match.cosine, path[:-1]))
    return hits


def _beside_event(snapshot: Snapshot, question: str, embed: Embed) -> Stretch | None:
    """The stretch before, or after, the event that a question names; None if it names none, or none is found."""
    event = event_of(question)
    if event is None:
        return None
    hits = _by_caption(snapshot, event.text, embed([event.text])[0], most=MOST_IN_STRETCH)
    leaf = next((hit.node for hit in hits if hit.node.level == 0), None)
    if leaf is None:
        return None
    if event.side == "before":
        return Stretch(Span(max(0.0, leaf.span.start - BESIDE_SECONDS), leaf.span.start), leaf.span.start)
    end = min(snapshot.until_seconds, leaf.span.end + BESIDE_SECONDS)
    return Stretch(Span(leaf.span.end, max(leaf.span.end, end)), leaf.span.end)


def _in_stretch(snapshot: Snapshot, question: str, embedding: np.ndarray, stretch: Stretch) -> list[Hit]:
    """The nodes of a stretch: of a short one those nearest to its middle, of a long one those that are asked for."""
    nearest = sorted(
        _deepest_in(snapshot.roots, stretch.span, ()), key=lambda path: _distance(path[-1].span, stretch.middle_seconds)
    )
    hits = [Hit(path[-1], relevance(path[-1], embedding), path[:-1]) for path in nearest]
    if stretch.span.end - stretch.span.start <= SHORT_SECONDS:
        return hits[:MOST_IN_STRETCH]
    inside = {hit.node.id for hit in hits}
    asked_for = [
        hit for hit in _by_caption(snapshot, question, embedding, stretch.span, 2 * MOST_HITS) if hit.node.id in inside
    ]
    uncaptioned = [hit for hit in hits if hit.relevance == UNKNOWN]
    return [*asked_for[:MOST_IN_STRETCH], *uncaptioned[:MOST_IN_STRETCH]]


def _deepest_in(nodes: Sequence[MemoryNode], span: Span, above: tuple[MemoryNode, ...]) -> list[tuple[MemoryNode, ...]]:
    """The paths to the deepest nodes that share time with a span, in time order."""
    found: list[tuple[MemoryNode, ...]] = []
    for node in nodes:
        if node.span.end < span.start or node.span.start > span.end:
            continue
        path = (*above, node)
        found += _deepest_in(node.children, span, path) if node.children else [path]
    return found


def _distance(span: Span, seconds: float) -> float:
    """From a moment to the nearest of a span; 0 inside of it."""
    return max(span.start - seconds, seconds - span.end, 0.0)
