"""What a question costs beyond its embedding, in memories of 100 to 10,000 nodes."""

from __future__ import annotations

from functools import partial

import numpy as np

from evaluation.speed.growing import QUESTION, grown, vector
from evaluation.speed.measuring import Part, Series, Settings, interleaved, median, p95
from streamchat.memory.store import MemoryStore
from streamchat.options import Options
from streamchat.retrieval.gather import gather
from streamchat.types import Context

NODES = (100, 1_000, 10_000)
LARGE = (144, 3584)  # tokens of a frame and their width, of LongVA
REPEATS = 40
AFTER_ALL_SECONDS = 1e6


def measure(settings: Settings) -> Part:
    """Snapshot and retrieval in all the memories, in turn."""
    settings.say("retrieving: growing memories")
    stores = {nodes: grown(nodes) for nodes in NODES}
    settings.say("retrieving: asking")
    random = np.random.default_rng(0)
    stores_of = {str(nodes): store for nodes, store in stores.items()}
    stores_of["large_tokens"] = grown(NODES[0], tokens=LARGE)
    works = {name: partial(_ask_anything, store, random) for name, store in stores_of.items()}
    times = interleaved(works, REPEATS)
    figures = {f"retrieval_ms_{nodes}": 1000 * median(times[str(nodes)]) for nodes in NODES}
    figures["retrieval_ms_10000_p95"] = 1000 * p95(times["10000"])
    figures["retrieval_ms_large_tokens"] = 1000 * median(times["large_tokens"])
    points = [(float(nodes), figures[f"retrieval_ms_{nodes}"]) for nodes in NODES]
    return Part(figures, [Series("Retrieval", "beyond the embedding", "nodes", "milliseconds", points, log=True)])


def _ask_anything(store: MemoryStore, random: np.random.Generator) -> None:
    ask(store, vector(random))


def ask(store: MemoryStore, embedding: np.ndarray) -> Context:
    """All that lies between a question's embedding and its context."""
    snapshot = store.snapshot(AFTER_ALL_SECONDS)
    newest = snapshot.short_term[-1].frame
    return gather(snapshot, QUESTION, embedding, newest, embed=_not_needed, options=Options(), seed=0)


def _not_needed(_: object) -> np.ndarray:
    raise RuntimeError("the question names no event")
