"""Models and embedders that give what they should not: nothing unsound enters the memory, and what is saved loads."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Generator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from conftest import WordEmbedder, picture
from test_live import OPTIONS, WAIT_SECONDS, session_of

from streamchat.embedding import TextEmbedder
from streamchat.errors import StreamChatError
from streamchat.memory.forest import every_node
from streamchat.models.fake import FakeModel
from streamchat.models.scheduler import CancelToken
from streamchat.session import backoff
from streamchat.session.checked import MOST_CAPTION_CHARACTERS, CheckedEmbedder
from streamchat.session.engine import StreamChat
from streamchat.session.live import LiveSession
from streamchat.session.stats import Stats
from streamchat.session.storage import load_session, save_session
from streamchat.types import Caption, Clip, Context, Evidence, Frame
from streamchat.video.camera import PushSource

SECONDS = 12
NAN, INFINITE = float("nan"), float("inf")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff, "FIRST_PAUSE_SECONDS", 0.001)
    monkeypatch.setattr(backoff, "MOST_PAUSE_SECONDS", 0.002)


class Saying(FakeModel):
    """Gives what a test wants, at its first calls or always."""

    def __init__(self, what: Any, times: float = 1) -> None:
        super().__init__()
        self.what, self.left = what, times

    def given(self, sound: Any) -> Any:
        self.left -= 1
        return self.what(sound) if self.left >= 0 else sound


class Captioning(Saying):
    def caption(self, clip: Clip, cancel: CancelToken) -> Caption:
        return self.given(super().caption(clip, cancel))  # type: ignore[no-any-return]


class Encoding(Saying):
    def encode(self, frames: Sequence[Frame]) -> torch.Tensor:
        return self.given(super().encode(frames))  # type: ignore[no-any-return]


class Answering(Saying):
    def answer(self, context: Context, cancel: CancelToken) -> Generator[str | Evidence, None, None]:
        yield from self.given(None)


class Embedding(WordEmbedder):
    def __init__(self, what: Any, times: float = 1) -> None:
        super().__init__()
        self.what, self.left, self.sound_first = what, times, 1

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        vectors = super().embed(texts)
        self.sound_first -= 1
        if self.sound_first >= 0:
            return vectors
        self.left -= 1
        return self.what(vectors) if self.left >= 0 else vectors  # type: ignore[no-any-return]


def streamed(model: FakeModel, embedder: TextEmbedder | None = None, *, ended: bool = True) -> LiveSession:
    """A session whose stream is over, with all its captions if there will be any."""
    source = PushSource()
    session = LiveSession(StreamChat(model, OPTIONS, embedder or WordEmbedder()), source)
    session.start()
    for second in range(SECONDS):
        source.push(picture(20 * second, 48, 64), float(second))
        assert session.wait_until(lambda stats, second=second: came_through(session, stats, second), WAIT_SECONDS)  # type: ignore[misc]
    if ended:
        source.close()
        assert session.wait_until(lambda stats: stats.finished and not stats.captions_pending, WAIT_SECONDS)
    return session


def came_through(session: LiveSession, stats: Stats, seconds: float) -> bool:
    """Whether all frames up to a time are in the memory, or were given up."""
    remembered = session.engine.memory.state().frames + stats.frames_dropped
    return stats.position_seconds == seconds and remembered == stats.frames_kept


def reopened(session: LiveSession) -> StreamChat:
    """The chat, saved and loaded."""
    file = io.BytesIO()
    save_session(session.engine, file)
    return load_session(file, FakeModel(), WordEmbedder())[0]


def captions(chat: StreamChat) -> list[Caption]:
    return [node.caption for node in every_node(chat.memory.snapshot(math.inf).roots) if node.caption is not None]


@pytest.mark.parametrize(
    "what",
    [
        lambda _: None,
        lambda _: "a text that is no caption",
        lambda _: Caption(""),
        lambda _: Caption(" \n "),
        lambda _: Caption(None),  # type: ignore[arg-type]
        lambda _: Caption("seen", data=[NAN]),
        lambda _: Caption("seen", data="x" * 2**21),
        lambda _: Caption("seen", embedding=np.full(1024, NAN, np.float32)),
        lambda _: Caption("seen", embedding=np.zeros(1024, np.float32)),
        lambda _: Caption("seen", embedding=np.ones(7, np.float32)),
        lambda _: Caption("seen", embedding=np.ones((2, 512), np.float32)),
    ],
)
def test_a_caption_that_is_none_is_asked_for_again(what: Callable[[Caption], Any]) -> None:
    session = streamed(Captioning(what, times=3))
    again = reopened(session)
    assert captions(again)
    assert all("pictures of brightness" in caption.text for caption in captions(again))
    session.close()


def test_a_model_that_never_captions_is_said_and_its_stream_goes_on() -> None:
    session = streamed(Captioning(lambda _: Caption(""), times=math.inf), ended=False)
    assert session.wait_until(lambda stats: "gave an empty caption" in (stats.degraded or ""), WAIT_SECONDS)
    assert "".join(session.ask("What is shown?"))
    assert captions(reopened(session)) == []
    session.close()


def test_a_caption_of_a_megabyte_is_cut_and_half_a_character_is_marked() -> None:
    session = streamed(Captioning(lambda _: Caption("a dog \ud83d " + "and a cat " * 100_000), times=math.inf))
    longest = max(captions(reopened(session)), key=lambda caption: len(caption.text))
    assert len(longest.text) == MOST_CAPTION_CHARACTERS
    assert longest.text.startswith("a dog \ufffd and a cat")
    session.close()


def test_a_vector_of_another_length_is_made_one() -> None:
    checked = CheckedEmbedder(WordEmbedder())
    vector = checked.checked(np.ones(1024, np.float64))
    assert vector.dtype == np.float32
    assert vector.tolist() == pytest.approx([1 / 32] * 1024)


@pytest.mark.parametrize("number", [NAN, INFINITE, -INFINITE, 1e30])
def test_frames_with_unsound_tokens_are_left_out_and_counted(number: float) -> None:
    def spoilt(tokens: torch.Tensor) -> torch.Tensor:
        tokens[0, 1, 2] = number
        return tokens

    session = streamed(Encoding(spoilt, times=2))
    stats = session.stats()
    assert stats.frames_dropped == 2
    assert reopened(session).memory.state().frames == stats.frames_kept - 2
    session.close()


@pytest.mark.parametrize(
    "what",
    [
        lambda _: None,
        lambda tokens: tokens.numpy(),
        lambda tokens: tokens[0],
        lambda tokens: tokens[:, :0],
        lambda tokens: tokens[:, :, :2],
        lambda tokens: torch.cat([tokens, tokens], 1),
        lambda tokens: torch.cat([tokens, tokens]),
        lambda tokens: tokens.int(),
    ],
)
def test_what_is_no_token_map_is_asked_for_again(what: Callable[[torch.Tensor], Any]) -> None:
    session = streamed(Encoding(what, times=3))
    stats = session.stats()
    assert stats.frames_dropped == 0
    assert reopened(session).memory.state().frames == stats.frames_kept
    session.close()


def test_fewer_tokens_in_the_middle_of_a_stream_are_dropped_and_the_stream_goes_on() -> None:
    model = Encoding(lambda tokens: tokens[:, :2], times=0)
    session = streamed(model, ended=False)
    model.left = math.inf
    source = session._source
    assert isinstance(source, PushSource)
    source.push(picture(250, 48, 64), 20.0)
    assert session.wait_until(lambda stats: stats.frames_dropped == 1, WAIT_SECONDS)
    model.left = 0
    source.push(picture(10, 48, 64), 30.0)
    source.close()
    assert session.wait_until(lambda stats: stats.finished and not stats.captions_pending, WAIT_SECONDS)
    assert reopened(session).memory.state().kept[-1].pts_seconds == 30.0
    session.close()


@pytest.mark.parametrize(
    "what",
    [
        lambda vectors: vectors * NAN,
        lambda vectors: vectors * 0,
        lambda vectors: vectors[:, :7],
        lambda vectors: vectors[:0],
        lambda vectors: vectors[0],
        lambda vectors: np.full_like(vectors, INFINITE),
    ],
)
def test_an_embedder_that_gives_unsound_vectors_is_asked_again(what: Callable[[np.ndarray], np.ndarray]) -> None:
    session = streamed(FakeModel(), Embedding(what, times=2))
    assert captions(reopened(session))
    session.close()


def test_an_embedder_that_fails_after_an_answer_loses_no_answer() -> None:
    embedder = Embedding(lambda vectors: vectors * NAN, times=0)
    session = streamed(FakeModel(), embedder)
    answer = session.ask("What is shown?")
    embedder.left = math.inf
    assert "What is shown?" in "".join(answer)
    assert answer.answer.text
    with pytest.raises(StreamChatError, match="vector of a text holds"):
        session.ask("And now?")
    embedder.left = 0
    assert len(reopened(session).memory.dialogue) == 0
    session.close()


def test_an_answer_has_its_length_and_whole_characters() -> None:
    def endless(_: object) -> Generator[str | Evidence, None, None]:
        yield "a \ud83d"
        yield "\ude00 and \udc00 "
        while True:
            yield "dog " * 1000

    session = streamed(Answering(endless))
    answer = session.ask("What is shown?")
    text = "".join(answer)
    assert text.startswith("a \U0001f600 and \ufffd dog dog")
    assert len(text) == 16 * session.engine.options.max_new_tokens
    assert json.dumps(answer.answer.text, ensure_ascii=False).encode()
    assert len(reopened(session).memory.dialogue) == 1
    session.close()


def test_an_answer_in_something_else_than_text_is_an_error() -> None:
    session = streamed(Answering(lambda _: [b"bytes"]))
    with pytest.raises(StreamChatError, match="gave bytes as a piece of an answer"):
        list(session.ask("What is shown?"))
    session.close()


def test_the_reason_of_an_alert_is_a_few_words() -> None:
    class Alerting(FakeModel):
        def check_alert(self, question: str, clip: Clip, caption: Caption, cancel: CancelToken) -> str | None:
            return "because \udc00 " * 1000

    source = PushSource()
    session = session_of(source, Alerting())
    session.engine.alerts.set(["a dog"])
    session.start()
    for second in range(SECONDS):
        source.push(picture(20 * second, 48, 64), float(second))
    source.close()
    assert session.wait_until(lambda stats: stats.finished and not stats.captions_pending, WAIT_SECONDS)
    (hit,) = session.engine.alerts.take_hits()
    assert len(hit.reason) == 300
    assert hit.reason.startswith("because \ufffd because")
    session.close()
