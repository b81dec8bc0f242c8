"""The memory of one stream: short-term, long-term and dialogue behind one lock, read through immutable snapshots."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch

from streamchat.memory.budget import LEAST_BYTES
from streamchat.memory.dialogue import DialogueMemory, Remembered
from streamchat.memory.forest import nodes_by_level
from streamchat.memory.kmeans import kmeans, medoids
from streamchat.memory.long_term import LongTermTree
from streamchat.memory.text_index import TextView
from streamchat.options import Options
from streamchat.types import Caption, Clip, DialogueTurn, EncodedFrame, Frame, MemoryNode, Picture, Span
from streamchat.video.images import jpeg, picture

MOST_PENDING_CLIPS = 64  # leaves that keep their pictures until they are captioned; an older one is captioned from less
FRAMES_SHARE = 2  # half of the budget is the most that frames and pending clips may take


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """The memory as it stood at one moment of the stream; nothing in it is later than `until_seconds`."""

    until_seconds: float
    short_term: tuple[EncodedFrame, ...]  # the newest N kept frames, in time order
    open_chunk: tuple[EncodedFrame, ...]  # kept frames that no root covers, in time order
    roots: tuple[MemoryNode, ...]  # of the tree, in time order
    captions: TextView  # of the tree's nodes, by their ids; some of them may end later
    pending_clips: tuple[Clip, ...]  # of leaves that are to be captioned, in time order
    dialogue: DialogueMemory
    turns: int  # how many rounds of the dialogue there had been

    def related_turns(self, question: str, embedding: np.ndarray, most: int) -> tuple[DialogueTurn, ...]:
        """The turns that a question with its embedding [E] is nearest to, in the order asked."""
        return self.dialogue.related(question, embedding, most, count=self.turns, until_seconds=self.until_seconds)

    def last_turn(self) -> DialogueTurn | None:
        """The round before."""
        return self.dialogue.last(count=self.turns, until_seconds=self.until_seconds)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MemoryState:
    """All that the memory held at one moment: what a saved session is made of."""

    kept: tuple[EncodedFrame, ...]  # the newest kept frames, in time order
    open_frames: int  # how many of them, the newest, no root covers
    roots: tuple[MemoryNode, ...]  # of the tree, in time order
    next_id: int  # of the tree's next node
    clips: tuple[Clip, ...]  # of leaves that are to be captioned, in time order
    dialogue: tuple[Remembered, ...]  # oldest first

    @property
    def frames(self) -> int:
        """How many kept frames the memory stands for."""
        return sum(root.mass for root in self.roots) + self.open_frames


class MemoryStore:
    """Takes encoded frames in time order, and makes leaves of them. Thread-safe.

    All of it stays within `budget_bytes`, by default what the options say, or the least that is ever chosen. Unless it
    `keeps_pictures`, a leaf is captioned from its tokens, and there are no pending clips.
    """

    def __init__(self, options: Options, budget_bytes: int | None = None, *, keeps_pictures: bool = True) -> None:
        self._options = options
        self._budget_bytes = budget_bytes or options.memory_bytes or LEAST_BYTES
        self._keeps_pictures = keeps_pictures
        self._lock = threading.Lock()
        # Frames are kept a little longer than their chunk is open, so that the memory as of a moment just past, when
        # the reader is ahead of the player, has no hole before it.
        self._kept: deque[EncodedFrame] = deque(maxlen=max(options.short_term_frames, 2 * options.chunk_frames))
        self._open: list[EncodedFrame] = []
        self._tree = LongTermTree(
            group_nodes=options.group_nodes,
            clusters=options.clusters,
            budget_bytes=self._budget_bytes,
            seed=options.seed,
        )
        self._clips: deque[Clip] = deque(maxlen=MOST_PENDING_CLIPS)
        self._counted: tuple[tuple[MemoryNode, ...], tuple[int, ...]] = ((), ())  # roots, and nodes by level
        self.dialogue = DialogueMemory(options.dialogue_turns)

    def remember(self, frame: EncodedFrame) -> None:
        """Ingest a kept frame, later than all before it and with tokens of their shape; raises ValueError if not.

        A chunk is closed by the frame after it: when it is full, when that frame begins a new scene, or when the
        chunk has lasted long enough. So its span reaches to where the next one begins.
        """
        with self._lock:
            newest = self._kept[-1].pts_seconds if self._kept else -math.inf
            shape = self._kept[-1].tokens.shape if self._kept else frame.tokens.shape
        if frame.tokens.shape != shape:
            raise ValueError(
                f"frames of one stream have token maps of one shape: got {list(frame.tokens.shape)} after {list(shape)}"
            )
        if frame.pts_seconds <= newest:
            raise ValueError(f"frames must come in time order: {frame.pts_seconds} s after {newest} s")
        closed: tuple[MemoryNode, Clip] | None = None
        if self._open and self._ends_before(frame):
            # Clustered outside the lock: a question must not wait for it. Only this thread changes the open chunk.
            span = Span(self._open[0].pts_seconds, frame.pts_seconds)
            closed = make_leaf(self._open, span, clusters=self._options.clusters, seed=self._options.seed)
        with self._lock:  # once, so that every state of the memory has an open chunk that begins where the tree ends
            if closed is not None:
                self._tree.add(closed[0])
                if self._keeps_pictures:
                    self._clips.append(closed[1])
                self._open = []
            self._kept.append(frame)
            self._open.append(frame)
            self._share_budget()

    def _ends_before(self, frame: EncodedFrame) -> bool:
        lasted = frame.pts_seconds - self._open[0].pts_seconds
        full = len(self._open) >= self._options.chunk_frames or self._would_crowd(frame)
        return full or frame.cut or lasted >= self._options.chunk_seconds

    def _would_crowd(self, frame: EncodedFrame) -> bool:
        """Whether the open chunk, with another frame, would take more than frames and clips may."""
        return _frames_nbytes([*self._open, frame], ()) > self._budget_bytes // FRAMES_SHARE

    def _share_budget(self) -> None:
        """Hold the whole memory within its budget, with the lock held: the tree has what frames and clips leave of it.

        These may take half of it. Beyond that the oldest of them go, but for the open chunk: a leaf is then captioned
        from less, and short-term memory reaches less far back.
        """
        while (taken := _frames_nbytes(self._kept, self._clips)) > self._budget_bytes // FRAMES_SHARE:
            closed = len(self._kept) > len(self._open)
            if self._clips and not (closed and self._kept[0].pts_seconds <= self._clips[0].span.start):
                self._clips.popleft()
            elif closed:
                self._kept.popleft()
            else:
                break
        self._tree.limit(self._budget_bytes - taken)

    def snapshot(self, until_seconds: float) -> Snapshot:
        """The memory as of a moment of the stream; the lock is held only to copy references."""
        with self._lock:
            roots, kept, turns = self._tree.roots, tuple(self._kept), self.dialogue.added
            captions = self._tree.captions.view()
            clips = tuple(self._clips)
        visible = _visible(roots, until_seconds)
        covered = visible[-1].span.end if visible else 0.0
        kept = tuple(frame for frame in kept if frame.pts_seconds <= until_seconds)
        return Snapshot(
            until_seconds=until_seconds,
            short_term=kept[-self._options.short_term_frames :],
            open_chunk=tuple(frame for frame in kept if frame.pts_seconds >= covered),
            roots=visible,
            captions=captions,
            pending_clips=tuple(clip for clip in clips if clip.span.end <= until_seconds),
            dialogue=self.dialogue,
            turns=turns,
        )

    @property
    def newest_kept(self) -> Frame | None:
        """The newest frame that was remembered."""
        with self._lock:
            return self._kept[-1].frame if self._kept else None

    @property
    def open_frames(self) -> tuple[Frame, ...]:
        """The kept frames that no leaf covers yet, in time order."""
        with self._lock:
            return tuple(encoded.frame for encoded in self._open)

    def state(self) -> MemoryState:
        """All that the memory holds now; the lock is held only to copy references."""
        with self._lock:
            return MemoryState(
                kept=tuple(self._kept),
                open_frames=len(self._open),
                roots=self._tree.roots,
                next_id=self._tree.next_id,
                clips=tuple(self._clips),
                dialogue=self.dialogue.entries,
            )

    def restore(self, state: MemoryState) -> None:
        """Take up what another memory with the same options held, and go on from there.

        Raises ValueError if the state does not hold together. Call it before anything is remembered.
        """
        _check_kept(state, self._options)
        _check_clips(state)
        with self._lock:
            self._tree.restore(state.roots, state.next_id)
            self.dialogue.restore(state.dialogue)
            self._kept.extend(state.kept)
            self._open = list(state.kept[len(state.kept) - state.open_frames :])
            if self._keeps_pictures:
                self._clips.extend(state.clips)
            self._share_budget()

    def hole_before(self, until_seconds: float) -> Span | None:
        """The stretch before a past moment of which nothing can be shown any more; None if there is none.

        A leaf that reaches past the moment cannot be used, as it shows what came later, and its first frames, or all
        of them, are gone.
        """
        covered, shown = self._gap(until_seconds)
        return Span(covered, min(shown, until_seconds)) if covered < min(shown, until_seconds) else None

    def is_whole_at(self, seconds: float) -> bool:
        """Whether all that was kept up to a moment of the stream can be shown as of then."""
        covered, shown = self._gap(seconds)
        return shown <= covered

    def _gap(self, until_seconds: float) -> tuple[float, float]:
        """As of a moment, where the leaves end, and from where on there are frames; infinite if there are none."""
        snapshot = self.snapshot(until_seconds)
        shown = snapshot.open_chunk[0].pts_seconds if snapshot.open_chunk else math.inf
        if snapshot.roots:
            return snapshot.roots[-1].span.end, shown
        with self._lock:
            return (self._tree.roots[0].span.start if self._tree.roots else shown), shown

    def next_uncaptioned(self, postponed: Collection[int] = ()) -> MemoryNode | None:
        """The node to caption next, but for those with postponed ids; None if all others have a caption."""
        with self._lock:
            return self._tree.next_uncaptioned(postponed)

    @property
    def uncaptioned(self) -> int:
        """How many nodes wait for a caption."""
        with self._lock:
            return 0 if self._tree.next_uncaptioned() is None else self._tree.uncaptioned

    def clip_of(self, node: MemoryNode) -> Clip:
        """What a node without captioned children is captioned from; its tokens must still be there."""
        with self._lock:
            for clip in self._clips:
                if clip.span == node.span:
                    return clip
        if node.tokens is None or not node.pictures:
            raise ValueError(f"node {node.id} at {node.span} has nothing left to be captioned from")
        shown = sorted(node.pictures, key=lambda one: one.pts_seconds)
        return Clip(node.tokens, tuple(Frame(picture(one.jpeg), one.pts_seconds, 0) for one in shown), node.span)

    def set_caption(self, node: MemoryNode, caption: Caption) -> None:
        """Give a node its caption and drop the pictures that it was made from."""
        with self._lock:
            self._tree.set_caption(node, caption)
            while self._clips and self._clips[0].span.end <= node.span.end:
                self._clips.popleft()
            self._share_budget()

    def nodes_by_level(self) -> tuple[int, ...]:
        """How many nodes of the tree there are at each level, the leaves at index 0."""
        with self._lock:
            roots = self._tree.roots
        counted, counts = self._counted
        if roots != counted:  # nodes are immutable, so that the same roots have the same nodes
            counts = nodes_by_level(roots)
            self._counted = roots, counts
        return counts

    @property
    def tree_nbytes(self) -> int:
        """Bytes of the long-term tree."""
        with self._lock:
            return self._tree.nbytes

    @property
    def nbytes(self) -> int:
        """Bytes of the whole memory, which are held within its budget; without the dialogue, which is small."""
        with self._lock:
            return self._tree.nbytes + _frames_nbytes(self._kept, self._clips)


def _frames_nbytes(kept: Collection[EncodedFrame], clips: Collection[Clip]) -> int:
    """Bytes of kept frames and of pending clips; a frame that both have counts once."""
    frames = {id(encoded.frame): encoded.frame for encoded in kept}
    frames |= {id(frame): frame for clip in clips for frame in clip.keyframes}
    tokens = sum(encoded.tokens.nbytes for encoded in kept) + sum(clip.tokens.nbytes for clip in clips)
    return tokens + sum(frame.data.nbytes for frame in frames.values())


def make_leaf(frames: Sequence[EncodedFrame], span: Span, *, clusters: int, seed: int) -> tuple[MemoryNode, Clip]:
    """A leaf of a chunk: its token maps [n, P, D] folded into at most C centroids [C, P, D] (paper section 3.3).

    The leaf carries, for each centroid, a picture of the real frame nearest to it, and the clip the frame itself.
    """
    chunk = cluster(frames, clusters=clusters, seed=seed)
    leaf = MemoryNode(
        id=0,
        span=span,
        level=0,
        tokens=chunk.centroids,
        weights=chunk.weights,
        mass=len(frames),
        pictures=tuple(Picture(jpeg(frame.data), frame.pts_seconds) for frame in chunk.keyframes),
    )
    return leaf, chunk.clip(span)


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """Frames of the stream folded into centroids, in the order in which these first come."""

    centroids: torch.Tensor  # [K, P, D]
    weights: tuple[int, ...]  # frames behind each, [K]
    keyframes: tuple[Frame, ...]  # the real frame nearest to each, [K]
    starts_scene: bool

    def clip(self, span: Span) -> Clip:
        """What the chunk is captioned from."""
        in_time_order = tuple(sorted(self.keyframes, key=lambda frame: frame.pts_seconds))
        return Clip(self.centroids, in_time_order, span, starts_scene=self.starts_scene)


def cluster(frames: Sequence[EncodedFrame], *, clusters: int, seed: int) -> Chunk:
    """Fold frames, of which there is at least one, into at most so many centroids."""
    tokens = torch.stack([frame.tokens for frame in frames])
    found = kmeans(tokens, clusters, seed=seed)
    return Chunk(
        centroids=found.centroids,
        weights=tuple(int(weight) for weight in found.weights),
        keyframes=tuple(frames[index].frame for index in medoids(found)),
        starts_scene=frames[0].cut,
    )


def _check_kept(state: MemoryState, options: Options) -> None:
    times = [frame.pts_seconds for frame in state.kept]
    if any(later <= earlier for earlier, later in pairwise(times)):
        raise ValueError("the kept frames are not in time order")
    if not min(1, len(times)) <= state.open_frames <= min(len(times), options.chunk_frames):
        raise ValueError(f"{state.open_frames} of {len(times)} kept frames are said to be in the open chunk")
    end = state.roots[-1].span.end if state.roots else None
    if end is not None and (not times or times[-state.open_frames] != end):
        raise ValueError(f"the tree ends at {end} s, where the open chunk does not begin")


def _check_clips(state: MemoryState) -> None:
    if len(state.clips) > MOST_PENDING_CLIPS:
        raise ValueError(f"{len(state.clips)} clips wait for their captions, of at most {MOST_PENDING_CLIPS}")
    end = 0.0
    for clip in state.clips:
        times = [frame.pts_seconds for frame in clip.keyframes]
        inside = all(clip.span.start <= time < clip.span.end for time in times)
        if not (times and inside and times == sorted(times) and len(clip.tokens) and end <= clip.span.start):
            raise ValueError(f"the clip of {tuple(clip.span)}, which waits for its caption, is not whole or in order")
        end = clip.span.end
    if state.clips and not (state.roots and end <= state.roots[-1].span.end):
        raise ValueError(f"a clip waits for its caption until {end} s, which no node covers")


def _visible(nodes: Sequence[MemoryNode], until_seconds: float) -> tuple[MemoryNode, ...]:
    """The nodes that end by a moment; of one that reaches past it, those of its children."""
    visible: list[MemoryNode] = []
    for node in nodes:
        if node.span.end > until_seconds:
            visible += _visible(node.children, until_seconds)
            break
        visible.append(node)
    return tuple(visible)
