"""How long a question waits: until its context is there (RPD), and until the first word; idle, and at full speed.

Each round has a session of its own. It takes in the beginning of the film and captions all of it; then it is idle, and
some questions are asked; then the rest of the film is taken in and captioned as fast as can be, and the same questions
are asked again. So both kinds are asked in turn, about memories of the same kind.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from evaluation.speed import films
from evaluation.speed.measuring import Part, Series, Settings, median, p95
from streamchat.engine import StreamChat
from streamchat.models import load_model, load_random_model
from streamchat.models.base import Model
from streamchat.pipeline import LiveSession
from streamchat.video import open_video

QUESTIONS = (
    "What is shown right now?",
    "How many people are there?",
    "What was to be seen at the beginning?",
    "Which colour is the background?",
    "Is there a dog?",
)
ROUNDS = 2
ASKED = 10  # questions of each kind in a round
BEGINNING_SECONDS = 16.0
LOOPS = 15  # of the made film, so that it does not end while questions are asked
PAUSE_SECONDS = 0.2  # between two questions
TINY = "tiny"
DEADLINE_SECONDS = 120.0  # to take in and caption the beginning


@dataclass(slots=True)
class Waits:
    """Seconds that questions waited, in the order asked."""

    context: list[float] = field(default_factory=list)
    first_token: list[float] = field(default_factory=list)


def measure(settings: Settings) -> Part:
    """Ask the model that was named, and a small one that speaks, with random weights."""
    film = settings.video or films.make(settings.folder / "answering.mp4", height=720, loops=LOOPS)
    models = {"": load_model(settings.model), "tiny_": load_random_model(TINY)}
    figures: dict[str, float] = {}
    series = []
    for prefix, model in models.items():
        settings.say(f"answering: {model.name}")
        idle, busy, threads_left = ask_around(model, film)
        for state, waits in (("idle", idle), ("busy", busy)):
            figures |= {
                f"{prefix}rpd_seconds_{state}_median": median(waits.context),
                f"{prefix}rpd_seconds_{state}_p95": p95(waits.context),
                f"{prefix}first_token_seconds_{state}_median": median(waits.first_token),
                f"{prefix}first_token_seconds_{state}_p95": p95(waits.first_token),
            }
            points = [(float(number), seconds) for number, seconds in enumerate(waits.first_token)]
            series.append(Series("First token", f"{prefix}{state}", "question", "seconds", points))
        figures[f"{prefix}first_token_ratio"] = median(busy.first_token) / median(idle.first_token)
        figures[f"{prefix}threads_left"] = threads_left
    figures["rpd_seconds_p95"] = figures["rpd_seconds_busy_p95"]
    figures["first_token_seconds_p95"] = figures["first_token_seconds_busy_p95"]
    figures["first_token_busy_over_idle"] = figures["tiny_first_token_ratio"]
    return Part(figures, series)


def ask_around(model: Model, film: Path, *, rounds: int = ROUNDS, asked: int = ASKED) -> tuple[Waits, Waits, int]:
    """The waits of idle and of busy questions, and how many threads the sessions left behind."""
    idle, busy = Waits(), Waits()
    for number in range(rounds):
        session = LiveSession(StreamChat(model), open_video(film))
        session.start()
        try:
            _settle(session)
            _ask(session, _turned(number, 1), Waits(), until_finished=False)  # the first question only warms up
            _ask(session, _turned(number, asked), idle, until_finished=False)
            session.play_until(math.inf)
            _ask(session, _turned(number, asked), busy, until_finished=True)
        finally:
            session.close()
    return idle, busy, sum(thread.name.startswith("streamchat-") for thread in threading.enumerate())


def _settle(session: LiveSession) -> None:
    """Take in the beginning of the film, and wait until all of it is captioned."""
    session.play_until(BEGINNING_SECONDS)
    deadline = time.monotonic() + DEADLINE_SECONDS
    settled, frames_seen = 0, -1
    while settled < 3 and time.monotonic() < deadline:
        time.sleep(PAUSE_SECONDS)
        stats = session.stats()
        settled = settled + 1 if stats.frames_seen == frames_seen and not stats.captions_waiting else 0
        frames_seen = stats.frames_seen


def _turned(number: int, asked: int) -> Sequence[str]:
    return [QUESTIONS[(number + one) % len(QUESTIONS)] for one in range(asked)]


def _ask(session: LiveSession, questions: Sequence[str], waits: Waits, *, until_finished: bool) -> None:
    for question in questions:
        time.sleep(PAUSE_SECONDS)
        if until_finished and session.stats().finished:
            return
        started = time.perf_counter()
        answer = session.ask(question)
        waits.context.append(time.perf_counter() - started)
        next(iter(answer), None)
        waits.first_token.append(time.perf_counter() - started)
        answer.close()
