"""Long-term memory: a forest over the timeline that grows while the stream runs, within a budget (paper section 3.3).

Leaves stand for chunks of the stream; every g roots of one level, in time order, become the children of a parent.
Until a group is full its nodes stand as roots. The paper lets the tree grow for ever; here a budget in bytes is kept by
folding what is oldest and deepest: first the tokens and keyframes of nodes that a parent stands for, then the roots'
centroids into one, then the captions below a parent, and at last the two oldest roots into one. The timeline stays
covered without gap or overlap.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch

from streamchat.clustering import kmeans
from streamchat.types import Caption, MemoryNode, merged_span


class _Key(NamedTuple):
    """Where a node is found again: its id, and a time inside its span."""

    id: int
    start: float


class LongTermTree:
    """The forest; not thread-safe, its owner holds a lock. Nodes are immutable, so `roots` is a snapshot."""

    def __init__(self, *, group_nodes: int, clusters: int, budget_bytes: int, seed: int = 0) -> None:
        self._group_nodes = group_nodes
        self._clusters = clusters
        self._budget_bytes = budget_bytes
        self._seed = seed
        self._roots: list[MemoryNode] = []
        self._next_id = 0
        self._uncaptioned: deque[_Key] = deque()  # in the order made, so that children come before their parent
        self._covered: dict[int, deque[_Key]] = {}  # by level: nodes with tokens that a parent stands for
        self._parents: dict[int, deque[_Key]] = {}  # by level: nodes with children
        self.nbytes = 0  # of all nodes

    @property
    def roots(self) -> tuple[MemoryNode, ...]:
        """The roots in time order; their spans tile the timeline."""
        return tuple(self._roots)

    def add(self, leaf: MemoryNode) -> None:
        """Append a leaf whose span begins where the last root ends, and fold every group that is full by it.

        The leaf's id is replaced by the tree's own. Raises ValueError for a gap or an overlap in the timeline.
        """
        if self._roots and self._roots[-1].span.end != leaf.span.start:
            raise ValueError(f"a leaf from {leaf.span.start} s cannot follow {self._roots[-1].span}")
        self._make_room(leaf.nbytes)
        self._append(leaf)
        while (group := self._full_group()) is not None:
            self._make_room(max(node.nbytes for node in group))
            if self._full_group() is None:  # making room folded roots of the group itself
                break
            self._fold_group()

    def next_uncaptioned(self) -> MemoryNode | None:
        """The node to caption next, children before their parent; one of which nothing is left is passed over."""
        while self._uncaptioned:
            node = self._find(self._uncaptioned[0])
            if node is not None and node.caption is None and _can_be_captioned(node):
                return node
            self._uncaptioned.popleft()
        return None

    def set_caption(self, node: MemoryNode, caption: Caption) -> None:
        """Give a node its caption; nothing happens if it was folded away in the meantime."""
        self._make_room(replace(node, tokens=None, weights=(), keyframe=None, caption=caption).nbytes)
        self._rewrite(_Key(node.id, node.span.start), lambda found: replace(found, caption=caption))

    # Growing

    def _append(self, node: MemoryNode) -> None:
        node = replace(node, id=self._next_id)
        self._next_id += 1
        self._roots.append(node)
        self._uncaptioned.append(_Key(node.id, node.span.start))
        self.nbytes += node.nbytes

    def _full_group(self) -> list[MemoryNode] | None:
        group = self._roots[-self._group_nodes :]
        full = len(group) == self._group_nodes and all(node.level == group[0].level for node in group)
        return group if full else None

    def _fold_group(self) -> None:
        """Make the newest g roots the children of a parent."""
        group = self._roots[-self._group_nodes :]
        del self._roots[-self._group_nodes :]
        self._append(self._parent_of(group, self._clusters))
        self._note_children(self._roots[-1])

    def _parent_of(self, group: Sequence[MemoryNode], clusters: int) -> MemoryNode:
        """A parent whose centroids are the weighted k-means of its children's (paper section 3.3)."""
        tokens = torch.cat([node.tokens for node in group if node.tokens is not None])
        weights = torch.tensor([weight for node in group if node.tokens is not None for weight in node.weights])
        found = kmeans(tokens, clusters, weights=weights, seed=self._seed + self._next_id)
        return MemoryNode(
            id=self._next_id,
            span=merged_span([node.span for node in group]),
            level=max(node.level for node in group) + 1,
            tokens=found.centroids,
            weights=tuple(round(float(weight)) for weight in found.weights),
            mass=sum(node.mass for node in group),
            keyframe=max(group, key=lambda node: node.mass).keyframe,
            children=tuple(group),
        )

    def _note_children(self, parent: MemoryNode) -> None:
        self._parents.setdefault(parent.level, deque()).append(_Key(parent.id, parent.span.start))
        for child in parent.children:
            self._covered.setdefault(child.level, deque()).append(_Key(child.id, child.span.start))

    # Folding what is oldest

    def _make_room(self, nbytes: int) -> None:
        steps = (
            self._strip_oldest_covered,
            self._coarsen_oldest_root,
            self._prune_oldest_told,
            self._merge_oldest_roots,
            self._prune_oldest,
        )
        while self.nbytes + nbytes > self._budget_bytes:
            if not any(step() for step in steps):
                break

    def _strip_oldest_covered(self) -> bool:
        """Drop the tokens and the keyframe of the oldest node, deepest level first, that a parent stands for."""
        for level in sorted(self._covered):
            if self._covered[level]:
                key = self._covered[level].popleft()
                self._rewrite(key, lambda node: replace(node, tokens=None, weights=(), keyframe=None))
                return True
        return False

    def _coarsen_oldest_root(self) -> bool:
        """Fold the centroids of the oldest root that has several into their weighted mean."""
        for root in self._roots:
            if root.tokens is not None and len(root.weights) > 1:
                found = kmeans(root.tokens, 1, weights=torch.tensor(root.weights))
                coarse = replace(root, tokens=found.centroids, weights=(sum(root.weights),))
                self._rewrite(_Key(root.id, root.span.start), lambda _, coarse=coarse: coarse)  # type: ignore[misc]
                return True
        return False

    def _prune_oldest_told(self) -> bool:
        """Let the oldest parent, lowest level first, stand for its children alone, if a summary of them is there."""
        for level in sorted(self._parents):
            parent = self._find(self._parents[level][0]) if self._parents[level] else None
            if parent is not None and parent.caption is not None:
                return self._prune(level)
        return False

    def _prune_oldest(self) -> bool:
        """As the step before, for want of anything else to fold, without a summary."""
        return any(self._prune(level) for level in sorted(self._parents))

    def _prune(self, level: int) -> bool:
        if not self._parents[level]:
            return False
        self._rewrite(self._parents[level].popleft(), lambda node: replace(node, children=()))
        return True

    def _merge_oldest_roots(self) -> bool:
        if len(self._roots) < 2:
            return False
        merged = self._parent_of(self._roots[:2], 1)
        self._next_id += 1
        self._roots[:2] = [merged]
        self.nbytes += merged.nbytes
        self._uncaptioned.append(_Key(merged.id, merged.span.start))
        self._note_children(merged)
        return True

    # Finding and replacing

    def _find(self, key: _Key) -> MemoryNode | None:
        nodes: Sequence[MemoryNode] = self._roots
        while nodes:
            node = nodes[_index_at(nodes, key.start)]
            if node.id == key.id:
                return node
            nodes = node.children
        return None

    def _rewrite(self, key: _Key, change: Callable[[MemoryNode], MemoryNode]) -> None:
        """Replace a node, and so the path down to it; nothing happens if it is gone."""
        index = _index_at(self._roots, key.start)
        changed = _rewritten(self._roots[index], key, change)
        if changed is not None:
            self._roots[index], freed = changed
            self.nbytes -= freed


