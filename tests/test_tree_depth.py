"""A tree that must fold all the time stays flat, however long the stream and whether or not anything is captioned."""

from __future__ import annotations

import math
from collections import deque

import numpy as np
import pytest
import torch

from streamchat.memory.forest import check_forest, every_node, nodes_by_level
from streamchat.memory.long_term import LongTermTree
from streamchat.types import Caption, MemoryNode, Picture, Span
from streamchat.video.images import jpeg

LEAVES = 1200
PICTURE = jpeg(np.zeros((8, 8, 3), np.uint8))


def leaf(number: int) -> MemoryNode:
    return MemoryNode(
        id=0,
        span=Span(number, number + 1),
        level=0,
        tokens=torch.full((2, 1, 4), float(number)),
        weights=(3, 2),
        mass=5,
        pictures=(Picture(PICTURE, number), Picture(PICTURE, number + 0.5)),
    )


def caption(text: str) -> Caption:
    return Caption(text, embedding=np.full(8, 8**-0.5, np.float32))


def deepest(roots: tuple[MemoryNode, ...]) -> int:
    stack, depth = deque((root, 1) for root in roots), 0
    while stack:
        node, depth_of_node = stack.pop()
        depth = max(depth, depth_of_node)
        stack += [(child, depth_of_node + 1) for child in node.children]
    return depth


@pytest.mark.parametrize(
    ("captioned", "group", "budget"),
    [("always", 10, 8_000), ("never", 2, 8_000), ("never", 10, 200_000), ("late", 2, 30_000)],
)
def test_it_is_no_deeper_than_groups_make_it(captioned: str, group: int, budget: int) -> None:
    tree = LongTermTree(group_nodes=group, clusters=2, budget_bytes=budget)
    most = 3 + math.ceil(math.log(LEAVES, group))
    for number in range(LEAVES):
        tree.add(leaf(number))
        while captioned == "always" or (captioned == "late" and number % 50 == 0):
            node = tree.next_uncaptioned()
            if node is None:
                break
            tree.set_caption(node, caption(f"node {node.id}"))
        if number % 100 == 0 or number > LEAVES - 3:
            assert tree.nbytes <= budget
            assert tree.nbytes == sum(node.nbytes for node in every_node(tree.roots))
            assert deepest(tree.roots) <= most
            assert len(nodes_by_level(tree.roots)) <= most
    assert tree.roots[0].span.start == 0.0
    assert tree.roots[-1].span.end == LEAVES
    check_forest(tree.roots, tree.next_id)
    assert len(tree._uncaptioned) <= len(every_node(tree.roots)), "nothing waits that is gone"
    again = LongTermTree(group_nodes=group, clusters=2, budget_bytes=budget)
    again.restore(tree.roots, tree.next_id)
    assert again.nbytes == tree.nbytes


def test_every_node_counts_even_if_nothing_is_left_in_it() -> None:
    tree = LongTermTree(group_nodes=10, clusters=2, budget_bytes=20_000)
    for number in range(LEAVES):
        tree.add(leaf(number))
    assert len(every_node(tree.roots)) < 60


def test_what_is_merged_is_found_by_its_captions_as_long_as_they_are_there() -> None:
    tree = LongTermTree(group_nodes=10, clusters=2, budget_bytes=30_000)
    for number in range(300):
        tree.add(leaf(number))
        while (node := tree.next_uncaptioned()) is not None:
            tree.set_caption(node, caption(f"node {node.id}"))
    captions = {node.id for node in every_node(tree.roots) if node.caption is not None}
    found = tree.captions.view().search("node", np.full(8, 8**-0.5, np.float32), 1000)
    assert {match.key for match in found} == captions
