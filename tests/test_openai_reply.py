"""What servers send besides plain text, and what they refuse: thoughts, parts, pings, nothing, other parameters."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai_server import Exchange, Step, chunk, events, refusal, say, serving
from test_openai import NAME, QUESTION, ask, encoder, quick

from streamchat.errors import StreamChatError
from streamchat.models import load_model, openai
from streamchat.models.openai import OpenAIModel, reply
from streamchat.models.openai.reply import MARKS, Thoughts

__all__ = ["encoder", "quick"]  # fixtures


NAMES = st.sampled_from(["choices", "delta", "content", "finish_reason", "error", "text", "type"])
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
)


def connected(url: str, **settings: Any) -> OpenAIModel:
    """A model of which no reply was seen yet."""
    model = load_model(f"openai:{url}#{NAME}", **settings)
    assert isinstance(model, OpenAIModel)
    return model


def replies(*steps: Step, asked: int = 1, **settings: Any) -> tuple[list[str], list[dict[str, Any]]]:
    """The whole replies to so many questions, and what was sent for them."""
    with serving(*steps) as server:
        model = connected(server.url, **settings)
        texts = ["".join(ask(model)) for _ in range(asked)]
        return texts, [one.body for one in server.requests]


def thought(text: str) -> str:
    return chunk({"reasoning_content": text})


class TestThoughts:
    @pytest.mark.parametrize(("opening", "closing"), MARKS)
    def test_between_marks_are_no_answer(self, opening: str, closing: str) -> None:
        text = f"{opening}Let me look. A cat?{closing}\n\nA dog."
        assert replies(say(*text))[0] == ["A dog."]
        assert replies(say(text))[0] == ["A dog."]

    def test_without_an_opening_mark_are_none_either(self) -> None:
        texts, _ = replies(say("Let me look. ", "A cat?</thi", "nk>\n\nA dog."), say("Hm.</think>A", " bird."), asked=2)
        assert texts == ["A dog.", "A bird."]

    def test_in_a_field_of_their_own_are_none_either(self) -> None:
        texts, _ = replies(events(thought("A cat?"), chunk({"content": "A dog."}), chunk({}, "stop")))
        assert texts == ["A dog."]

    def test_are_looked_for_in_the_first_reply_and_later_ones_stream(self) -> None:
        with serving(say("A ", "dog."), say("A ", "bird."), say("Hm</think>", "A cat.")) as server:
            model = connected(server.url)
            assert list(ask(model)) == ["A dog."]
            assert list(ask(model)) == ["A ", "bird."]

    def test_make_replies_longer(self) -> None:
        long = openai.THINKING_TOKENS
        _, sent = replies(say("<think>A cat?</think>A dog."), say("A bird."), asked=2)
        assert [body["max_tokens"] for body in sent] == [16, 16 + long]

    def test_that_use_up_the_length_are_given_more_once(self) -> None:
        texts, sent = replies(say("<think>A cat?", finish="length"), say("<think>A cat?</think>A dog."))
        assert texts == ["A dog."]
        assert [body["max_tokens"] for body in sent] == [16, 16 + openai.THINKING_TOKENS]
        with pytest.raises(StreamChatError, match=r"before its first word: turn the model's thinking off"):
            replies(say("<think>A", finish="length"), say("<think>B", finish="length"))

    def test_can_be_turned_off(self) -> None:
        _, (sent,) = replies(say("A dog."), thinking=False)
        assert sent["chat_template_kwargs"] == {"enable_thinking": False}
        assert sent["reasoning_effort"] == "none"
        assert "chat_template_kwargs" not in replies(say("A dog."))[1][0]

    @given(st.lists(st.text(alphabet="<>/thinkTHINK[] a◁▷", max_size=12), max_size=8), st.booleans())
    def test_no_text_is_lost_but_thoughts_however_it_is_cut(self, pieces: list[str], hold: bool) -> None:
        cut, whole = Thoughts(hold=hold), Thoughts(hold=hold)
        given_out = "".join(cut.take(piece) for piece in pieces) + cut.rest()
        at_once = whole.take("".join(pieces)) + whole.rest()
        assert cut.found == whole.found
        if not cut.found:
            assert given_out == at_once == "".join(pieces)
        if not cut.unopened or hold:
            assert given_out.split() == at_once.split()


class TestParameters:
    @pytest.mark.parametrize(
        ("report", "left"),
        [
            ("Unsupported parameter: 'seed' is not supported with this model.", "seed"),
            (
                "'temperature' does not support 0.0 with this model. Only the default (1) value is supported.",
                "temperature",
            ),
            ("extra fields not permitted: seed", "seed"),
        ],
    )
    def test_that_are_refused_are_left_out_from_then_on(self, report: str, left: str) -> None:
        texts, sent = replies(refusal(400, report), say("A dog."), say("A bird."), asked=2)
        assert texts == ["A dog.", "A bird."]
        assert [left in body for body in sent] == [True, False, False]

    def test_the_length_has_two_names(self) -> None:
        report = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens'."
        _, sent = replies(refusal(400, report), say("A dog."), say("A bird."), asked=2)
        lengths = [(body.get("max_tokens"), body.get("max_completion_tokens")) for body in sent]
        assert lengths == [(16, None), (None, 16), (None, 16)]

    def test_a_system_message_goes_into_that_of_the_user(self) -> None:
        messages = [{"role": "system", "content": "Be brief."}, *QUESTION]
        with serving(
            refusal(400, "Conversation roles must alternate; System role not supported"), say("A dog.")
        ) as server:
            assert "".join(ask(connected(server.url), messages)) == "A dog."
            (message,) = server.requests[-1].body["messages"]
        assert message["role"] == "user"
        assert [part["text"] for part in message["content"]] == ["Be brief.", "What is shown?"]

    def test_one_after_the_other_is_learned(self) -> None:
        refused = [refusal(400, f"Unrecognized request argument supplied: {name}") for name in ("seed", "temperature")]
        assert replies(*refused, say("A dog."))[0] == ["A dog."]

    def test_thinking_off_is_left_out_where_it_is_not_known(self) -> None:
        refused = [refusal(400, f"Unknown parameter: {name}") for name in ("chat_template_kwargs", "reasoning_effort")]
        texts, sent = replies(*refused, say("A dog."), thinking=False)
        assert texts == ["A dog."]
        assert not {"chat_template_kwargs", "reasoning_effort"} & set(sent[-1])

    def test_a_refusal_of_something_else_is_not_asked_again(self) -> None:
        with pytest.raises(StreamChatError, match="refused the request"):
            replies(refusal(400, "this picture is upside down"), say("A dog."))
        with pytest.raises(StreamChatError, match="refused the request"):
            replies(*[refusal(400, "seed is not supported")] * 3)


def sent_raw(*blocks: str) -> Step:
    """A stream of blocks as they are."""

    def step(exchange: Exchange) -> None:
        exchange.begin()
        for block in blocks:
            exchange.wfile.write(b"%x\r\n%s\r\n" % (len(block), block.encode()))
        exchange.last()

    return step


class TestEvents:
    def test_comments_pings_and_numbers_are_passed_over(self) -> None:
        blocks = [
            ": keep-alive\n\n",
            "id: 1\n\n",
            "event: ping\n\n",
            'event: ping\ndata: {"type": "ping"}\n\n',
            "retry: 500\n\n",
            f"id: 2\ndata: {chunk({'content': 'A dog.'})}\n\n",
            ": keep-alive\n\n",
            f"id: 3\nevent: message\ndata: {chunk({}, 'stop')}\n\n",
            "data: [DONE]\n\n",
        ]
        assert replies(sent_raw(*blocks))[0] == ["A dog."]

    def test_content_may_be_a_list_of_parts(self) -> None:
        parts = [{"type": "text", "text": "A "}, {"type": "image"}, {"type": "text", "text": "dog."}, 7, {"text": None}]
        assert replies(events(chunk({"content": parts}), chunk({}, "stop")))[0] == ["A dog."]

    @pytest.mark.parametrize(
        "delta",
        [{}, {"content": None}, {"content": []}, {"tool_calls": [{"function": {"name": "f"}}]}, {"content": ""}],
    )
    def test_an_empty_reply_is_asked_once_more_and_then_an_error(
        self, delta: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(openai.server, "RETRIES", 2)
        monkeypatch.setattr(openai.server, "FIRST_PAUSE_SECONDS", 0.0)
        empty = events(chunk(delta), chunk({}, "stop"))
        assert replies(empty, say("A dog."))[0] == ["A dog."]
        with serving(empty, empty, empty) as server:
            with pytest.raises(StreamChatError, match="sent an empty answer, twice"):
                list(ask(connected(server.url)))
            assert len(server.requests) == 2

    def test_a_flood_ends_at_the_length_that_was_asked_for(self) -> None:
        def flood(exchange: Exchange) -> None:
            exchange.begin()
            for _ in range(5000):
                exchange.text("flood " * 100)

        with serving(flood) as server:
            model = connected(server.url)
            model._server.opens_thoughts = True
            text = "".join(ask(model, length=10))
        assert 0 < len(text) <= 10 * openai.server.MOST_CHARACTERS_A_TOKEN

    @given(ANY_JSON)
    def test_any_json_is_read(self, data: Any) -> None:
        said = reply._chunk(json.loads(json.dumps(data)))
        assert isinstance(said.text, str)
        assert said.end is None or isinstance(said.end, str)