def _can_be_captioned(node: MemoryNode) -> bool:
    """Whether anything is left to caption a node from."""
    seen = node.tokens is not None and node.keyframe is not None
    return seen or any(child.caption is not None for child in node.children)


def _index_at(nodes: Sequence[MemoryNode], seconds: float) -> int:
    """Which of the nodes, which tile a stretch of time, covers a moment."""
    return max(0, bisect_right(nodes, seconds, key=lambda node: node.span.start) - 1)


def _rewritten(
    node: MemoryNode, key: _Key, change: Callable[[MemoryNode], MemoryNode]
) -> tuple[MemoryNode, int] | None:
    """The node with the change made at `key` in or below it, and the bytes that this freed; None if it is not there."""
    if node.id == key.id:
        changed = change(node)
        return changed, subtree_nbytes(node) - subtree_nbytes(changed)
    if not node.children:
        return None
    index = _index_at(node.children, key.start)
    below = _rewritten(node.children[index], key, change)
    if below is None:
        return None
    child, freed = below
    return replace(node, children=(*node.children[:index], child, *node.children[index + 1 :])), freed


def subtree_nbytes(node: MemoryNode) -> int:
    """Bytes of a node and of everything below it."""
    return node.nbytes + sum(subtree_nbytes(child) for child in node.children)


def nodes_by_level(roots: Sequence[MemoryNode]) -> tuple[int, ...]:
    """How many nodes of each level a forest has, leaves first."""
    counts: dict[int, int] = {}
    waiting = list(roots)
    while waiting:
        node = waiting.pop()
        counts[node.level] = counts.get(node.level, 0) + 1
        waiting += node.children
    return tuple(counts.get(level, 0) for level in range(max(counts, default=-1) + 1))
