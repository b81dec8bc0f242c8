"""The remote engine: what it sends, what it makes of replies, and every way in which a server can fail."""

from __future__ import annotations

import base64
import json
import logging
import socket
import threading
import traceback
from collections.abc import Iterator

import numpy as np
import openai_server
import pytest
import torch
from conftest import WordEmbedder
from openai_server import NAME, StubServer, chunk, events, held, refusal, say, serving, silent, status

from streamchat.embedding import minilm
from streamchat.errors import InputError, StreamChatError
from streamchat.models import load_model, openai
from streamchat.models.base import Message
from streamchat.models.openai import OpenAIModel
from streamchat.models.openai import server as protocol
from streamchat.models.scheduler import NEVER, Priority
from streamchat.options import Options
from streamchat.picture_encoder import PictureEncoder
from streamchat.picture_encoder.classifier import Classifier
from streamchat.retrieval.context import compose
from streamchat.session.engine import StreamChat
from streamchat.types import Clip, Context, Frame, Span, Visual
from streamchat.video import images

KEY = "sk-very-secret-key-0123456789"
QUESTION: list[Message] = [{"role": "user", "content": "What is shown?"}]


@pytest.fixture(scope="session")
def encoder() -> PictureEncoder:
    return PictureEncoder(Classifier(), minilm())


@pytest.fixture(autouse=True)
def quick(encoder: PictureEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    """No waiting between retries, no second copy of the encoder, no key but what a test sets."""
    monkeypatch.setattr(openai, "Classifier", lambda: None)
    monkeypatch.setattr(openai, "PictureEncoder", lambda *_: encoder)
    monkeypatch.setattr(protocol, "RETRIES", 0)
    monkeypatch.delenv(protocol.KEY_VARIABLE, raising=False)
    monkeypatch.setenv("NO_PROXY", "*")


def connect(server: StubServer, name: str = NAME) -> OpenAIModel:
    model = load_model(f"openai:{server.url}#{name}")
    assert isinstance(model, OpenAIModel)
    model._server.opens_thoughts = True  # as after a first reply, which is held back until that is seen
    return model


def ask(
    model: OpenAIModel, messages: list[Message] = QUESTION, visuals: tuple[Visual, ...] = (), length: int = 16
) -> Iterator[str]:
    settings = {"max_new_tokens": length, "temperature": 0.0, "seed": 7}
    return model.stream(messages, visuals, **settings, priority=Priority.QUESTION, cancel=NEVER)  # type: ignore[arg-type]


def failing(server: StubServer) -> str:
    """The words of the error that a question ends with."""
    with pytest.raises(StreamChatError) as caught:
        list(ask(connect(server)))
    assert server.url in str(caught.value)
    return str(caught.value)


def noise(seed: int, height: int = 48, width: int = 64) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), np.uint8)


def visual(seconds: float, keyframe: bytes | None) -> Visual:
    return Visual(tokens=torch.zeros(1, 1, 384), span=Span(seconds, seconds), keyframe=keyframe)


def context(**changes: object) -> Context:
    settings: dict[str, object] = {
        "question": "What is shown?",
        "question_embedding": WordEmbedder().embed(["What is shown?"])[0],
        "asked_at_seconds": 9.0,
        "newest": Frame(noise(0), 9.0, 9),
    }
    return Context(**(settings | changes))  # type: ignore[arg-type]


class TestAddress:
    @pytest.mark.parametrize(
        "argument",
        [
            "",
            "127.0.0.1:8000/v1#x",
            "ftp://host/v1#x",
            "http:///v1#x",
            "http://host:port/v1#x",
            "http://host:99999/v1#x",
            "http://a b/v1#x",
            "http://a..b/v1#x",
            "http://ö-.de/v1#x",
            "http://[::1/v1#x",
            "http://host/v1# x",
            "http://host/v1#x\n",
            "#x",
        ],
    )
    def test_what_is_odd_is_refused_with_the_right_form(self, argument: str) -> None:
        with pytest.raises(InputError, match=r"write openai:URL#NAME, such as openai:http://127\.0\.0\.1:8000/v1#Qwen"):
            load_model(f"openai:{argument}")

    @pytest.mark.parametrize("url", [f"http://me:{KEY}@host/v1", f"{KEY}@host/v1", f"https://host/v1?key={KEY}"])
    def test_a_password_in_the_address_is_refused_and_not_shown(self, url: str) -> None:
        with pytest.raises(InputError, match="OPENAI_API_KEY") as caught:
            load_model(f"openai:{url}#x")
        assert KEY not in str(caught.value)

    def test_it_computes_nowhere_but_on_the_cpu(self) -> None:
        with pytest.raises(InputError, match="'cuda:0': leave the device out"):
            load_model("openai:http://127.0.0.1:1/v1#x", device="cuda:0")

    def test_it_shows_what_is_served_where(self) -> None:
        with serving() as server:
            assert connect(server).name == f"{NAME} at 127.0.0.1:{server.server_port}"

    def test_a_slash_at_the_end_of_the_address_changes_nothing(self) -> None:
        with serving() as server:
            model = load_model(f"openai:{server.url}/#{NAME}")
            assert isinstance(model, OpenAIModel)
            assert "".join(ask(model)) == "A dog runs."


