"""A server is asked many things at once: questions side by side, captions in their half, never before a question."""

from __future__ import annotations

import threading
from collections.abc import Callable

import openai_server
import pytest
from conftest import WordEmbedder
from openai_server import NAME, held, say, serving
from test_openai import connect, context, encoder, noise, quick

from streamchat.errors import InputError
from streamchat.models import Model, load_model
from streamchat.models.scheduler import Priority
from streamchat.types import Caption, Clip, Frame, Span

__all__ = ["encoder", "quick"]  # fixtures
TOGETHER = 8


def run(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def answered(model: Model) -> str:
    """The answer to a question, as whoever asks goes about it."""
    scheduler = model.scheduler(Priority.QUESTION)
    return "".join(map(str, scheduler.stream(lambda token: model.answer(context(), token), Priority.QUESTION)))


def captioned(model: Model, clip: Clip) -> Caption:
    """The caption of a clip, as a session makes it."""
    with model.scheduler(Priority.CAPTION).slot(Priority.CAPTION) as token:
        return model.caption(clip, token)


def test_eight_questions_are_all_sent_before_the_first_is_answered() -> None:
    release = threading.Event()
    with serving(held(release, "A dog.")) as server:
        model = connect(server)
        answers: list[str] = []
        threads = [run(lambda: answers.append(answered(model))) for _ in range(TOGETHER)]
        assert server.wait_for(TOGETHER)
        release.set()
        for thread in threads:
            thread.join(openai_server.WAIT_SECONDS)
    assert answers == ["A dog."] * TOGETHER


def test_a_question_goes_out_while_captions_are_waited_for() -> None:
    release = threading.Event()
    frames = tuple(Frame(noise(number), float(number), number) for number in range(2))
    with serving(*[held(release, "Seen.")] * 4, say("A dog.")) as server:
        model = connect(server)
        clip = Clip(model.encode(frames), frames, Span(0, 2))
        captions = [run(lambda: captioned(model, clip)) for _ in range(TOGETHER)]
        assert server.wait_for(4)
        assert answered(model) == "A dog."
        assert len(server.requests) == 5, "four captions were under way, and four waited"
        release.set()
        for thread in captions:
            thread.join(openai_server.WAIT_SECONDS)
        assert len(server.requests) == TOGETHER + 1


def test_how_many_at_once_can_be_said(embedder: WordEmbedder) -> None:
    with serving() as server:
        model = load_model(f"openai:{server.url}#{NAME}", concurrency=2)
        assert model.scheduler(Priority.QUESTION).capacity == 2
    with pytest.raises(InputError, match="1 or more, got 0"):
        load_model("openai:http://127.0.0.1:9#x", concurrency=0)
    with pytest.raises(InputError, match="is for a model server"):
        load_model("fake", concurrency=4)
