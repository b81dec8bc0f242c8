"""Contextual summarization: from a snapshot of the memory and a question to what the model is given.

Paper section 3.4 and algorithm 1. The walk goes greedily down from the roots by the cosine of the question with the
captions, and takes the content of every node that it visits, the roots included. The paper takes one way down; here
`retrieval_paths` ways are taken at once, as one question often rests on several moments.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from streamchat.config import Options
from streamchat.memory.short_term import draw
from streamchat.memory.store import Snapshot, make_clip
from streamchat.types import Clip, Clue, Context, EncodedFrame, Frame, MemoryNode, Span, Visual

SAME_SECONDS = 1e-3  # frames nearer than this in time are one
MOST_UNCAPTIONED = 6  # leaves without a caption yet that come along with a question
UNKNOWN = -1.0  # relevance of a node without a caption: below every other
NOW = 2.0  # relevance of what is on the screen: above every cosine, so that it is dropped last


def walk(roots: Sequence[MemoryNode], question: np.ndarray, paths: int) -> list[tuple[MemoryNode, float]]:
    """The nodes visited for a question, with their relevance, in the order visited (paper algorithm 1).

    Of the roots, and then of the children of those taken, the `paths` best are taken at each step down. A node without
    a caption ranks below those with one, the newest first. Negative cosines are ordinary numbers.
    """
    visited: list[tuple[MemoryNode, float]] = []
    candidates = list(roots)
    while candidates:
        ranked = sorted(candidates, key=lambda node: _rank(node, question), reverse=True)[:paths]
        visited += [(node, _rank(node, question)[0]) for node in ranked]
        candidates = [child for node in ranked for child in node.children]
    return visited


def _uncaptioned(nodes: Sequence[MemoryNode]) -> list[MemoryNode]:
    """The leaves that no caption speaks of yet, in time order; a captioned node speaks for those below it."""
    found: list[MemoryNode] = []
    for node in nodes:
        if node.caption is None:
            found += _uncaptioned(node.children) if node.children else [node]
    return found


def _rank(node: MemoryNode, question: np.ndarray) -> tuple[float, float]:
    """Relevance, -1 to 1, and then how new the node is."""
    if node.caption is None or node.caption.embedding is None:
        return UNKNOWN, node.span.start
    return float(node.caption.embedding @ question), node.span.start


def retrieve(
    snapshot: Snapshot,
    question: str,
    embedding: np.ndarray,
    newest: Frame,
    *,
    encode: Callable[[Sequence[Frame]], torch.Tensor],
    options: Options,
    seed: int,
) -> Context:
    """Put together what a question is answered from; nothing in it is later than the snapshot.

    `embedding` is the question's, [E]; `newest` is what is on the screen, encoded by `encode` if it was not kept.
    """
    visited = walk(snapshot.roots, embedding, options.retrieval_paths)
    uncaptioned = _uncaptioned(snapshot.roots)
    seen = {node.id for node, _ in visited}
    # The walk cannot know these by meaning, so the newest come along.
    visited += [(leaf, UNKNOWN) for leaf in [leaf for leaf in uncaptioned if leaf.id not in seen][-MOST_UNCAPTIONED:]]
    waiting = snapshot.waiting[-MOST_UNCAPTIONED:]
    told = {clip.span for clip in waiting}
    open_clip = _open_clip(snapshot, options)
    recent = _recent(snapshot, newest, open_clip, encode=encode, options=options, seed=seed)
    recent, recalled = _within(options.max_pictures, recent, _recalled(visited, newest.data.shape[:2]))
    return Context(
        question=question,
        question_embedding=embedding,
        asked_at_seconds=snapshot.until_seconds,
        newest=newest,
        open_clip=open_clip,
        waiting=waiting,
        untold=sum(leaf.span not in told for leaf in uncaptioned),
        recent=recent,
        recalled=recalled,
        clues=_clues(snapshot.roots, visited, embedding),
        visited=tuple(node.id for node, _ in visited),
        turns=snapshot.related_turns(embedding, options.related_turns),
        last_turn=snapshot.last_turn(),
        max_new_tokens=options.max_new_tokens,
        temperature=options.temperature,
        seed=seed,
    )


def _within(
    most: int, recent: Sequence[Visual], recalled: Sequence[Visual]
) -> tuple[tuple[Visual, ...], tuple[Visual, ...]]:
    """The visuals less the least related, the oldest of equals, so that at most `most` token maps are left."""
    ranked = sorted((*recent, *recalled), key=lambda visual: (visual.relevance, visual.span), reverse=True)
    kept: set[int] = set()
    count = 0
    for visual in ranked:
        count += len(visual.tokens)
        if count > most and kept:  # what is on the screen always stays
            break
        kept.add(id(visual))
    return tuple(one for one in recent if id(one) in kept), tuple(one for one in recalled if id(one) in kept)


def _recalled(visited: Sequence[tuple[MemoryNode, float]], size: tuple[int, int]) -> tuple[Visual, ...]:
    """The centroids of the visited nodes that still have them, in time order; `size` is the stream's, in pixels."""
    visuals = [
        Visual(tokens=node.tokens, span=node.span, size=size, keyframe=node.keyframe, relevance=relevance)
        for node, relevance in visited
        if node.tokens is not None
    ]
    return tuple(sorted(visuals, key=lambda visual: visual.span))


