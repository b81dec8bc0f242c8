"""All that a snapshot of the memory holds for one question, each part in the order of its worth (paper section 3.4).

What of it fits into a model's prompt is decided by `context.compose`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import torch

from streamchat.memory.short_term import draw, last_seconds
from streamchat.memory.store import Snapshot, cluster
from streamchat.options import Options
from streamchat.retrieval.search import Embed, Found, Hit, search
from streamchat.retrieval.times import Stretch
from streamchat.retrieval.tree import UNKNOWN, relevance, walk
from streamchat.types import (
    Clip,
    Context,
    DialogueTurn,
    EncodedFrame,
    Frame,
    MemoryNode,
    Picture,
    RetrievedCaption,
    Span,
    Visual,
)

SAME_SECONDS = 1e-3  # frames nearer than this in time are one
MOST_UNCAPTIONED = 6  # leaves without a caption yet that come along with a question
EXPLAINED_HITS = 4  # hits whose ancestors' captions come along
OVERVIEW_EVERY = 4  # of the captions, in the order of worth, every so many-th is one of the whole timeline
NEXT_PICTURE = 3  # a node's next picture is worth as much as the first of the node so many places after it


def gather(
    snapshot: Snapshot,
    question: str,
    embedding: np.ndarray,
    newest: Frame,
    *,
    embed: Embed,
    options: Options,
    seed: int,
    before: Sequence[Frame] = (),
) -> Context:
    """What a question, of the vector `embedding` [E], is answered from; nothing in it is later than the snapshot.

    `newest` is what is on the screen, and `before` what was there in the seconds before, in time order.
    """
    found = _found(snapshot, question, embedding, embed, options)
    uncaptioned = _uncaptioned(snapshot.roots)
    present = _present(snapshot, newest, before, options)
    open_clip, open_visuals = _open_chunk(snapshot, options, found.stretch)
    shown, most = _Shown(present, newest.data.shape[:2]), options.max_pictures
    return Context(
        question=question,
        question_embedding=embedding,
        asked_at_seconds=snapshot.until_seconds,
        stretch=found.span,
        moment_seconds=found.moment_seconds,
        newest=newest,
        open_clip=open_clip,
        open_frames=tuple(encoded.frame for encoded in snapshot.open_chunk),
        pending_clips=snapshot.pending_clips[-MOST_UNCAPTIONED:],
        captioned_until_seconds=uncaptioned[0].span.start if uncaptioned else math.inf,
        present=present,
        captions=_captions(snapshot.roots, found, embedding),
        recalled=shown.new(_pictures(_recalled(found, uncaptioned)[:most], found.stretch), most),
        recent=shown.new([*open_visuals, *_drawn(snapshot, options, seed)], most),
        visited=tuple(hit.node.id for hit in found.hits if found.is_about(hit.node)),
        turns=_turns(snapshot, question, embedding, options),
        last_turn=snapshot.last_turn(),
        max_new_tokens=options.max_new_tokens,
        temperature=options.temperature,
        seed=seed,
    )


def _recalled(found: Found, uncaptioned: Sequence[MemoryNode]) -> list[Hit]:
    """The nodes found; a search cannot know leaves without a caption by meaning, so the newest of these come along."""
    seen = {hit.node.id for hit in found.hits}
    unknown = [Hit(leaf, UNKNOWN) for leaf in uncaptioned if leaf.id not in seen]
    return _alternating(found.hits, unknown[-MOST_UNCAPTIONED:])


def _turns(snapshot: Snapshot, question: str, embedding: np.ndarray, options: Options) -> tuple[DialogueTurn, ...]:
    """The related turns, and the one just before, in the order asked."""
    related, last = snapshot.related_turns(question, embedding, options.related_turns), snapshot.last_turn()
    return related if last is None or any(turn is last for turn in related) else (*related, last)


def _drawn(snapshot: Snapshot, options: Options, seed: int) -> list[Visual]:
    """The draw from short-term memory, the newest first."""
    rng = np.random.default_rng(seed)
    frames = draw(snapshot.short_term, options.short_term_samples, decay=options.short_term_decay, rng=rng)
    return [_visual_of(frame) for frame in reversed(frames)]


def _found(snapshot: Snapshot, question: str, embedding: np.ndarray, embed: Embed, options: Options) -> Found:
    if options.retrieval == "search":
        return search(snapshot, question, embedding, embed)
    hits = [Hit(node, cosine) for node, cosine in walk(snapshot.roots, embedding, options.retrieval_paths)]
    return Found(tuple(sorted(hits, key=lambda hit: hit.relevance, reverse=True)))


def _uncaptioned(nodes: Sequence[MemoryNode]) -> list[MemoryNode]:
    """The leaves that no caption speaks of yet, in time order; a captioned node speaks for those below it."""
    found: list[MemoryNode] = []
    for node in nodes:
        if node.caption is None:
            found += _uncaptioned(node.children) if node.children else [node]
    return found


class _Shown:
    """Which moments have a picture already, so that none is given twice; all are of one stream, and one size."""

    def __init__(self, visuals: Iterable[Visual], size: tuple[int, int]) -> None:
        self._times = {self._time(visual) for visual in visuals}
        self._size = size

    @staticmethod
    def _time(visual: Visual) -> int:
        return round(visual.span.start / SAME_SECONDS)

    def new(self, visuals: Iterable[Visual], most: int) -> tuple[Visual, ...]:
        """Of visuals in the order of worth the first of moments without a picture, ranked, in time order."""
        fresh: list[Visual] = []
        for visual in visuals:
            if len(fresh) == most:
                break
            time = self._time(visual)
            if not self._times & {time - 1, time, time + 1}:
                self._times.add(time)
                fresh.append(replace(visual, rank=len(fresh), size=self._size))
        return tuple(sorted(fresh, key=lambda visual: visual.span))


# The present


def _present(snapshot: Snapshot, newest: Frame, before: Sequence[Frame], options: Options) -> tuple[Visual, ...]:
    """The last seconds, one frame a second, and what is on the screen; of these, frames that were kept have tokens."""
    kept = {round(frame.pts_seconds / SAME_SECONDS): frame for frame in snapshot.short_term}
    since = newest.pts_seconds - options.present_frames
    candidates = before or [frame.frame for frame in snapshot.short_term if frame.pts_seconds > since]
    frames = last_seconds(candidates, newest, options.present_frames)
    visuals = []
    for rank, frame in enumerate(reversed(frames)):
        encoded = kept.get(round(frame.pts_seconds / SAME_SECONDS))
        tokens = None if encoded is None else encoded.tokens[None]
        moment = Span(frame.pts_seconds, frame.pts_seconds)
        visuals.append(Visual(span=moment, tokens=tokens, size=frame.data.shape[:2], frame=frame, rank=rank))
    return tuple(reversed(visuals))


def _open_chunk(snapshot: Snapshot, options: Options, stretch: Stretch | None) -> tuple[Clip | None, list[Visual]]:
    """What was kept since the last leaf, as if it were a leaf already, and its pictures, best first."""
    frames = snapshot.open_chunk
    if not frames:
        return None, []
    chunk = cluster(frames, clusters=options.clusters, seed=options.seed)
    visuals = [
        Visual(span=Span(frame.pts_seconds, frame.pts_seconds), tokens=tokens[None], frame=frame)
        for tokens, frame in zip(chunk.centroids, chunk.keyframes, strict=True)
    ]
    clip = chunk.clip(Span(frames[0].pts_seconds, snapshot.until_seconds))
    return clip, _spread(visuals, snapshot.until_seconds if stretch is None else stretch.middle_seconds, stretch)


def _spread(visuals: Sequence[Visual], seconds: float, stretch: Stretch | None) -> list[Visual]:
    """Pictures in the order of worth: nearest to the time that a question names, else each far from those before it."""
    if stretch is not None:
        return sorted(visuals, key=lambda visual: abs(visual.span.start - seconds))
    left, chosen, taken = list(visuals), [], [seconds]
    while left:
        best = max(left, key=lambda visual: min(abs(visual.span.start - time) for time in taken))
        left.remove(best)
        chosen.append(best)
        taken.append(best.span.start)
    return chosen


def _visual_of(frame: EncodedFrame) -> Visual:
    return Visual(span=Span(frame.pts_seconds, frame.pts_seconds), tokens=frame.tokens[None], frame=frame.frame)


# The tree


def _captions(roots: Sequence[MemoryNode], found: Found, question: np.ndarray) -> tuple[RetrievedCaption, ...]:
    """The captions of the nodes found, of those above the best, and of the whole timeline; ranked, in time order."""
    best, others = found.hits[:EXPLAINED_HITS], found.hits[EXPLAINED_HITS:]
    above = [node for hit in best for node in reversed(hit.ancestors)]
    asked_for = [*(hit.node for hit in best), *above, *(hit.node for hit in others)]
    overview = sorted(roots, key=lambda node: (node.mass, node.span.start), reverse=True)
    captions = {hit.node.id: hit.relevance for hit in found.hits}
    ranked = [node for node in _interleaved(asked_for, overview) if node.caption is not None]
    return tuple(
        sorted(
            (
                RetrievedCaption(
                    span=node.span,
                    caption=node.caption,
                    level=node.level,
                    relevance=captions[node.id] if node.id in captions else relevance(node, question),
                    keyframe=node.keyframe,
                    found=found.is_about(node),
                    rank=rank,
                )
                for rank, node in enumerate(ranked)
                if node.caption is not None
            ),
            key=in_reading_order,
        )
    )


def in_reading_order(caption: RetrievedCaption) -> tuple[float, float]:
    """For sorting captions by time; a summary stands before what it sums up."""
    return caption.span.start, -caption.span.end


def _interleaved(asked_for: Sequence[MemoryNode], overview: Sequence[MemoryNode]) -> list[MemoryNode]:
    """Each node once, at its best place; every so many-th place is one of the overview."""
    first, second = list(asked_for), list(overview)
    mixed: dict[int, MemoryNode] = {}
    while first or second:
        take = [*first[: OVERVIEW_EVERY - 1], *second[:1]]
        del first[: OVERVIEW_EVERY - 1], second[:1]
        for node in take:
            mixed.setdefault(node.id, node)
    return list(mixed.values())


def _alternating(hits: Sequence[Hit], unknown: Sequence[Hit]) -> list[Hit]:
    """Nodes found, and leaves without a caption, the newest first, in turn: either may hold what is asked for."""
    found, newest = list(hits), list(reversed(unknown))
    mixed: list[Hit] = []
    while found or newest:
        mixed += found[:2]
        mixed += newest[:1]
        del found[:2], newest[:1]
    return mixed


def _pictures(hits: Sequence[Hit], stretch: Stretch | None) -> list[Visual]:
    """The pictures of the nodes found, best first: those of better nodes, but not all of one before any of the next."""
    ranked: list[tuple[int, int, Visual]] = []
    for rank, hit in enumerate(hits):
        for number, visual in enumerate(_visuals_of_node(hit, stretch)):
            ranked.append((rank + NEXT_PICTURE * number, rank, visual))
    return [visual for _, _, visual in sorted(ranked, key=lambda entry: entry[:2])]


def _visuals_of_node(hit: Hit, stretch: Stretch | None) -> list[Visual]:
    """The centroids of a node with their pictures, best first; of one that lost them, those of it that are above it."""
    holder = next((node for node in [hit.node, *reversed(hit.ancestors)] if node.tokens is not None), None)
    if holder is None or holder.tokens is None:
        return []
    span = hit.node.span
    order = sorted(range(len(holder.weights)), key=lambda place: _worth(holder, place, stretch))
    if not holder.pictures:
        own = holder is hit.node
        return [Visual(span=span, tokens=holder.tokens[place : place + 1]) for place in order] if own else []
    return [
        _visual_of_centroid(holder.tokens[place : place + 1], holder.pictures[place])
        for place in order
        if span.start <= holder.pictures[place].pts_seconds < span.end
    ]


def _worth(node: MemoryNode, place: int, stretch: Stretch | None) -> float:
    """For sorting a node's centroids: nearest to the time that is asked for, else the largest first."""
    if stretch is not None and node.pictures:
        return abs(node.pictures[place].pts_seconds - stretch.middle_seconds)
    return -node.weights[place]


def _visual_of_centroid(tokens: torch.Tensor, picture: Picture) -> Visual:
    moment = Span(picture.pts_seconds, picture.pts_seconds)
    return Visual(span=moment, tokens=tokens, keyframe=picture.jpeg)
