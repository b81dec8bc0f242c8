"""Which nodes of the memory a question is about: by meaning, by words, and by the times that it names."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from streamchat.memory.long_term import path_to
from streamchat.memory.store import Snapshot
from streamchat.retrieval.times import Stretch, event_of, stretch_of
from streamchat.retrieval.tree import relevance
from streamchat.types import DialogueTurn, MemoryNode, Span, merged_span

MOST_HITS = 64  # nodes found for a question
MOST_LIKELY = 6  # of these, that a question without a time is taken to be about
MOST_IN_STRETCH = 8  # nodes of a stretch that a question names
BESIDE_SECONDS = 30.0  # that "before" and "after" an event reach from it
LEAST_EVENT = 0.35  # cosine of an event with the caption of a leaf that can be it
FOLLOW_UP_WORDS = 8  # at most, of a question that can only be understood with the one before
FOLLOW_UP = re.compile(  # it begins like one, or a pronoun stands where its subject is named
    r"^(and|so|then|but|what about|how about)\b"
    r"|^\w+( \w+){0,3}? (it|they|them|that|those|he|him|she|her|this|ones?)\b"
    r"|\b(then|afterwards|next(?! to\b))\b",
    re.IGNORECASE,
)
AFTER_THAT = re.compile(r"\b(after (that|this|it)|next(?! to\b)|afterwards|and then)\b", re.IGNORECASE)
BEFORE_THAT = re.compile(r"\bbefore (that|this|it)\b", re.IGNORECASE)
AT_THAT_TIME = re.compile(r"\bthen\b|\bat (that|the same) (time|moment)\b", re.IGNORECASE)
SUMMARY = re.compile(
    r"\bso far\b|\bsummar|\boverall\b|\brecap\b|\bwhole (video|film|movie|stream|clip|recording)\b"
    r"|\b(video|film|movie|stream|clip|recording) about\b|^what (has )?happened\W*$",
    re.IGNORECASE,
)

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
    is_summary: bool = False  # the question is about all of the stream

    @property
    def span(self) -> Span | None:
        """The stretch that the question names; None if it names none."""
        return None if self.stretch is None else self.stretch.span

    @property
    def moment_seconds(self) -> float | None:
        """The moment that the question names; None if it names none, or a longer stretch."""
        return self.stretch.middle_seconds if self.stretch and self.stretch.is_moment else None

    def is_about(self, node: MemoryNode) -> bool:
        """Whether the question is taken to be about a node: of the stretch that it names, or one of the best found."""
        if self.stretch is not None:
            return shares_time(node.span, self.stretch.span)
        likely = self.hits if self.is_summary else self.hits[:MOST_LIKELY]
        return any(hit.node.id == node.id for hit in likely)


def search(snapshot: Snapshot, question: str, embedding: np.ndarray, embed: Embed) -> Found:
    """The nodes of a snapshot that a question with its embedding [E] is about.

    A follow-up is searched together with the question before it. If it names a time, the nodes of that stretch come
    first; an event that it names to say when is looked for, and what lies beside it is such a stretch. The others
    follow by meaning and words, over the captions of all levels.
    """
    asked, last = question, snapshot.last_turn()
    if last is not None and (len(question.split()) > FOLLOW_UP_WORDS or not FOLLOW_UP.search(question)):
        last = None
    if last is not None:
        question = f"{last.question} {question}"
        embedding = embed([question])[0]
    general = _by_caption(snapshot, question, embedding)
    stretch = stretch_of(asked, snapshot.until_seconds) or _beside_event(snapshot, asked, embed)
    if stretch is None and last is not None:
        stretch = _of_last_turn(snapshot, asked, last, embed)
    if stretch is None and SUMMARY.search(asked):
        roots = [Hit(root, relevance(root, embedding)) for root in snapshot.roots]
        return Found((*roots, *general), is_summary=True)
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
    """The stretch of an event that a question names, or beside it; None if it names none, or none is found."""
    event = event_of(question)
    if event is None:
        return None
    hits = _by_caption(snapshot, event.text, embed([event.text])[0], most=MOST_IN_STRETCH)
    leaf = next((hit.node for hit in hits if hit.node.level == 0 and hit.relevance >= LEAST_EVENT), None)
    if leaf is None:
        return None
    start, end = leaf.span
    if event.side == "during":
        return Stretch(leaf.span, start, is_moment=True)
    if event.side == "before":
        return Stretch(Span(max(0.0, start - BESIDE_SECONDS), start), start, is_moment=True)
    return Stretch(Span(end, max(end, min(snapshot.until_seconds, end + BESIDE_SECONDS))), end, is_moment=True)


def _of_last_turn(snapshot: Snapshot, question: str, last: DialogueTurn, embed: Embed) -> Stretch | None:
    """What a follow-up speaks of: the time of the question before it, or of what that was about, or beside that.

    None if it speaks of no time.
    """
    if not any(pattern.search(question) for pattern in (AFTER_THAT, BEFORE_THAT, AT_THAT_TIME)):
        return None
    named = stretch_of(last.question, last.asked_at_seconds) or _beside_event(snapshot, last.question, embed)
    if named is None:
        hits = _by_caption(snapshot, last.question, embed([last.question])[0], most=MOST_IN_STRETCH)
        leaf = next((hit.node for hit in hits if hit.node.level == 0), None)
        named = None if leaf is None else Stretch(leaf.span, leaf.span.start, is_moment=True)
    if named is None:
        return None
    now, nodes = snapshot.until_seconds, [path[-1].span for path in _deepest_in(snapshot.roots, named.span, ())]
    start, end = merged_span([named.span, *nodes])
    if AFTER_THAT.search(question):
        return Stretch(Span(min(end, now), min(end + BESIDE_SECONDS, now)), min(end, now), is_moment=True)
    if BEFORE_THAT.search(question):
        return Stretch(Span(max(0.0, start - BESIDE_SECONDS), start), start, is_moment=True)
    return named if end <= now else None


def _in_stretch(snapshot: Snapshot, question: str, embedding: np.ndarray, stretch: Stretch) -> list[Hit]:
    """The nodes of a stretch: about a moment those nearest to it, in a stretch of its own right those asked for."""
    if not stretch.is_moment:
        asked_for = _by_caption(snapshot, question, embedding, stretch.span)
        inside = [hit for hit in asked_for if _is_inside(hit.node.span, stretch.span)]
        if len(inside) >= MOST_IN_STRETCH:
            return inside[:MOST_IN_STRETCH]
    paths = _deepest_in(snapshot.roots, stretch.span, ()) or _newest(snapshot.roots)
    nearest = sorted(paths, key=lambda path: _distance(path[-1].span, stretch.middle_seconds))[:MOST_IN_STRETCH]
    return [Hit(path[-1], relevance(path[-1], embedding), path[:-1]) for path in nearest]


def _newest(roots: Sequence[MemoryNode]) -> list[tuple[MemoryNode, ...]]:
    """The path to the newest leaf, for a stretch that no leaf covers yet."""
    path: list[MemoryNode] = []
    nodes = roots
    while nodes:
        path.append(nodes[-1])
        nodes = path[-1].children
    return [tuple(path)] if path else []


def _deepest_in(nodes: Sequence[MemoryNode], span: Span, above: tuple[MemoryNode, ...]) -> list[tuple[MemoryNode, ...]]:
    """The paths to the deepest nodes that share time with a span, in time order."""
    found: list[tuple[MemoryNode, ...]] = []
    for node in nodes:
        if shares_time(node.span, span):
            path = (*above, node)
            found += _deepest_in(node.children, span, path) if node.children else [path]
    return found


def shares_time(one: Span, other: Span) -> bool:
    """Whether two spans have more than an end in common, or a moment lies in the other."""
    if one.start == one.end or other.start == other.end:
        return one.start <= other.end and other.start <= one.end
    return one.start < other.end and other.start < one.end


def _is_inside(inner: Span, outer: Span) -> bool:
    """Whether at least half of a span lies in another."""
    shared = min(inner.end, outer.end) - max(inner.start, outer.start)
    return shared >= (inner.end - inner.start) / 2


def _distance(span: Span, seconds: float) -> float:
    """From a moment to the nearest end of a span; less than 0 inside of it."""
    return max(span.start - seconds, seconds - span.end)
