"""The remote engine with a real vLLM server on the CPU, whose tiny model has random weights: `make test-vllm`."""

from __future__ import annotations

import base64
import os
import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import server_process
import test_real_server
import tiny_checkpoints
from conftest import WordEmbedder
from openai import BadRequestError, OpenAI
from test_openai import ask, context, noise, visual

from streamchat.errors import StreamChatError
from streamchat.models import load_model
from streamchat.models.openai import OpenAIModel
from streamchat.models.openai import server as protocol
from streamchat.models.scheduler import NEVER
from streamchat.options import Options
from streamchat.session.engine import StreamChat
from streamchat.types import Frame
from streamchat.video import images

PYTHON = os.environ.get("STREAMCHAT_VLLM_PYTHON", "")
START_SECONDS = 420.0  # until it is healthy; on two busy cores that takes about a minute
WAIT_SECONDS = 30.0  # for what must happen; a test that gets there fails

NAME = "tiny/llava"
KEY = "sk-of-the-test-server"
MAX_CONTEXT = tiny_checkpoints.SERVED_CONTEXT
MAX_PICTURES = 32  # as many as the product sends for a question
TOGETHER = 8  # questions at once
LONG = 12000  # tokens of an answer that takes too long to be complete by the time that it is closed
SENTENCE = "what is on the table ? "  # eight tokens; a whole prompt has 17 more
TOO_LONG = SENTENCE * 2100
ALMOST_TOO_LONG = SENTENCE * 2025  # 16217 tokens: fits alone, and not with 32 pictures of 16 tokens

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(not PYTHON, reason="STREAMCHAT_VLLM_PYTHON names no Python that has vLLM: `make test-vllm`"),
    pytest.mark.timeout(START_SECONDS + 180),
]


class VllmServer(NamedTuple):
    """A running server, and what it reports of itself."""

    url: str

    def metric(self, name: str) -> float:
        """A figure of /metrics, such as how many requests are running."""
        found = re.search(rf"^vllm:{name}{{[^}}]*}} (\S+)$", server_process.fetch(f"{self.url}/metrics"), re.MULTILINE)
        assert found, f"the server has no metric {name}"
        return float(found[1])

    def wait_until_running(self, count: int) -> None:
        """Wait until it works on just so many requests."""
        deadline = time.monotonic() + WAIT_SECONDS
        while (running := self.metric("num_requests_running")) != count:
            assert time.monotonic() < deadline, f"{running} requests are running, and never {count}"

    def refusal(self, pictures: int, text: str) -> dict[str, Any]:
        """The error as the server words it, asked past the product, which may do something about it."""
        parts = [{"type": "image_url", "image_url": {"url": picture(number)}} for number in range(pictures)]
        messages: Any = [{"role": "user", "content": [*parts, {"type": "text", "text": text}]}]
        with OpenAI(base_url=f"{self.url}/v1", api_key=KEY) as client, pytest.raises(BadRequestError) as caught:
            client.chat.completions.create(model=NAME, messages=messages, max_tokens=1, stream=True)
        assert isinstance(caught.value.body, dict)
        return caught.value.body


