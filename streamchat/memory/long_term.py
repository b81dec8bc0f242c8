"""Long-term memory: a forest over the timeline that grows while the stream runs, within a budget (paper section 3.3).

Leaves stand for chunks of the stream; every g roots of one level, in time order, become the children of a parent.
Until a group is full its nodes stand as roots. The paper lets the tree grow for ever; here a budget in bytes is kept by
folding what is oldest and deepest: first the tokens and pictures of nodes that a parent stands for, then the roots'
centroids into one, then the captions below a parent, and at last the two oldest roots into one. The timeline stays
covered without gap or overlap, and the tree no deeper than groups of groups make it, however long the stream.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch

from streamchat.memory.forest import check_forest, every_node, subtree_nbytes
from streamchat.memory.kmeans import Clusters, kmeans, medoids
from streamchat.memory.text_index import TextIndex
from streamchat.types import Caption, MemoryNode, Picture, merged_span


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
        self.captions = TextIndex()  # of all nodes, by their ids

    @property
    def roots(self) -> tuple[MemoryNode, ...]:
        """The roots in time order; their spans tile the timeline."""
        return tuple(self._roots)

    @property
    def next_id(self) -> int:
        """The id that the next node will have."""
        return self._next_id

    def restore(self, roots: Sequence[MemoryNode], next_id: int) -> None:
        """Take up what another tree had grown, and grow on from there; what is over the budget is folded.

        What is to be captioned and folded next follows from the nodes. Raises ValueError if no tree grows like that.
        """
        check_forest(roots, next_id)
        in_order_made = sorted(every_node(roots), key=lambda node: node.id)
        self._roots, self._next_id = list(roots), next_id
        self._uncaptioned = deque(_Key(node.id, node.span.start) for node in in_order_made if node.caption is None)
        self._covered, self._parents = {}, {}
        for node in in_order_made:
            if node.children:
                self._note_children(node)
        self.nbytes = sum(node.nbytes for node in in_order_made)
        self.captions = TextIndex()
        for node in in_order_made:
            if node.caption is not None:
                self._index(node, node.caption)
        self._make_room(0)

    def limit(self, budget_bytes: int) -> None:
        """Set the budget; what is over it is folded at once."""
        self._budget_bytes = budget_bytes
        self._make_room(0)

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

    def next_uncaptioned(self, postponed: Collection[int] = ()) -> MemoryNode | None:
        """The node to caption next, children before their parent, but for those with postponed ids.

        One of which nothing is left is passed over.
        """
        while self._uncaptioned:
            node = self._to_caption(self._uncaptioned[0])
            if node is not None:
                break
            self._uncaptioned.popleft()
        candidates = (self._to_caption(key) for key in self._uncaptioned if key.id not in postponed)
        return next((node for node in candidates if node is not None), None)

    def _to_caption(self, key: _Key) -> MemoryNode | None:
        """The node of a key, if it can be captioned and is not."""
        node = self._find(key)
        return node if node is not None and node.caption is None and _can_be_captioned(node) else None

    @property
    def uncaptioned(self) -> int:
        """How many nodes wait for a caption, some of them perhaps folded away by now."""
        return len(self._uncaptioned)

    def set_caption(self, node: MemoryNode, caption: Caption) -> None:
        """Give a node its caption; nothing happens if it was folded away in the meantime."""
        self._make_room(replace(node, tokens=None, weights=(), pictures=(), caption=caption).nbytes)
        key = _Key(node.id, node.span.start)
        if self._rewrite(key, lambda found: replace(found, caption=caption)):
            self._index(node, caption)
        if key in self._uncaptioned:  # mostly its first
            self._uncaptioned.remove(key)

    def _index(self, node: MemoryNode, caption: Caption) -> None:
        """Let a node be found by its caption."""
        if caption.embedding is not None:
            self.captions.add(node.id, node.span, caption.text, caption.embedding)

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
        parent = self._parent_of(group, self._clusters)
        self._append(replace(parent, level=group[0].level + 1, children=tuple(group)))
        self._note_children(self._roots[-1])

    def _parent_of(self, group: Sequence[MemoryNode], clusters: int) -> MemoryNode:
        """A node whose centroids are the weighted k-means of those of a group (paper section 3.3)."""
        tokens = torch.cat([node.tokens for node in group if node.tokens is not None])
        weights = torch.tensor([weight for node in group if node.tokens is not None for weight in node.weights])
        found = kmeans(tokens, clusters, weights=weights, seed=self._seed + self._next_id)
        return MemoryNode(
            id=self._next_id,
            span=merged_span([node.span for node in group]),
            level=0,
            tokens=found.centroids,
            weights=tuple(round(float(weight)) for weight in found.weights),
            mass=sum(node.mass for node in group),
            pictures=_pictures_of(group, found),
        )

    def _note_children(self, parent: MemoryNode) -> None:
        self._parents.setdefault(parent.level, deque()).append(_Key(parent.id, parent.span.start))
        known = {key.id for keys in self._covered.values() for key in keys}
        for child in parent.children:
            if child.tokens is not None and child.id not in known:
                self._covered.setdefault(child.level, deque()).append(_Key(child.id, child.span.start))

    # Folding what is oldest

    def _make_room(self, nbytes: int) -> None:
        steps = (
            self._strip_oldest_covered,
            self._coarsen_oldest_root,
            self._prune_oldest_summarized,
            self._merge_oldest_roots,
            self._prune_oldest,
        )
        while self.nbytes + nbytes > self._budget_bytes:
            if not any(step() for step in steps):
                break

    def _strip_oldest_covered(self) -> bool:
        """Drop the tokens and the pictures of the oldest node, deepest level first, that a parent stands for."""
        for level in sorted(self._covered):
            if self._covered[level]:
                key = self._covered[level].popleft()
                self._rewrite(key, lambda node: replace(node, tokens=None, weights=(), pictures=()))
                return True
        return False

    def _coarsen_oldest_root(self) -> bool:
        """Fold the centroids of the oldest root that has several into their weighted mean."""
        for root in self._roots:
            if root.tokens is not None and len(root.weights) > 1:
                found = kmeans(root.tokens, 1, weights=torch.tensor(root.weights))
                coarse = replace(
                    root,
                    tokens=found.centroids,
                    weights=(sum(root.weights),),
                    pictures=_pictures_of([root], found),
                )
                self._rewrite(_Key(root.id, root.span.start), lambda _, coarse=coarse: coarse)  # type: ignore[misc]
                return True
        return False

    def _prune_oldest_summarized(self) -> bool:
        """Let the oldest parent, lowest level first, stand for its children alone, if a summary of them is there."""
        for level in sorted(self._parents):
            keys = self._parents[level]
            while keys and self._find(keys[0]) is None:
                keys.popleft()  # it was folded away with what is above it
            parent = self._find(keys[0]) if keys else None
            if parent is not None and parent.caption is not None:
                return self._prune(level)
        return False

    def _prune_oldest(self) -> bool:
        """As the step before, for want of anything else to fold, without a summary."""
        return any(self._prune(level) for level in sorted(self._parents))

    def _prune(self, level: int) -> bool:
        if not self._parents[level]:
            return False
        key = self._parents[level].popleft()
        parent = self._find(key)
        if parent is not None:
            self._forget([node.id for node in every_node(parent.children)])
            self._rewrite(key, lambda node: replace(node, children=()))
        return True

    def _forget(self, numbers: Sequence[int]) -> None:
        """Nodes with these ids are gone: they are not found any more, nor captioned."""
        self.captions.remove(numbers)
        gone = frozenset(numbers)
        self._uncaptioned = deque(key for key in self._uncaptioned if key.id not in gone)

    def _merge_oldest_roots(self) -> bool:
        if len(self._roots) < 2:
            return False
        first, second = self._roots[:2]
        level, children = _joined(first, second)
        merged = replace(self._parent_of([first, second], 1), level=level, children=children)
        self._next_id += 1
        self._roots[:2] = [merged]
        dissolved = [root for root in (first, second) if all(root.id != child.id for child in children)]
        self._forget([root.id for root in dissolved])
        self.nbytes += merged.nbytes - sum(root.nbytes for root in dissolved)
        self._uncaptioned.append(_Key(merged.id, merged.span.start))
        self._note_children(merged)
        return True

    # Finding and replacing

    def _find(self, key: _Key) -> MemoryNode | None:
        path = path_to(self._roots, key.id, key.start)
        return path[-1] if path else None

    def _rewrite(self, key: _Key, change: Callable[[MemoryNode], MemoryNode]) -> bool:
        """Replace a node, and so the path down to it; False, and nothing happens, if it is gone."""
        index = _index_at(self._roots, key.start)
        changed = _rewritten(self._roots[index], key, change)
        if changed is None:
            return False
        self._roots[index], freed = changed
        self.nbytes -= freed
        return True


def _joined(first: MemoryNode, second: MemoryNode) -> tuple[int, tuple[MemoryNode, ...]]:
    """Level and children of two roots that become one: of the higher one, if it has any, the children go on.

    So the tree does not get deeper with every merge. A root that lost its children counts as one of the first level.
    """
    if first.children and first.level > second.level:
        return first.level, (*first.children, second)
    if second.children and second.level > first.level:
        return second.level, (first, *second.children)
    pair = tuple(one if one.children else replace(one, level=min(one.level, 1)) for one in (first, second))
    return max(one.level for one in pair) + 1, pair


def _can_be_captioned(node: MemoryNode) -> bool:
    """Whether anything is left to caption a node from."""
    seen = node.tokens is not None and bool(node.pictures)
    return seen or any(child.caption is not None for child in node.children)


def _pictures_of(group: Sequence[MemoryNode], found: Clusters) -> tuple[Picture, ...]:
    """For each cluster of the centroids of some nodes, the picture of the centroid nearest to its middle."""
    sources = [node for node in group if node.tokens is not None]
    if not all(node.pictures for node in sources):
        return ()
    pictures = [picture for node in sources for picture in node.pictures]
    return tuple(pictures[place] for place in medoids(found))


def path_to(roots: Sequence[MemoryNode], number: int, start_seconds: float) -> tuple[MemoryNode, ...]:
    """From a root down to the node with an id, whose span begins at a time; empty if the forest has no such node."""
    path: list[MemoryNode] = []
    nodes = roots
    while nodes:
        path.append(nodes[_index_at(nodes, start_seconds)])
        if path[-1].id == number:
            return tuple(path)
        nodes = path[-1].children
    return ()


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
