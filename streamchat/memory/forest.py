"""A forest of memory nodes: walked through, counted, and checked for what no tree could have grown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from streamchat.types import MemoryNode


def subtree_nbytes(node: MemoryNode) -> int:
    """Bytes of a node and of everything below it."""
    return node.nbytes + sum(subtree_nbytes(child) for child in node.children)


def every_node(roots: Sequence[MemoryNode]) -> list[MemoryNode]:
    """The nodes of a forest in time order, a parent before its children."""
    found: list[MemoryNode] = []
    stack = list(reversed(roots))
    while stack:
        node = stack.pop()
        found.append(node)
        stack += reversed(node.children)
    return found


def nodes_by_level(roots: Sequence[MemoryNode]) -> tuple[int, ...]:
    """How many nodes of each level a forest has, the leaves at index 0."""
    counts = Counter(node.level for node in every_node(roots))
    return tuple(counts[level] for level in range(max(counts, default=-1) + 1))


def check_forest(roots: Sequence[MemoryNode], next_id: int) -> None:
    """Raise ValueError unless a tree could have grown these roots: whole, in time order, and consistent in itself."""
    nodes = every_node(roots)
    ids = {node.id for node in nodes}
    if len(ids) < len(nodes) or not all(0 <= number < next_id for number in ids):
        raise ValueError(f"the ids of nodes must be distinct, from 0 to below {next_id}")
    _check_tiling(roots, "the roots")
    if any(root.tokens is None for root in roots):
        raise ValueError("a root has lost its tokens")
    for node in nodes:
        _check_node(node)


def _check_node(node: MemoryNode) -> None:
    if node.tokens is None and (node.weights or node.pictures):
        raise ValueError(f"node {node.id} has no tokens, but weights or pictures")
    if node.tokens is not None and (min(node.weights, default=0) < 1 or sum(node.weights) != node.mass):
        raise ValueError(f"the weights {node.weights} of node {node.id} must be 1 or more, and sum to its {node.mass}")
    if not all(node.span.start <= picture.pts_seconds < node.span.end for picture in node.pictures):
        raise ValueError(f"a picture of node {node.id} is not from its span {tuple(node.span)}")
    if not node.children:
        return
    _check_tiling(node.children, f"the children of node {node.id}")
    if (node.children[0].span.start, node.children[-1].span.end) != node.span:
        raise ValueError(f"the children of node {node.id} do not cover its span {tuple(node.span)}")
    if any(child.level >= node.level for child in node.children):
        raise ValueError(f"a child of node {node.id} is not below its level {node.level}")
    if sum(child.mass for child in node.children) != node.mass:
        raise ValueError(f"the children of node {node.id} do not stand for its {node.mass} frames")


def _check_tiling(nodes: Sequence[MemoryNode], what: str) -> None:
    for node in nodes:
        if node.span.start >= node.span.end:
            raise ValueError(f"node {node.id} lasts no time: {tuple(node.span)}")
    for before, after in pairwise(nodes):
        if before.span.end != after.span.start:
            raise ValueError(f"{what} leave a gap or overlap between {before.span.end} s and {after.span.start} s")
