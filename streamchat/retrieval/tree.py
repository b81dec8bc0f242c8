"""The paper's walk down the tree (section 3.3, algorithm 1)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from streamchat.memory.text_index import DIGITS
from streamchat.types import MemoryNode

UNKNOWN = -1.0  # relevance of a node without a caption: below every other


def walk(roots: Sequence[MemoryNode], question: np.ndarray, paths: int) -> list[tuple[MemoryNode, float]]:
    """The nodes visited for a question [E], with their relevance, in the order visited.

    The walk goes greedily down from the roots by the cosine of the question with the captions, and takes every node
    that it visits, the roots included. Of the roots, and then of the children of those taken, the `paths` best are
    taken at each step down; the paper takes one. A node without a caption ranks below those with one, the newest first.
    """
    visited: list[tuple[MemoryNode, float]] = []
    candidates = list(roots)
    while candidates:
        ranked = sorted(candidates, key=lambda node: (relevance(node, question), node.span.start), reverse=True)[:paths]
        visited += [(node, relevance(node, question)) for node in ranked]
        candidates = [child for node in ranked for child in node.children]
    return visited


def relevance(node: MemoryNode, question: np.ndarray) -> float:
    """Cosine of a node's caption with a question [E], -1 to 1, to as many digits as every processor agrees on."""
    if node.caption is None or node.caption.embedding is None:
        return UNKNOWN
    return round(float(node.caption.embedding @ question), DIGITS)