def _clues(
    roots: Sequence[MemoryNode], visited: Sequence[tuple[MemoryNode, float]], question: np.ndarray
) -> tuple[Clue, ...]:
    """The captions of the visited nodes, and of the other roots, so that the whole timeline is told of."""
    seen = {node.id for node, _ in visited}
    others = [(root, _rank(root, question)[0]) for root in roots if root.id not in seen]
    clues = [
        Clue(
            span=node.span,
            caption=node.caption,
            level=node.level,
            relevance=relevance,
            keyframe=node.keyframe,
            visited=node.id in seen,
        )
        for node, relevance in [*visited, *others]
        if node.caption is not None
    ]
    return tuple(sorted(clues, key=lambda clue: (clue.span, clue.level)))


def _open_clip(snapshot: Snapshot, options: Options) -> Clip | None:
    """What was kept since the last leaf, as if it were a leaf already."""
    chunk = snapshot.open_chunk
    if not chunk:
        return None
    span = Span(chunk[0].pts_seconds, snapshot.until_seconds)
    return make_clip(chunk, span, clusters=options.clusters, seed=options.seed)


def _recent(
    snapshot: Snapshot,
    newest: Frame,
    open_clip: Clip | None,
    *,
    encode: Callable[[Sequence[Frame]], torch.Tensor],
    options: Options,
    seed: int,
) -> tuple[Visual, ...]:
    """The short-term draw, the open chunk, and what is on the screen, in time order."""
    drawn = draw(
        snapshot.short_term,
        options.short_term_samples,
        decay=options.short_term_decay,
        rng=np.random.default_rng(seed),
    )
    visuals = [_visual_of(frame) for frame in drawn if not _same(frame, newest)]
    if open_clip is not None:
        shown = open_clip.keyframes[-1]
        visuals.append(Visual(tokens=open_clip.tokens, span=open_clip.span, size=shown.data.shape[:2], frame=shown))
    kept = [frame.tokens for frame in snapshot.short_term if _same(frame, newest)]
    tokens = kept[0][None] if kept else encode([newest])
    now = Span(newest.pts_seconds, newest.pts_seconds)
    visuals.append(Visual(tokens=tokens, span=now, size=newest.data.shape[:2], frame=newest, relevance=NOW))
    return tuple(sorted(visuals, key=lambda visual: visual.span))


def _same(encoded: EncodedFrame, frame: Frame) -> bool:
    """Whether an encoded frame is this one; a frame found by seeking has the same time but not the same index."""
    return abs(encoded.pts_seconds - frame.pts_seconds) < SAME_SECONDS


def _visual_of(frame: EncodedFrame) -> Visual:
    span = Span(frame.pts_seconds, frame.pts_seconds)
    return Visual(tokens=frame.tokens[None], span=span, size=frame.frame.data.shape[:2], frame=frame.frame)
