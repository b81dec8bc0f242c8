"""What a server takes in one prompt is learned from its own words, once."""

from __future__ import annotations

import openai_server
import pytest
from conftest import WordEmbedder
from openai_server import StubServer, refusal, say, serving
from test_openai import connect, encoder, noise, quick

from streamchat.errors import StreamChatError
from streamchat.options import Options
from streamchat.session.engine import StreamChat
from streamchat.types import Frame

__all__ = ["encoder", "quick"]  # fixtures


def limited(pictures: int, tokens: int = 10**6, each: int = 1000) -> openai_server.Step:
    """A server that takes so many pictures in a prompt, and so many tokens; vLLM's words."""

    def step(exchange: openai_server.Exchange) -> None:
        sent = len(exchange.server.requests[-1].pictures)
        if sent > pictures:
            words = f"At most {pictures} image(s) may be provided in one prompt. (parameter=image)"
            refusal(400, words)(exchange)
        elif each * sent > tokens:
            words = f"Input length ({each * sent}) exceeds model's maximum context length ({tokens})."
            refusal(400, words)(exchange)
        else:
            say("A dog ", "runs.")(exchange)

    return step


class TestLearnedLimits:
    def watched(self, server: StubServer, embedder: WordEmbedder, **options: object) -> StreamChat:
        chosen = Options(**({"chunk_frames": 4, "clusters": 4} | options))  # type: ignore[arg-type]
        chat = StreamChat(connect(server), chosen, embedder)
        for number in range(24):
            chat.push(Frame(noise(number), float(number), number))
        return chat

    def test_as_many_pictures_are_sent_as_the_options_say(self, embedder: WordEmbedder) -> None:
        for most in (16, 7):
            with serving(say("A dog.")) as server:
                answer = self.watched(server, embedder, max_pictures=most).ask("What is there?")
                assert len(server.requests[-1].pictures) == len(answer.given.pictures) <= most
                assert len(answer.given.pictures) > most / 2

    def test_a_refusal_for_too_many_pictures_is_learned_from_once(self, embedder: WordEmbedder) -> None:
        with serving(limited(pictures=3)) as server:
            chat = self.watched(server, embedder)
            refused = sum(len(asked.pictures) > 3 for asked in server.requests)
            assert refused == 1, "the first caption was refused, and no other"
            assert {len(asked.pictures) for asked in server.requests[1:] if asked.pictures} == {3}
            answer = chat.ask("What is there?")
            assert answer.text == "A dog runs."
            assert len(answer.given.pictures) == len(server.requests[-1].pictures) == 3
            assert answer.given.pictures[-1].start == 23.0

    def test_a_question_that_is_the_first_to_be_refused_is_asked_again(self, embedder: WordEmbedder) -> None:
        with serving(limited(pictures=6)) as server:
            answer = self.watched(server, embedder).ask("What is there?")
            assert answer.text == "A dog runs."
            assert len(answer.given.pictures) == 6

    @pytest.mark.parametrize("each", [500, 1000, 2500])
    def test_a_prompt_that_the_server_finds_too_long_is_made_shorter(self, each: int, embedder: WordEmbedder) -> None:
        with serving(limited(pictures=99, tokens=8192, each=each)) as server:
            answer = self.watched(server, embedder).ask("What is there?")
            assert answer.text == "A dog runs."
            assert 1 <= len(answer.given.pictures) <= 8192 / each

    def test_what_no_smaller_prompt_can_mend_is_not_asked_again(self, embedder: WordEmbedder) -> None:
        with serving(say("A dog."), refusal(400, "this model takes no pictures")) as server:
            chat = StreamChat(connect(server), Options(), embedder)
            chat.push(Frame(noise(1), 0.0, 0))
            list(chat.stream_answer("What?"))
            with pytest.raises(StreamChatError, match="takes no pictures"):
                list(chat.stream_answer("What?"))
            assert len(server.requests) == 2
