"""What a snapshot costs against the number of nodes.

Saving and loading belong here too, over the same memories, once `streamchat.saving` (`save_session`, `load_session`) is
there: add their works to the ones below, as `save_ms_N` and `load_ms_N`.
"""

from __future__ import annotations

from functools import partial

from evaluation.speed.growing import grown
from evaluation.speed.measuring import Part, Series, Settings, interleaved, median

NODES = (100, 1_000, 10_000)
REPEATS = 50
AFTER_ALL_SECONDS = 1e6


def measure(settings: Settings) -> Part:
    """Take snapshots of memories of several sizes, in turn."""
    settings.say("saving: snapshots")
    stores = {nodes: grown(nodes) for nodes in NODES}
    works = {str(nodes): partial(store.snapshot, AFTER_ALL_SECONDS) for nodes, store in stores.items()}
    times = interleaved(works, REPEATS)
    figures = {f"snapshot_ms_{nodes}": 1000 * median(times[str(nodes)]) for nodes in NODES}
    points = [(float(nodes), figures[f"snapshot_ms_{nodes}"]) for nodes in NODES]
    return Part(figures, [Series("Snapshot", "snapshot", "nodes", "milliseconds", points, log=True)])
