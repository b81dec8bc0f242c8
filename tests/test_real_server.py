"""The remote engine with a real server over HTTP: `transformers serve`, with a tiny model of random weights."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator

import numpy as np
import pytest
import server_process
import tiny_checkpoints
from test_openai import ask, context, noise, visual

from streamchat.errors import StreamChatError
from streamchat.models import load_model
from streamchat.models.base import Message
from streamchat.models.openai import OpenAIModel
from streamchat.models.scheduler import NEVER
from streamchat.types import Clip, Frame, Span
from streamchat.video import images


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`transformers serve` with a tiny model that sees; the argument for openai: that names it."""
    folder = tiny_checkpoints.build_for_a_server(tmp_path_factory.mktemp("llava"))
    home = tmp_path_factory.mktemp("serve")
    command = [sys.executable, "-m", "transformers.cli.transformers", "serve", str(folder), "--device", "cpu"]
    environment = {"HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(home)}  # it lists what the cache holds
    with server_process.running(command, home / "log", environment=environment, start_seconds=120) as url:
        yield f"{url}/v1#{folder}"


class TestRealServer:
    """Any real server whose model has random weights: what it says means nothing, but hangs on the pictures."""

    @functools.cached_property
    def pictures(self) -> list[bytes]:
        return [images.jpeg(noise(0)), images.jpeg(np.zeros((48, 64, 3), np.uint8))]

    def say(self, model: OpenAIModel, *keyframes: bytes) -> str:
        parts = [{"type": "image"} for _ in keyframes] + [{"type": "text", "text": "what is on the table ?"}]
        messages: list[Message] = [{"role": "system", "content": "you see"}, {"role": "user", "content": parts}]
        return "".join(ask(model, messages, tuple(visual(0, keyframe) for keyframe in keyframes), length=12))

    def test_what_it_says_hangs_on_the_pictures_and_their_order(self, served: str) -> None:
        model = load_model(f"openai:{served}")
        assert isinstance(model, OpenAIModel)
        first, second = self.pictures
        said = [self.say(model, first, second), self.say(model, second, first), self.say(model, first), self.say(model)]
        assert all(said)
        assert len(set(said)) == len(said)
        assert self.say(model, first, second) == said[0]

    def test_clips_and_questions_get_replies(self, served: str) -> None:
        model = load_model(f"openai:{served}")
        frames = tuple(Frame(noise(number), float(number), number) for number in range(3))
        clip = Clip(model.encode(frames), frames, Span(0, 2))
        caption = model.caption(clip, NEVER)
        assert caption.text
        assert model.summarize([caption, caption], NEVER).text
        recent = (visual(1, self.pictures[0]), visual(2, self.pictures[1]))
        assert "".join(str(piece) for piece in model.answer(context(recent=recent, max_new_tokens=8), NEVER))

    def test_closing_in_the_middle_leaves_it_ready_for_the_next(self, served: str) -> None:
        model = load_model(f"openai:{served}")
        assert isinstance(model, OpenAIModel)
        pieces = ask(model, length=500)
        next(pieces)
        pieces.close()  # type: ignore[attr-defined]
        assert self.say(model, self.pictures[0])

    def test_a_model_that_it_does_not_serve_is_an_error(self, served: str) -> None:
        model = load_model(f"openai:{served.partition('#')[0]}#nobody/knows")
        assert isinstance(model, OpenAIModel)
        with pytest.raises(StreamChatError, match=r"400: .*nobody/knows"):
            list(ask(model))
