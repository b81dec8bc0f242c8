"""A vision-language model on a server that speaks OpenAI's protocol: vLLM, SGLang, llama.cpp, or a hosted one.

Pictures are encoded here, on the CPU, for selection and retrieval; the server gets the keyframes of what was retrieved.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import re
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import numpy as np
import openai
import torch

from streamchat.embedding import minilm
from streamchat.errors import InputError, PromptTooLargeError, StreamChatError
from streamchat.gate import Gate, Priority
from streamchat.models.base import CAPTION_TOKENS, ChatModel, Message, parts_of
from streamchat.models.embedded.classifier import Classifier
from streamchat.models.embedded.picturing import PictureEncoder
from streamchat.types import Clip, Context, Evidence, Frame, Visual

log = logging.getLogger(__name__)

CONNECT_SECONDS = 5.0
READ_SECONDS = 60.0  # between two pieces of an answer, and before the first
PROBE_SECONDS = 10.0  # for the list of models, so that a wrong address is soon found
CONCURRENCY = 8  # requests that a server gets at once, unless it is said otherwise
RETRIES = 2  # before an answer begins, after pauses that grow

MAX_CONTEXT = 16384  # tokens, of a server that does not tell: some twenty pictures; most models take more
PICTURE_TOKENS = 600  # of a keyframe: LLaVA-1.5 takes 576 for any, Qwen-VL, Gemma and InternVL up to 256 for 448 pixels
MESSAGE_TOKENS = 8  # what a chat template writes around a message
PIECE_OF_TEXT = re.compile(r"[A-Za-z]{1,5}|\S")

KEY_VARIABLE = "OPENAI_API_KEY"
NO_KEY = "none"  # the package insists on a key, and local servers take any
FORM = "openai:URL#NAME, such as openai:http://127.0.0.1:8000/v1#Qwen/Qwen3-VL-8B-Instruct"
HOST = re.compile(r"[\w-]{1,63}(\.[\w-]{1,63})*\.?|[\da-f]*:[\da-f:.]+", re.ASCII)  # a name, an IPv4 or an IPv6 address
TOO_LONG = re.compile(r"context.{0,10}(length|size|window)|maximum model length|prompt is too long", re.IGNORECASE)
TOO_MANY_PICTURES = re.compile(r"at most (\d+) image", re.IGNORECASE)  # vLLM; it says how many it takes
LONGEST_PROMPT = re.compile(r"maximum context length (?:is |of )?\(?(\d+)", re.IGNORECASE)
SENT_PROMPT = re.compile(r"input length \((\d+)\)|\((\d+) in the messages", re.IGNORECASE)  # as the server counted it
LESS = 0.8  # of a prompt that a server finds too long, if it is not so by our count, and the server does not say more
REFUSED = (400, 413, 422)  # the request as it was
LONGEST_REPORT = 300  # characters of a server's own words in an error
MOST_LISTED = 20  # names of models in an error


class OpenAIModel(ChatModel):
    """A model on a server: its replies are streamed, with one picture for each visual that has a keyframe."""

    captions_from_pictures = True

    def __init__(self, server: Server, model: _Served, pictures: PictureEncoder, concurrency: int) -> None:
        super().__init__()
        self.concurrency = concurrency
        self.gates = dict.fromkeys(Priority, Gate(concurrency))
        self.name = f"{model.name} at {server.host}"
        self.tokens_per_frame, self.dim = pictures.tokens_per_frame, pictures.dim
        self.max_context = model.max_context
        self._picture_tokens = PICTURE_TOKENS  # at least; more if the server says so
        self._server = server
        self._model_name = model.name
        self._pictures = pictures

    def encode_frames(self, frames: Sequence[Frame]) -> torch.Tensor:
        """Vectors of pictures in the space of text vectors: float32 [N, 1, 384], unit norm; see `PictureEncoder`."""
        return self._pictures.encode_frames(frames)

    def count_tokens(self, text: str) -> int:
        """About how many tokens a text takes, rather too many: every five letters are one, every other mark one."""
        return len(PIECE_OF_TEXT.findall(text))

    def answer(self, context: Context) -> Iterator[str | Evidence]:
        """As `ChatModel.answer`, with one of the server's turns held from the request to the last piece."""
        with self.gates[Priority.QUESTION].turn(Priority.QUESTION):
            yield from super().answer(context)

    def _next_piece(self, pieces: Generator[str, None, None]) -> str | None:
        """The next piece of an answer, whose turn is held already."""
        return next(pieces, None)

    def picture_tokens(self, visual: Visual) -> int:
        """About how many tokens a picture takes, rather too many; 0 for a visual without one."""
        return self._picture_tokens if _has_picture(visual) else 0

    def prompt_tokens(self, messages: Sequence[Message], visuals: Sequence[Visual]) -> int:
        """About how many tokens a whole prompt takes, rather too many."""
        texts = [part["text"] for message in messages for part in parts_of(message) if part["type"] == "text"]
        pictures = sum(map(self.picture_tokens, visuals))
        return sum(map(self.count_tokens, texts)) + pictures + MESSAGE_TOKENS * len(messages)

    def visuals_of_clip(self, clip: Clip) -> list[Visual]:
        """The keyframes of a clip, each as a visual; spread over it if the server takes fewer pictures."""
        most = (self.max_context - 2 * CAPTION_TOKENS) // self._picture_tokens
        count = min(len(clip.keyframes), most if self.max_pictures is None else min(most, self.max_pictures))
        places = np.linspace(0, len(clip.keyframes) - 1, max(0, count)).round().astype(int)
        return super().visuals_of_clip(replace(clip, keyframes=tuple(clip.keyframes[place] for place in places)))

    def stream(
        self,
        messages: Sequence[Message],
        visuals: Sequence[Visual] = (),
        *,
        max_new_tokens: int,
        temperature: float,
        seed: int,
        priority: Priority,  # noqa: ARG002 - the server decides who waits
    ) -> Generator[str, None, None]:
        """Stream the reply as the server sends it; see `ChatModel.stream`. Closing it hangs up on the server.

        Raises StreamChatError, with what to do, if the server cannot be reached, refuses, or breaks off.
        """
        wanted = {"max_tokens": max_new_tokens, "temperature": temperature, "seed": seed}
        try:
            yield from self._server.stream(self._model_name, _written(messages, visuals), **wanted)
        except _RefusedError as error:
            if self._learns(error.report, messages, visuals):
                raise PromptTooLargeError(str(error)) from None
            raise

    def _learns(self, report: str, messages: Sequence[Message], visuals: Sequence[Visual]) -> bool:
        """Take the limits of the server from its words; False if they say nothing that a smaller prompt could mend."""
        pictures = sum(map(_has_picture, visuals))
        if found := TOO_MANY_PICTURES.search(report):
            self.max_pictures = int(found[1])
            log.warning("%s takes %d pictures in a prompt: no more are sent", self.name, self.max_pictures)
            return self.max_pictures < pictures
        if not TOO_LONG.search(report):
            return False
        told, sent = LONGEST_PROMPT.search(report), SENT_PROMPT.search(report)
        length = self.prompt_tokens(messages, visuals)
        if sent is not None and pictures:  # texts are counted rather too long, so that the pictures are longer
            more = int(sent[1] or sent[2]) - length
            self._picture_tokens = max(self._picture_tokens, self._picture_tokens + -(-more // pictures))
            length = self.prompt_tokens(messages, visuals)
        most = min(self.max_context, int(told[1])) if told else self.max_context
        self.max_context = most if length > most else int(LESS * min(most, length))
        log.warning(
            "%s takes %d tokens, and about %d of them are a picture", self.name, self.max_context, self._picture_tokens
        )
        return True


def _has_picture(visual: Visual) -> bool:
    return visual.keyframe is not None or visual.frame is not None


class _RefusedError(StreamChatError):
    """The server refused a request as it was (HTTP 400 and its kin), with its own words in `report`."""

    def __init__(self, message: str, report: str) -> None:
        super().__init__(message)
        self.report = report


class _Served(NamedTuple):
    """A model as its server lists it."""

    name: str
    max_context: int = MAX_CONTEXT


class Server:
    """A server by its address, and its failures in words; the key of the environment is in none of them."""

    def __init__(self, url: str) -> None:
        self.host = urlsplit(url).netloc
        self._url = url
        self._key = _key()
        self._listed: list[_Served] = []
        self.client = openai.OpenAI(
            base_url=url,
            api_key=self._key or NO_KEY,
            timeout=openai.Timeout(READ_SECONDS, connect=CONNECT_SECONDS),
            max_retries=RETRIES,
        )

    def choose(self, name: str) -> _Served:
        """The model of this name, or the only one if the name is empty.

        Raises InputError, with the names, if there is not just one; StreamChatError if the server cannot be asked.
        """
        self._listed = self._list()
        if name:
            known = {model.name: model for model in self._listed}
            return known.get(name, _Served(name))  # some servers take names that they do not list
        if len(self._listed) == 1:
            return self._listed[0]
        raise InputError(f"the model server {self._url} {self._names()}: put the name of one behind a #, as in {FORM}")

    def _list(self) -> list[_Served]:
        timeout = openai.Timeout(PROBE_SECONDS, connect=CONNECT_SECONDS)
        asking = self.client.with_options(timeout=timeout, max_retries=0)
        try:
            listing = json.loads(asking.models.with_raw_response.list().text)
            return [_served(entry) for entry in listing["data"] or []]
        except openai.NotFoundError:
            return []  # not every server has such a list
        except (openai.OpenAIError, ValueError, LookupError, TypeError) as error:
            raise self.failure(error) from None

    def stream(self, model: str, messages: Sequence[Message], **settings: Any) -> Generator[str, None, None]:
        """The reply as it comes; closing it hangs up. Raises StreamChatError, with what to do, for every failure."""
        begun, end = False, None
        wanted: Any = {"model": model, "messages": messages, "stream": True, **settings}
        try:
            with self.client.chat.completions.create(**wanted) as chunks:
                for chunk in chunks:
                    text, end = _read(chunk)
                    if text:
                        begun = True
                        yield text
                    if end:
                        break
        except (openai.OpenAIError, ValueError) as error:
            raise self.failure(error, begun=begun) from None  # the cause may show the key
        self.check_end(end, begun=begun)

    def failure(self, error: Exception, *, begun: bool = False) -> StreamChatError:
        """What went wrong and what to do, for any error of the package or of reading what the server sent."""
        if isinstance(error, openai.APIStatusError):
            happened, remedy = self._status(error)
        elif isinstance(error, openai.APITimeoutError):
            happened, remedy = "did not answer in time", "see whether it is busy or still loading, and try again"
        elif isinstance(error, openai.APIConnectionError):
            happened = f"cannot be reached ({self._clean(str(error.__cause__ or error))})"
            remedy = "check that it runs and that the address is right"
        elif isinstance(error, openai.APIError):
            happened, remedy = f"reported an error ({self._report(error)})", "see its log, and try again"
        else:
            happened = "sent something that is not OpenAI's protocol"
            remedy = "check the address, which mostly ends in /v1"
        if begun:
            happened, remedy = f"broke off in the middle of the answer: it {happened}", "ask again"
        message = f"the model server {self._url} {happened}: {remedy}"
        if isinstance(error, openai.APIStatusError) and error.status_code in REFUSED and not begun:
            return _RefusedError(message, self._report(error))
        return StreamChatError(message)

    def check_end(self, end: str | None, *, begun: bool) -> None:
        """Raise StreamChatError if a reply did not end as it should; `end` is its `finish_reason`."""
        if end == "content_filter":
            happened, remedy = "stopped the answer by its content filter", "ask in another way"
        elif end is None and begun:
            happened, remedy = "broke off in the middle of the answer", "ask again"
        elif end is None:
            happened, remedy = "sent no answer", "check that the address is that of a chat model and mostly ends in /v1"
        elif end == "length" and not begun:
            happened = "used up the length of the answer before its first word"
            remedy = "turn the model's thinking off, or allow longer answers"
        else:
            return
        raise StreamChatError(f"the model server {self._url} {happened}: {remedy}")

    def _status(self, error: openai.APIStatusError) -> tuple[str, str]:
        """What a status of HTTP means and what to do."""
        report = f"{error.status_code}: {self._report(error)}"
        if error.status_code in (401, 403):
            return f"refused the key ({report})", f"set the environment variable {KEY_VARIABLE} to a key of this server"
        if error.status_code == 404:
            return f"does not know what it was asked for ({report}); it {self._names()}", (
                "check the model's name, and the address, which mostly ends in /v1"
            )
        if error.status_code == 429:
            return f"is asked too often, or the key's quota is used up ({report})", "wait a little and try again"
        if error.status_code >= 500:
            return f"failed ({report})", "see its log, and try again"
        if TOO_LONG.search(report):
            return f"finds the prompt too long ({report})", (
                "ask with fewer words, or let it serve the model with a longer context"
            )
        return f"refused the request ({report})", "check that this model takes pictures, and how large they may be"

    def _names(self) -> str:
        names = [model.name for model in self._listed[:MOST_LISTED]]
        more = " and more" if len(self._listed) > MOST_LISTED else ""
        return f"serves {self._clean(', '.join(names))}{more}" if names else "lists no models"

    def _report(self, error: openai.APIError) -> str:
        """The server's own words, of the forms that servers give them."""
        body = error.body
        if isinstance(body, dict):
            body = body.get("message") or body.get("detail") or body
        return self._clean(str(body or error.message))

    def _clean(self, text: str) -> str:
        """A short printable line without the key, which some servers send back."""
        if self._key:
            text = text.replace(self._key, "[the key]")
        line = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
        return line if len(line) <= LONGEST_REPORT else line[:LONGEST_REPORT] + "…"


def build(argument: str = "", device: str | None = None, *, concurrency: int = CONCURRENCY) -> OpenAIModel:
    """Connect to the model of `load_model("openai:URL#NAME")`; without #NAME, to the only one that the server has.

    The key, if the server wants one, is taken from the environment variable OPENAI_API_KEY. Raises InputError for what
    is not of this form, and StreamChatError if the server does not answer.
    """
    if device not in (None, "cpu"):
        raise InputError(
            f"the model openai computes on its server, and here on the CPU, got the device {device!r}: "
            "leave the device out"
        )
    url, name = parse_address(argument)
    server = Server(url)
    model = server.choose(name)
    return OpenAIModel(server, model, PictureEncoder(Classifier(), minilm()), concurrency)


def parse_address(argument: str) -> tuple[str, str]:
    """The address of URL#NAME without a slash at its end, and the model's name, which may be empty.

    Raises InputError, which shows the form, for anything else.
    """
    url, _, name = argument.partition("#")
    if "@" in url or "?" in url:  # not shown, as it may hold a password
        raise InputError(
            f"the address of a model server holds no user, password or query: put a key into the environment variable "
            f"{KEY_VARIABLE}, and write {FORM}"
        )
    if not _is_address(url):
        raise InputError(f"the address of a model server begins with http:// or https://, got {url!r}: write {FORM}")
    if name != name.strip() or not name.isprintable():
        raise InputError(f"a model's name is one line without spaces around it, got {name!r}: write {FORM}")
    return url.rstrip("/"), name


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises ValueError if it is none
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and url.isprintable() and bool(HOST.fullmatch(parts.hostname or ""))


def _key() -> str:
    """The key of the environment, empty if there is none; raises InputError for one that HTTP cannot carry."""
    key = os.environ.get(KEY_VARIABLE, "").strip()
    if not (key.isascii() and key.isprintable()):
        raise InputError(
            f"the environment variable {KEY_VARIABLE} holds characters that no key has: copy the key again"
        )
    return key


def _served(entry: dict[str, Any]) -> _Served:
    """A model of a server's list; vLLM and SGLang tell its context, others do not."""
    name, length = entry["id"], entry.get("max_model_len")
    return _Served(str(name), length) if isinstance(length, int) and length > 0 else _Served(str(name))


def _written(messages: Sequence[Message], visuals: Sequence[Visual]) -> list[Message]:
    """Messages in OpenAI's form, the keyframes of visuals in place of their image parts."""
    remaining = iter(visuals)
    written: list[Message] = []
    for message in messages:
        content = message["content"]
        if not isinstance(content, str):
            parts = [_image(next(remaining)) if part["type"] == "image" else part for part in content]
            content = [part for part in parts if part is not None]
        written.append({"role": message["role"], "content": content})
    if next(remaining, None) is not None:
        raise RuntimeError("there are more visuals than image parts")
    return written


def _image(visual: Visual) -> dict[str, Any] | None:
    """The image part of a visual; None for one without a keyframe, which its moment alone must stand for."""
    picture = visual.picture()
    if picture is None:
        return None
    data = base64.b64encode(picture).decode()
    return {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{data}"}}


def _read(chunk: Any) -> tuple[str, str | None]:
    """The text of a chunk, empty if it has none, and its `finish_reason`; nothing is taken for granted about it."""
    choices = getattr(chunk, "choices", None)
    if not isinstance(choices, list) or not choices:
        return "", None  # such as the last one, which counts tokens
    text = getattr(getattr(choices[0], "delta", None), "content", None)
    return text if isinstance(text, str) else "", getattr(choices[0], "finish_reason", None) or None
