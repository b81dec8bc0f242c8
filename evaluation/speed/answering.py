"""How long a question waits: until its context is there (RPD), and until the first word; idle, playing, and busy.

Each round has a session of its own. It ingests the beginning of the video and captions all of it; then it is idle, and
some questions are asked; then the video plays on, and the same questions are asked; then the rest of it is ingested and
captioned as fast as can be, and once the first captions of that are made they are asked again. So all are asked about
memories of one kind.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from evaluation.speed import videos
from evaluation.speed.measuring import Part, Series, Settings, median, p95, session_threads
from streamchat.errors import StreamChatError
from streamchat.models import load_model, load_random_model
from streamchat.models.base import Model
from streamchat.session.engine import StreamChat
from streamchat.session.live import LiveSession
from streamchat.video.file import open_video

QUESTIONS = (
    "What is shown right now?",
    "How many people are there?",
    "What was to be seen at the beginning?",
    "Which color is the background?",
    "Is there a dog?",
)
ROUNDS = 2
ASKED = 10  # questions of each kind in a round
BEGINNING_SECONDS = 60.0  # after which a prompt is about as long as it gets
LOOPS = 20  # of the video, so that it does not end while questions are asked
STATES = ("idle", "playing", "busy")
PAUSE_SECONDS = 0.2  # between two questions
FOLLOW_SECONDS = 0.05  # between two tellings of where the player is
TINY = "tiny"
DEADLINE_SECONDS = 120.0  # to ingest and caption the beginning, or to make the first captions at full speed
FIRST_CAPTIONS = 2  # made at full speed before the first question


@dataclass(slots=True)
class Waits:
    """Seconds that questions waited, in the order asked."""

    context: list[float] = field(default_factory=list)
    first_token: list[float] = field(default_factory=list)
    whole: list[float] = field(default_factory=list)  # until the last word, of a model that says all at once


def measure(settings: Settings) -> Part:
    """Ask the model that was named, and a small one that speaks, with random weights."""
    video = videos.prepared(settings, height=720, loops=LOOPS)
    models = {"": load_model(settings.model), "tiny_": load_random_model(TINY)}
    figures: dict[str, float] = {}
    series = []
    for prefix, model in models.items():
        settings.say(f"answering: {model.name}")
        found, captions, threads_left = ask_around(model, video)
        for state, waits in found.items():
            figures |= {
                f"{prefix}rpd_seconds_{state}_median": median(waits.context),
                f"{prefix}rpd_seconds_{state}_p95": p95(waits.context),
                f"{prefix}first_token_seconds_{state}_median": median(waits.first_token),
                f"{prefix}first_token_seconds_{state}_p95": p95(waits.first_token),
            }
            if waits.whole:
                figures[f"{prefix}answer_seconds_{state}_p95"] = p95(waits.whole)
            points = [(float(number), seconds) for number, seconds in enumerate(waits.first_token)]
            series.append(Series(f"First token: {model.name}", state, "question", "seconds", points))
        figures[f"{prefix}first_token_ratio"] = median(found["busy"].first_token) / median(found["idle"].first_token)
        figures[f"{prefix}captions_while_busy"] = captions
        figures[f"{prefix}threads_left"] = threads_left
    figures["rpd_seconds_p95"] = figures["rpd_seconds_busy_p95"]
    figures["first_token_seconds_p95"] = figures["first_token_seconds_busy_p95"]
    figures["first_token_busy_over_idle"] = figures["tiny_first_token_ratio"]
    return Part(figures, series)


def ask_around(
    model: Model, video: Path, *, rounds: int = ROUNDS, asked: int = ASKED
) -> tuple[dict[str, Waits], int, int]:
    """The waits of questions in each state, captions made while busy, and threads that the sessions left behind."""
    found = {state: Waits() for state in STATES}
    captions = 0
    for number in range(rounds):
        session = LiveSession(StreamChat(model), open_video(video))
        session.start()
        try:
            _settle(session)
            _ask(session, _turned(number, 1), Waits(), lambda: None)  # the first question only warms up
            _ask(session, _turned(number, asked), found["idle"], lambda: None)
            _ask(session, _turned(number, asked), found["playing"], _player(session))
            captioned = _captioned(session)
            _begin_full_speed(session)
            _ask(session, _turned(number, asked), found["busy"], lambda: None, until_finished=True)
            captions += _captioned(session) - captioned
        finally:
            session.close()
    return found, captions, session_threads()


def _settle(session: LiveSession) -> None:
    """Ingest the beginning of the video, and wait until all of it is captioned."""
    session.play_until(BEGINNING_SECONDS)
    seen: deque[int] = deque(maxlen=3)  # frames; as long as they grow, the reader is on its way

    def settled() -> bool:
        stats = session.stats()
        seen.append(stats.frames_seen)
        return len(seen) == seen.maxlen and len(set(seen)) == 1 and not stats.captions_pending

    _wait(settled, "the captions of the beginning")


def _begin_full_speed(session: LiveSession) -> None:
    """Ingest the rest of the video, and wait until the first of its captions are made."""
    captioned = _captioned(session)
    session.play_until(math.inf)
    _wait(lambda: _captioned(session) >= captioned + FIRST_CAPTIONS, "the first captions at full speed")


def _captioned(session: LiveSession) -> int:
    stats = session.stats()
    return sum(stats.nodes_by_level) - stats.captions_pending


def _wait(reached: Callable[[], bool], what: str) -> None:
    """Wait until something is so; StreamChatError after a long time."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not reached():
        if time.monotonic() > deadline:
            raise StreamChatError(f"{what} took more than {DEADLINE_SECONDS:.0f} s: measure when less else runs here")
        time.sleep(PAUSE_SECONDS)


def _player(session: LiveSession) -> Callable[[], None]:
    """Lets a video play on; to be called again and again."""
    began = time.monotonic()
    return lambda: session.play_until(BEGINNING_SECONDS + time.monotonic() - began)


def _turned(number: int, asked: int) -> Sequence[str]:
    return [QUESTIONS[(number + one) % len(QUESTIONS)] for one in range(asked)]


def _ask(
    session: LiveSession,
    questions: Sequence[str],
    waits: Waits,
    follow: Callable[[], None],
    *,
    until_finished: bool = False,
) -> None:
    for question in questions:
        for _ in range(round(PAUSE_SECONDS / FOLLOW_SECONDS)):
            time.sleep(FOLLOW_SECONDS)
            follow()
        if until_finished and session.stats().finished:
            return
        started = time.perf_counter()
        answer = session.ask(question)
        waits.context.append(time.perf_counter() - started)
        pieces = iter(answer)
        next(pieces, None)
        waits.first_token.append(time.perf_counter() - started)
        if session.engine.model.prompt is not None:  # a reply of so many tokens adds nothing
            answer.close()
        else:
            deque(pieces, maxlen=0)
            waits.whole.append(time.perf_counter() - started)
