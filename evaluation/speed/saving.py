"""What a snapshot, a save and a load cost against the number of nodes."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from evaluation.speed.growing import BUDGET_BYTES, grown
from evaluation.speed.measuring import Part, Series, Settings, interleaved, median
from streamchat.embedding import WIDTH, minilm
from streamchat.memory.store import MemoryStore
from streamchat.models.fake import FakeModel
from streamchat.options import Options
from streamchat.session.engine import StreamChat
from streamchat.session.storage import load_session, save_session

NODES = (100, 1_000, 10_000)
REPEATS = 50
FILES = 3  # saved and loaded, each
AFTER_ALL_SECONDS = 1e6


class OneToken(FakeModel):
    """A model of the shape of the grown memories."""

    tokens_per_frame, dim = 1, WIDTH


def measure(settings: Settings) -> Part:
    """Snapshots, saves and loads of memories of several sizes, in turn."""
    settings.say("saving: snapshots")
    stores = {nodes: grown(nodes) for nodes in NODES}
    works = {str(nodes): partial(store.snapshot, AFTER_ALL_SECONDS) for nodes, store in stores.items()}
    figures = _figures("snapshot", interleaved(works, REPEATS))
    settings.say("saving: files")
    files = {nodes: settings.folder / f"{nodes}.streamchat" for nodes in NODES}
    chats = {nodes: _chat_of(store) for nodes, store in stores.items()}
    saves = {str(nodes): partial(save_session, chats[nodes], files[nodes]) for nodes in NODES}
    figures |= _figures("save", interleaved(saves, FILES))
    loads = {str(nodes): partial(_load, files[nodes]) for nodes in NODES}
    figures |= _figures("load", interleaved(loads, FILES))
    series = [
        Series(title, title.lower(), "nodes", "milliseconds", _points(figures, title.lower()), log=True)
        for title in ("Snapshot", "Save", "Load")
    ]
    return Part(figures, series)


def _figures(what: str, times: dict[str, list[float]]) -> dict[str, float]:
    return {f"{what}_ms_{nodes}": 1000 * median(values) for nodes, values in times.items()}


def _points(figures: dict[str, float], what: str) -> list[tuple[float, float]]:
    return [(float(nodes), figures[f"{what}_ms_{nodes}"]) for nodes in NODES]


def _chat_of(store: MemoryStore) -> StreamChat:
    chat = StreamChat(OneToken(), Options(memory_bytes=BUDGET_BYTES), minilm())
    chat.memory = store
    return chat


def _load(file: Path) -> None:
    load_session(file, OneToken(), minilm(), most_memory_bytes=BUDGET_BYTES)
