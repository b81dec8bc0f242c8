"""Many visitors of one app at once, and how much more they wait than one alone: all watch, then all ask together.

The model is shared, as in the app; each visitor has a video, a memory and three threads of their own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from evaluation.speed import videos
from evaluation.speed.answering import QUESTIONS
from evaluation.speed.measuring import Part, Settings, median, p95, session_threads
from streamchat.models import load_model
from streamchat.models.base import Model
from streamchat.session.engine import StreamChat
from streamchat.session.live import LiveSession
from streamchat.video.file import open_video

VISITORS = 20
PLAYED_SECONDS = 20.0
FOLLOW_SECONDS = 0.1  # between two tellings of where the players are
ROUNDS = 3  # of questions


@dataclass(slots=True)
class Watched:
    """How some visitors fared."""

    behind_seconds: float = 0.0  # that the slowest reader was behind its player at the end
    dropped: int = 0  # frames
    grown_bytes: int = 0  # of the process
    first_word: list[float] = field(default_factory=list)  # seconds, of every question


def measure(settings: Settings) -> Part:
    """One visitor alone, then twenty, with the model that was named."""
    video = videos.prepared(settings, height=360, loops=2)
    model = load_model(settings.model)
    watch_together(model, video, 1, played_seconds=2.0)  # what is loaded late is loaded now
    found = {}
    for visitors in (1, VISITORS):
        settings.say(f"visitors: {visitors}")
        found[visitors] = watch_together(model, video, visitors)
    one, many = found[1], found[VISITORS]
    return Part(
        {
            "visitors": float(VISITORS),
            "visitors_first_word_seconds_of_one": median(one.first_word),
            "visitors_first_word_seconds_median": median(many.first_word),
            "visitors_first_word_seconds_p95": p95(many.first_word),
            "visitors_first_word_ratio": median(many.first_word) / median(one.first_word),
            "visitors_behind_seconds": many.behind_seconds,
            "visitors_frames_dropped": float(many.dropped),
            "visitors_mib_grown": many.grown_bytes / 2**20,
            "visitors_threads_left": float(session_threads()),
        }
    )


def watch_together(
    model: Model, video: Path, visitors: int, *, played_seconds: float = PLAYED_SECONDS, rounds: int = ROUNDS
) -> Watched:
    """Let so many visitors watch a video at its own speed, and then ask at the same time, while it plays on."""
    watched = Watched()
    before = psutil.Process().memory_info().rss
    with ExitStack() as stack:
        sessions = [
            stack.enter_context(closing(LiveSession(StreamChat(model, sessions=visitors), open_video(video))))
            for _ in range(visitors)
        ]
        for session in sessions:
            session.start()
        _play(sessions, played_seconds)
        stats = [session.stats() for session in sessions]
        watched.behind_seconds = max(0.0, played_seconds - min(one.position_seconds for one in stats))
        watched.dropped = sum(one.frames_dropped for one in stats)
        for number in range(rounds):
            watched.first_word += _ask_together(sessions, number)
        watched.grown_bytes = psutil.Process().memory_info().rss - before
    return watched


def _play(sessions: Sequence[LiveSession], seconds: float) -> None:
    began = time.monotonic()
    while (now := time.monotonic() - began) < seconds:
        for session in sessions:
            session.play_until(now)
        time.sleep(FOLLOW_SECONDS)
    for session in sessions:
        session.play_until(seconds)


def _ask_together(sessions: Sequence[LiveSession], number: int) -> list[float]:
    """Seconds until each visitor's first word, all having asked at once; whole answers are waited for."""
    waits: list[float] = []
    ready = threading.Barrier(len(sessions))

    def ask(session: LiveSession, question: str) -> None:
        ready.wait()
        started = time.perf_counter()
        pieces = iter(session.ask(question))
        next(pieces, None)
        waits.append(time.perf_counter() - started)
        for _ in pieces:
            pass

    threads = [
        threading.Thread(target=ask, args=(session, QUESTIONS[(number + place) % len(QUESTIONS)]))
        for place, session in enumerate(sessions)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return waits