def picture(seed: int) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(images.jpeg(noise(seed))).decode()}"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VllmServer]:
    """A vLLM server, with the key that it wants in the environment."""
    folder = tiny_checkpoints.build_for_a_server(tmp_path_factory.mktemp("llava"))
    settings = {
        "--model": str(folder),
        "--served-model-name": NAME,
        "--api-key": KEY,
        "--dtype": "float32",
        "--max-model-len": str(MAX_CONTEXT),
        "--limit-mm-per-prompt": f'{{"image": {MAX_PICTURES}}}',
    }
    command = [PYTHON, "-m", "vllm.entrypoints.openai.api_server", "--enforce-eager"]
    environment = {
        "PYTHONPATH": str(Path(__file__).with_name("vllm_server")),
        "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB
        "VLLM_NO_USAGE_STATS": "1",
        "HF_HUB_OFFLINE": "1",
    }
    command += [word for setting in settings.items() for word in setting]
    log = tmp_path_factory.mktemp("vllm") / "log"
    with (
        server_process.running(command, log, environment=environment, start_seconds=START_SECONDS) as url,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv(protocol.KEY_VARIABLE, KEY)
        patch.setenv("NO_PROXY", "*")
        yield VllmServer(url)


@pytest.fixture(scope="module")
def served(server: VllmServer) -> str:
    """The argument for openai: that names its model."""
    return f"{server.url}/v1#{NAME}"


@pytest.fixture(scope="module")
def model(served: str) -> OpenAIModel:
    loaded = load_model(f"openai:{served}")
    assert isinstance(loaded, OpenAIModel)
    return loaded


class TestAsAnyServer(test_real_server.TestRealServer):
    """What any real server must do."""

    def test_a_model_that_it_does_not_serve_is_an_error(self, served: str) -> None:
        model = load_model(f"openai:{served.partition('#')[0]}#nobody/knows")
        assert isinstance(model, OpenAIModel)
        with pytest.raises(StreamChatError, match=rf"404: .*nobody/knows.*it serves {NAME}: check the model's name"):
            list(ask(model))


class TestAnswers:
    def test_an_answer_comes_in_pieces_to_its_last_token(self, model: OpenAIModel, server: VllmServer) -> None:
        before = server.metric("generation_tokens_total")
        assert len(list(ask(model, length=200))) > 1
        server.wait_until_running(0)
        assert server.metric("generation_tokens_total") - before == 200

    def test_closing_an_answer_that_is_being_made_ends_the_work_on_the_server(
        self, model: OpenAIModel, server: VllmServer
    ) -> None:
        before = server.metric("generation_tokens_total")
        pieces = model.answer(context(max_new_tokens=LONG), NEVER)
        assert next(pieces)
        server.wait_until_running(1)
        pieces.close()  # type: ignore[attr-defined]
        server.wait_until_running(0)
        assert server.metric("generation_tokens_total") - before < LONG

    def test_eight_questions_at_once_are_all_answered(self, model: OpenAIModel) -> None:
        start, begun = (threading.Barrier(TOGETHER, timeout=WAIT_SECONDS) for _ in range(2))

        def answer(number: int) -> tuple[float, list[object]]:
            seen = (visual(1, images.jpeg(noise(number))),)
            asked = context(question=f"what is on table {number} ?", recent=seen)
            start.wait()
            started = time.perf_counter()
            with closing(model.answer(asked, NEVER)) as pieces:  # type: ignore[type-var]
                first = next(pieces)
                seconds = time.perf_counter() - started
                begun.wait()  # none goes on before all have begun
                return seconds, [first, *pieces]

        with ThreadPoolExecutor(TOGETHER) as pool:
            answers = list(pool.map(answer, range(TOGETHER)))
        first, last = min(seconds for seconds, _ in answers), max(seconds for seconds, _ in answers)
        print(f"{TOGETHER} at once: first words after {first:.2f} to {last:.2f} s, last over first {last / first:.1f}")
        assert all(len(pieces) > 1 for _, pieces in answers)

    def test_a_video_is_ingested_and_talked_about(self, model: OpenAIModel, embedder: WordEmbedder) -> None:
        chat = StreamChat(model, Options(selector="uniform", chunk_frames=4, group_nodes=2), embedder)
        for number in range(20):
            chat.push(Frame(noise(number), float(number), number))
        answer = chat.ask("what is on the table ?")
        assert answer.text
        assert answer.evidence


class TestLimits:
    def test_the_length_of_the_context_is_the_servers(self, model: OpenAIModel) -> None:
        assert model.max_context == MAX_CONTEXT

    def test_too_long_a_text_is_said_to_be_too_long(self, model: OpenAIModel) -> None:
        said = rf"finds the prompt too long \(400: This model's maximum context length is {MAX_CONTEXT} tokens\."
        with pytest.raises(StreamChatError, match=said):
            list(ask(model, [{"role": "user", "content": TOO_LONG}]))

    def test_pictures_that_make_a_prompt_too_long_are_not_taken_for_too_many(
        self, model: OpenAIModel, server: VllmServer
    ) -> None:
        assert list(ask(model, [{"role": "user", "content": ALMOST_TOO_LONG}], length=8))
        said = server.refusal(MAX_PICTURES, ALMOST_TOO_LONG)["message"]
        assert re.fullmatch(rf"Input length \(\d+\) exceeds model's maximum context length \({MAX_CONTEXT}\)\.", said)
        assert protocol.TOO_LONG.search(said)

    def test_a_question_with_too_many_pictures_is_asked_again_with_as_many_as_are_allowed(
        self, served: str, embedder: WordEmbedder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        model = load_model(f"openai:{served}")
        assert isinstance(model, OpenAIModel)
        monkeypatch.setattr(model, "_picture_tokens", 16)  # as many as this server's model takes, so that 40 would fit
        chat = StreamChat(model, Options(max_pictures=40, chunk_frames=6, clusters=6, group_nodes=9), embedder)
        for number in range(48):  # pictures that no test sent before: vLLM's cache misses some after a refusal
            chat.push(Frame(noise(1000 + number), float(number), number))
        answer = chat.ask("what is on the table ?")
        assert answer.text
        assert model.max_pictures == len(answer.given.pictures) == MAX_PICTURES

    def test_too_many_pictures_are_refused_with_how_many_are_allowed(self, server: VllmServer) -> None:
        said = server.refusal(MAX_PICTURES + 1, SENTENCE)
        assert said == {
            "message": f"At most {MAX_PICTURES} image(s) may be provided in one prompt. (parameter=image)",
            "type": "BadRequestError",
            "param": "image",
            "code": 400,
        }
        assert not protocol.TOO_LONG.search(said["message"])


class TestKey:
    @pytest.mark.parametrize("key", ["sk-of-someone-else", ""])
    def test_a_wrong_key_and_none_are_refused(self, key: str, served: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(protocol.KEY_VARIABLE, key)
        with pytest.raises(StreamChatError, match=r"refused the key \(401: Unauthorized\): set the environment"):
            load_model(f"openai:{served}")
