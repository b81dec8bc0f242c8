"""Memories with any number of nodes, grown through the front door from frames and captions that mean nothing."""

from __future__ import annotations

import functools

import numpy as np
import torch

from streamchat.embedding import WIDTH
from streamchat.memory.store import MemoryStore
from streamchat.options import Options
from streamchat.types import Caption, EncodedFrame, Frame

BUDGET_BYTES = 512 * 2**20  # the same on every machine
FRAMES_A_LEAF = 2
STEP_SECONDS = 1.0
SHOWN = (432, 768)  # height, width of the newest frames, as the reader gives them
SMALL = (36, 64)  # of the others, of which only a keyframe is left anyway
QUESTION = "What was to be seen?"


@functools.cache
def grown(nodes: int, *, tokens: tuple[int, int] = (1, WIDTH)) -> MemoryStore:
    """A memory with at least so many nodes, all captioned, and a full short-term memory.

    `tokens` are those of a frame, and their width; by default as of the built-in model.
    """
    random = np.random.default_rng(nodes)
    options = Options()
    store = MemoryStore(options, BUDGET_BYTES)
    index = 0
    while sum(store.nodes_by_level()) < nodes:
        for _ in range(max(1, (nodes - sum(store.nodes_by_level())) // 2)):  # counted seldom
            for number in range(FRAMES_A_LEAF):
                store.remember(_frame(index, SMALL, tokens, random, cut=number == 0))
                index += 1
        _caption_all(store, random)
    for number in range(options.short_term_frames):
        store.remember(_frame(index + number, SHOWN, tokens, random, cut=False))
    _caption_all(store, random)
    return store


def vector(random: np.random.Generator) -> np.ndarray:
    """A text vector: float32 [E], unit norm."""
    values = random.standard_normal(WIDTH).astype(np.float32)
    return values / np.linalg.norm(values)


def _frame(
    index: int, size: tuple[int, int], tokens: tuple[int, int], random: np.random.Generator, *, cut: bool
) -> EncodedFrame:
    picture = random.integers(0, 255, (*size, 3), np.uint8)
    map_of_tokens = torch.from_numpy(random.standard_normal(tokens, np.float32))
    return EncodedFrame(Frame(picture, index * STEP_SECONDS, index), map_of_tokens, cut)


def _caption_all(store: MemoryStore, random: np.random.Generator) -> None:
    while (node := store.next_uncaptioned()) is not None:
        store.set_caption(node, Caption(f"Node {node.id}.", embedding=vector(random)))