class TestModels:
    def test_the_only_model_needs_no_name(self) -> None:
        with serving() as server:
            assert load_model(f"openai:{server.url}").name.startswith(NAME)

    @pytest.mark.parametrize(("names", "said"), [(["a/b", "c"], r"serves a/b, c"), ([], "lists no models")])
    def test_of_several_or_none_the_name_must_be_given(self, names: list[str], said: str) -> None:
        with serving(models=status(200, {"data": [{"id": name} for name in names]})) as server:
            with pytest.raises(InputError, match=rf"{said}.*openai:URL#NAME"):
                load_model(f"openai:{server.url}")
            assert connect(server, "d").name.startswith("d at")

    def test_a_server_without_a_list_is_taken_if_the_name_is_given(self) -> None:
        with serving(models=status(404, "Not Found")) as server:
            assert "".join(ask(connect(server))) == "A dog runs."
            with pytest.raises(InputError, match="lists no models"):
                load_model(f"openai:{server.url}")

    @pytest.mark.parametrize(("said", "used"), [({"max_model_len": 4096}, 4096), ({}, protocol.MAX_CONTEXT)])
    def test_the_context_is_what_the_server_says(self, said: dict[str, int], used: int) -> None:
        listing = {"data": [{"id": "other", "max_model_len": 1}, {"id": NAME, **said}]}
        with serving(models=status(200, listing)) as server:
            assert connect(server).max_context == used

    @pytest.mark.parametrize("junk", ["<html>Welcome</html>", [1], {"data": 3}, {"data": ["x"]}, {"hello": "you"}])
    def test_another_kind_of_server_is_found_at_once(self, junk: object) -> None:
        with (
            serving(models=status(200, junk)) as server,
            pytest.raises(StreamChatError, match="not OpenAI's protocol: check the address"),
        ):
            connect(server)

    def test_a_refused_connection_is_found_at_once(self) -> None:
        with openai_server.closed_port() as port, pytest.raises(StreamChatError) as caught:
            load_model(f"openai:http://127.0.0.1:{port}/v1#x")
        assert f"http://127.0.0.1:{port}/v1 cannot be reached" in str(caught.value)
        assert "refused" in str(caught.value)
        assert "check that it runs" in str(caught.value)

    def test_an_unknown_host_is_found_at_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def unknown(*_: object, **__: object) -> None:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        monkeypatch.setattr(socket, "getaddrinfo", unknown)
        with pytest.raises(StreamChatError, match=r"http://no\.such\.invalid/v1 cannot be reached \(.*Name or"):
            load_model("openai:http://no.such.invalid/v1#x")

    def test_a_silent_server_is_found_soon(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(protocol, "PROBE_SECONDS", 0.2)
        with serving(models=silent()) as server, pytest.raises(StreamChatError, match="did not answer in time"):
            connect(server)


class TestRequest:
    def test_pictures_go_out_as_jpegs_in_their_order(self) -> None:
        jpegs = [images.jpeg(noise(seed)) for seed in range(2)]
        one, two, question = ({"type": "text", "text": text} for text in ("[0:01]", "[0:02]", "What?"))
        image = {"type": "image"}
        messages: list[Message] = [
            {"role": "system", "content": "Look."},
            {"role": "user", "content": [one, image, two, image, image, question]},
        ]
        visuals = (visual(1, jpegs[0]), visual(2, None), visual(3, jpegs[1]))
        with serving() as server:
            list(ask(connect(server), messages, visuals))
            system, user = server.requests[0].body["messages"]
        assert system == {"role": "system", "content": "Look."}
        assert [part["type"] for part in user["content"]] == ["text", "image_url", "text", "image_url", "text"]
        assert [part["text"] for part in user["content"] if part["type"] == "text"] == ["[0:01]", "[0:02]", "What?"]
        head = "data:image/jpeg;base64,"
        sent = [url.removeprefix(head) for url in server.requests[0].pictures if url.startswith(head)]
        assert [base64.b64decode(data) for data in sent] == jpegs

    def test_a_caption_sends_every_keyframe_of_the_clip(self) -> None:
        frames = tuple(Frame(noise(number, 600, 900), float(number), number) for number in range(3))
        with serving() as server:
            model = connect(server)
            caption = model.caption(Clip(model.encode(frames)[:2], frames, Span(0, 2)), NEVER)
            asked = server.requests[0]
        assert caption.text == "A dog runs."
        jpegs = [base64.b64decode(url.partition(",")[2]) for url in asked.pictures]
        assert jpegs == [images.jpeg(frame.data) for frame in frames]
        assert asked.body["temperature"] == 0

    def test_length_temperature_and_seed_are_passed_on(self) -> None:
        with serving() as server:
            list(connect(server).answer(context(max_new_tokens=11, temperature=0.5, seed=2**31), NEVER))
            body = server.requests[0].body
        chosen = {name: body[name] for name in ("model", "stream", "max_tokens", "temperature", "seed")}
        assert chosen == {"model": NAME, "stream": True, "max_tokens": 11, "temperature": 0.5, "seed": 2**31}

    @pytest.mark.parametrize(("key", "sent"), [(KEY, KEY), (f" {KEY}\n", KEY), ("", "none"), (None, "none")])
    def test_the_key_is_that_of_the_environment(
        self, key: str | None, sent: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if key is not None:
            monkeypatch.setenv(protocol.KEY_VARIABLE, key)
        with serving() as server:
            list(ask(connect(server)))
            assert server.requests[0].headers["authorization"] == f"Bearer {sent}"

    def test_a_key_that_cannot_be_sent_is_refused_and_not_shown(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(protocol.KEY_VARIABLE, f"{KEY}…")
        with pytest.raises(InputError, match="OPENAI_API_KEY holds characters") as caught:
            load_model("openai:http://127.0.0.1:1/v1#x")
        assert KEY not in str(caught.value)


class TestReply:
    def test_it_comes_piece_by_piece(self) -> None:
        with serving(silent("A ", "dog")) as server:
            pieces = ask(connect(server))
            assert [next(pieces), next(pieces)] == ["A ", "dog"]  # while the server goes on
            pieces.close()  # type: ignore[attr-defined]

    def test_closing_hangs_up_at_once(self) -> None:
        with serving(silent("A ")) as server:
            pieces = ask(connect(server))
            next(pieces)
            assert not server.hung_up.is_set()
            pieces.close()  # type: ignore[attr-defined]
            assert server.hung_up.wait(openai_server.WAIT_SECONDS)

    def test_chunks_without_text_are_skipped(self) -> None:
        chunks = [
            chunk({"role": "assistant"}),
            chunk({"role": "assistant", "content": ""}),
            chunk({"content": None, "reasoning_content": "Let me think."}),
            json.dumps({"choices": []}),
            json.dumps({"choices": None, "usage": {"total_tokens": 3}}),
            json.dumps({"usage": {"total_tokens": 3}}),
            chunk({"content": "Dog."}),
            chunk({}, "stop"),
            json.dumps({"choices": [], "usage": {"total_tokens": 4}}),
            "[DONE]",
        ]
        with serving(events(*chunks)) as server:
            assert list(ask(connect(server))) == ["Dog."]

    def test_text_in_the_last_chunk_counts(self) -> None:
        with serving(events(chunk({"content": "Dog."}), chunk({"content": " Cat."}, "length"))) as server:
            assert list(ask(connect(server))) == ["Dog.", " Cat."]

    def test_a_caption_under_way_does_not_hold_up_a_question(self) -> None:
        release = threading.Event()
        with serving(held(release, "A caption."), say("An answer.")) as server:
            model = connect(server)
            clip = Clip(torch.zeros(1, 1, 384), (Frame(noise(0), 0.0, 0),), Span(0, 1))
            captions: list[str] = []
            thread = threading.Thread(target=lambda: captions.append(model.caption(clip, NEVER).text))
            thread.start()
            try:
                assert server.wait_for(1)
                assert list(model.answer(context(), NEVER)) == ["An answer."]
                assert not captions
            finally:
                release.set()
                thread.join()
            assert captions == ["A caption."]


class TestFailures:
    def test_a_failure_that_passes_is_not_seen(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(protocol, "RETRIES", 1)
        with serving(status(500, "oops"), say("Here.")) as server:
            assert list(ask(connect(server))) == ["Here."]
            assert len(server.requests) == 2

    def test_a_failure_that_stays_is_an_error_after_the_retries(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(protocol, "RETRIES", 2)
        with serving(status(500, "out of order")) as server:
            assert "failed (500: out of order): see its log" in failing(server)
            assert len(server.requests) == 3

    @pytest.mark.parametrize(
        ("step", "said"),
        [
            (refusal(401, "no such key"), "refused the key (401: no such key): set the environment variable OPENAI"),
            (refusal(403, "not for you"), "refused the key (403: not for you): set the environment variable OPENAI"),
            (refusal(404, "no such model"), f"(404: no such model); it serves {NAME}: check the model's name"),
            (status(404, {"detail": "Not Found"}), "(404: Not Found)"),
            (refusal(429, "slow down"), "asked too often, or the key's quota is used up (429: slow down): wait"),
            (status(503, {"error": "loading"}), "failed (503: loading)"),
            (refusal(400, "At most 1 image may be provided"), "(400: At most 1 image may be provided): check that"),
            (status(422, {"detail": [{"loc": "seed"}]}), "refused the request (422: [{'loc': 'seed'}])"),
            (refusal(400, "This model's maximum context length is 64 tokens."), "finds the prompt too long (400: This"),
            (refusal(400, "the request exceeds the available context size"), "finds the prompt too long"),
            (refusal(400, "The prompt is longer than the maximum model length of 64"), "finds the prompt too long"),
            (status(200, "<html>Welcome</html>"), "sent no answer: check that the address"),
            (status(200, {"choices": [{"message": {"content": "not streamed"}}]}), "sent no answer"),
            (events(), "sent no answer"),
            (events(json.dumps({"choices": []}), "[DONE]"), "sent no answer"),
            (events("{not json"), "sent something that is not OpenAI's protocol: check the address"),
            (events("[1, 2]", '"text"', "3", '{"choices": ["x"]}', '{"choices": "x"}'), "sent no answer"),
            (events(json.dumps({"error": {"message": "out of memory"}})), "reported an error (out of memory)"),
            (events(json.dumps({"error": "out of memory"})), "reported an error (out of memory)"),
            (events(ended=False), "cannot be reached (peer closed connection"),
            (say(finish="content_filter"), "stopped the answer by its content filter"),
            (say("Well", finish="content_filter"), "stopped the answer by its content filter"),
            (say(finish="length"), "used up the length of the answer before its first word: turn the model's thinking"),
        ],
    )  # fmt: skip
    def test_it_is_said_what_happened_and_what_to_do(self, step: openai_server.Step, said: str) -> None:
        with serving(step) as server:
            assert said in failing(server)

    @pytest.mark.parametrize(
        "last",
        [
            pytest.param(events(chunk({"content": "A dog"}), ended=False), id="cut"),
            pytest.param(events(chunk({"content": "A dog"})), id="ended too soon"),
            pytest.param(events(chunk({"content": "A dog"}), "[DONE]"), id="done too soon"),
            pytest.param(events(chunk({"content": "A dog"}), "{not json"), id="junk"),
            pytest.param(events(chunk({"content": "A dog"}), '{"error": {"message": "oh"}}'), id="error"),
        ],
    )
    def test_an_answer_that_breaks_off_says_to_ask_again_and_is_not_tried_twice(
        self, last: openai_server.Step, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(protocol, "RETRIES", 2)
        with serving(last) as server:
            pieces = ask(connect(server))
            assert next(pieces) == "A dog"
            with pytest.raises(StreamChatError, match=r"broke off in the middle of the answer.*: ask again$"):
                next(pieces)
            assert len(server.requests) == 1

    def test_an_answer_that_stands_still_is_given_up(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(protocol, "READ_SECONDS", 1.0)
        with serving(silent("A dog")) as server:
            pieces = ask(connect(server))
            assert next(pieces) == "A dog"
            with pytest.raises(StreamChatError, match=r"in the middle of the answer: it did not answer in time: ask"):
                next(pieces)
            assert server.hung_up.wait(openai_server.WAIT_SECONDS)

    def test_a_server_that_never_begins_is_given_up(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(protocol, "READ_SECONDS", 0.2)
        with serving(silent()) as server:
            assert "did not answer in time: see whether it is busy" in failing(server)
            assert server.hung_up.wait(openai_server.WAIT_SECONDS)

    def test_a_server_that_went_away_is_said_to_be_unreachable(self) -> None:
        with serving() as server:
            model = connect(server)
        with pytest.raises(StreamChatError, match="cannot be reached"):
            list(ask(model))

    def test_long_reports_are_shortened_to_one_line(self) -> None:
        with serving(status(500, "line\n\x1b[31m" * 1000)) as server:
            said = failing(server)
        assert said.isprintable()
        assert len(said) < 500

    @pytest.mark.parametrize(
        "step",
        [
            refusal(401, f"Incorrect API key provided: {KEY}"),
            status(500, f"<pre>Authorization: Bearer {KEY}</pre>"),
            status(400, {"request": {"headers": {"authorization": f"Bearer {KEY}"}}}),
            refusal(400, "x" * 290 + KEY),
            events(json.dumps({"error": {"message": f"bad key {KEY}"}})),
            events("{not json " + KEY),
        ],
    )
    def test_the_key_is_never_shown_even_if_the_server_sends_it_back(
        self, step: openai_server.Step, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setenv(protocol.KEY_VARIABLE, KEY)
        caplog.set_level(logging.DEBUG)
        with serving(step) as server:
            model = connect(server)
            with pytest.raises(StreamChatError) as caught:
                list(ask(model))
        shown = [*traceback.format_exception(caught.value), repr(caught.value), repr(model), repr(vars(model))]
        assert not [text for text in (*shown, caplog.text) if KEY[:12] in text]

    def test_the_key_is_not_shown_while_connecting(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(protocol.KEY_VARIABLE, KEY)
        with (
            serving(models=refusal(401, f"bad key {KEY}")) as server,
            pytest.raises(StreamChatError, match=r"401: bad key \[the key\]\): set the environment variable OPENAI"),
        ):
            connect(server)


class TestLength:
    def test_a_prompt_is_longer_by_every_picture_that_is_sent(self) -> None:
        with serving() as server:
            model = connect(server)
        messages: list[Message] = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What?"}]}]
        with_picture = model.prompt_tokens(messages, [visual(1, b"jpeg")])
        without = model.prompt_tokens(messages, [visual(1, None)])
        assert with_picture - without == openai.PICTURE_TOKENS
        assert without > model.count_tokens("What?") > 0

    @pytest.mark.parametrize(
        ("text", "least"), [("", 0), ("The dog runs.", 4), ("1:02:03–1:02:10", 15), ("狗在跑。", 4), ("Собака", 3)]
    )
    def test_a_text_is_rather_taken_for_too_long(self, text: str, least: int) -> None:
        with serving() as server:
            assert least <= connect(server).count_tokens(text) <= len(text)

    def test_a_full_context_is_cut_to_what_the_server_takes(self) -> None:
        listing = {"data": [{"id": NAME, "max_model_len": 2000}]}
        recent = tuple(visual(float(second), images.jpeg(noise(second))) for second in range(5))
        with serving(models=status(200, listing)) as server:
            model = connect(server)
            fitting, given = compose(context(recent=recent), model, Options())
            list(model.answer(fitting, NEVER))
            assert len(server.requests[0].pictures) == len(given.pictures) == 2


class TestTogether:
    def test_a_video_is_ingested_and_talked_about(self, embedder: WordEmbedder) -> None:
        with serving(say("A dog.")) as server:
            chat = StreamChat(connect(server), Options(selector="uniform", chunk_frames=4, group_nodes=2), embedder)
            for number in range(20):
                chat.push(Frame(noise(number), float(number), number))
            captions = len(server.requests)
            answer = chat.ask("What is there?")
            asked = server.requests[captions]
        assert captions > 0
        assert answer.text == "A dog."
        assert answer.evidence
        newest = base64.b64encode(images.jpeg(noise(19))).decode()
        assert asked.pictures[-1].endswith(newest)
        assert len(set(asked.pictures)) > 1
