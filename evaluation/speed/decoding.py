"""Frames a second: decoded alone, decoded and selected, and ingested with the model and all that belongs to it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from evaluation.speed import videos
from evaluation.speed.measuring import Part, Series, Settings, interleaved, median, ratio
from streamchat import plugin
from streamchat.models import load_model
from streamchat.models.base import Model
from streamchat.options import Options
from streamchat.session.engine import StreamChat
from streamchat.session.live import LiveSession
from streamchat.video.file import open_video

HEIGHTS = (360, 720)
SELECTORS = ("novelty", "optical_flow")
REPEATS = 3
POLL_SECONDS = 0.01


def measure(settings: Settings) -> Part:
    """Ingest a video of each height several times in several ways, in turn."""
    model = load_model(settings.model)
    figures: dict[str, float] = {}
    speeds: dict[str, list[tuple[float, float]]] = {}
    for height in HEIGHTS:
        settings.say(f"decoding: {height}p")
        video = videos.prepared(settings, height=height)
        frames = sum(1 for _ in open_video(video))
        works: dict[str, Callable[[], object]] = {"decode": partial(decode, video)}
        works |= {f"decode_and_{name}": partial(decode_and_select, video, name) for name in SELECTORS}
        works["ingest"] = partial(ingest, video, model, until_captioned=False)
        works["ingest_and_caption"] = partial(ingest, video, model, until_captioned=True)
        times = interleaved(works, REPEATS)
        for name in works:
            figures[f"{name}_fps_{height}p"] = frames / median(times[name])
            speeds.setdefault(name, []).append((height, frames / median(times[name])))
        figures |= {f"{name}_of_decode_{height}p": ratio(times, "decode", f"decode_and_{name}") for name in SELECTORS}
    figures["selection_of_decode"] = figures[f"{Options().selector}_of_decode_720p"]
    return Part(figures, [Series("Ingestion", name, "lines", "frames a second", speeds[name]) for name in speeds])


def decode(video: Path) -> None:
    """Read a video as the product does, and do nothing with it."""
    for _ in open_video(video, max_side=Options().max_side):
        pass


def decode_and_select(video: Path, selector: str) -> None:
    """Read a video and decide about every frame."""
    options = Options(selector=selector)
    decides = plugin.load("streamchat.selectors", selector).build(options)
    for frame in open_video(video, max_side=options.max_side):
        decides.select(frame)


def ingest(video: Path, model: Model, *, until_captioned: bool) -> None:
    """Read, select, encode and remember a video in a live session, which captions beside it, and wait for that too."""
    chat = StreamChat(model)
    opened = open_video(video, max_side=chat.options.max_side, per_second=chat.options.read_per_second)
    session = LiveSession(chat, opened)
    session.start()
    try:
        session.play_until(math.inf)
        while not _done(session, until_captioned):  # seldom asked: `wait_until` would look at every frame
            if session.error is not None:
                raise session.error
            time.sleep(POLL_SECONDS)
    finally:
        session.close()


def _done(session: LiveSession, until_captioned: bool) -> bool:
    stats = session.stats()
    return stats.finished and not (until_captioned and stats.captions_pending)
