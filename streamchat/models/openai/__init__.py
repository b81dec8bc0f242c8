"""A vision-language model on a server that speaks OpenAI's protocol: vLLM, SGLang, llama.cpp, or a hosted one.

Pictures are encoded here, on the CPU, for selection and retrieval; the server gets the keyframes of what was retrieved.
"""

from __future__ import annotations

import base64
import logging
import re
from collections.abc import Generator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from streamchat.embedding import minilm
from streamchat.errors import InputError, PromptTooLargeError
from streamchat.models.base import CAPTION_TOKENS, ChatModel, Message, parts_of
from streamchat.models.openai.parameters import MOST_LESSONS, Parameters
from streamchat.models.openai.server import (
    TOO_LONG,
    LengthUsedUpError,
    RefusedError,
    ServedModel,
    Server,
    parse_address,
)
from streamchat.models.scheduler import CancelToken, Priority, Scheduler
from streamchat.picture_encoder import PictureEncoder
from streamchat.picture_encoder.classifier import Classifier
from streamchat.types import Clip, Frame, Visual
from streamchat.video.images import picture_of

log = logging.getLogger(__name__)

CONCURRENCY = 8  # requests that a server gets at once, unless it is said otherwise

THINKING_TOKENS = 4096  # that a reply may be longer by, of a model that thinks before it answers
PICTURE_TOKENS = 600  # of a keyframe: LLaVA-1.5 takes 576 for any, Qwen-VL, Gemma and InternVL up to 256 for 448 pixels
MESSAGE_TOKENS = 8  # what a chat template writes around a message
PIECE_OF_TEXT = re.compile(r"[A-Za-z]{1,5}|\S")

TOO_MANY_PICTURES = re.compile(r"at most (\d+) image", re.IGNORECASE)  # vLLM; it says how many it takes
LONGEST_PROMPT = re.compile(r"maximum context length (?:is |of )?\(?(\d+)", re.IGNORECASE)
SENT_PROMPT = re.compile(r"input length \((\d+)\)|\((\d+) in the messages", re.IGNORECASE)  # as the server counted it
LESS = 0.8  # of a prompt that a server finds too long, if it is not so by our count, and the server does not say more


class OpenAIModel(ChatModel):
    """A model on a server: its replies are streamed, with one picture for each visual that has a keyframe."""

    captions_from_pictures = True

    def __init__(
        self,
        server: Server,
        model: ServedModel,
        pictures: PictureEncoder,
        concurrency: int,
        *,
        thinking: bool = True,
    ) -> None:
        super().__init__()
        self._parameters = Parameters(thinking=thinking)
        self._scheduler = Scheduler(concurrency, preempts=False)
        self.name = f"{model.name} at {server.host}"
        self.tokens_per_frame, self.dim = pictures.tokens_per_frame, pictures.dim
        self.max_context = model.max_context
        self._picture_tokens = PICTURE_TOKENS  # at least; more if the server says so
        self._server = server
        self._model_name = model.name
        self._pictures = pictures

    def encode(self, frames: Sequence[Frame]) -> torch.Tensor:
        """Vectors of pictures in the space of text vectors: float32 [N, 1, 384], unit norm; see `PictureEncoder`."""
        return self._pictures.encode(frames)

    def count_tokens(self, text: str) -> int:
        """About how many tokens a text takes, rather too many: every five letters are one, every other mark one."""
        return len(PIECE_OF_TEXT.findall(text))

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
        priority: Priority,  # noqa: ARG002 - there is one server
        cancel: CancelToken,
    ) -> Generator[str, None, None]:
        """Stream the reply as the server sends it; see `ChatModel.stream`. Closing or cancelling it hangs up.

        Raises StreamChatError, with what to do, if the server cannot be reached, refuses, or breaks off.
        """
        written = _written(messages, visuals)
        for lessons_left in reversed(range(MOST_LESSONS + 1)):
            longer = THINKING_TOKENS if self._server.thinks else 0
            settings = self._parameters.settings(
                max_new_tokens=max_new_tokens + longer, temperature=temperature, seed=seed
            )
            try:
                sent = self._parameters.messages(written)
                yield from self._server.stream(self._model_name, sent, cancel, **settings)
                return
            except LengthUsedUpError:
                if longer or not lessons_left:
                    raise
                self._server.thinks = True  # or it would have said a word
            except RefusedError as error:
                if self._learns(error.report, messages, visuals):
                    raise PromptTooLargeError(str(error)) from None
                if not lessons_left or not self._parameters.learn(error):
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
        reported, sent = LONGEST_PROMPT.search(report), SENT_PROMPT.search(report)
        length = self.prompt_tokens(messages, visuals)
        if sent is not None and pictures:  # texts are counted rather too long, so that the pictures are longer
            more = int(sent[1] or sent[2]) - length
            self._picture_tokens = max(self._picture_tokens, self._picture_tokens + -(-more // pictures))
            length = self.prompt_tokens(messages, visuals)
        most = min(self.max_context, int(reported[1])) if reported else self.max_context
        self.max_context = most if length > most else int(LESS * min(most, length))
        log.warning(
            "%s takes %d tokens, and about %d of them are a picture", self.name, self.max_context, self._picture_tokens
        )
        return True


def _has_picture(visual: Visual) -> bool:
    return visual.keyframe is not None or visual.frame is not None


def build(
    argument: str = "",
    device: str | None = None,
    *,
    concurrency: int = CONCURRENCY,
    thinking: bool = True,
    key: str | None = None,
) -> OpenAIModel:
    """Connect to the model of `load_model("openai:URL#NAME")`; without #NAME, to the only one that the server has.

    Without `thinking` the server is asked to let the model answer at once, as far as it knows how.

    The `key`, if the server wants one, is by default that of the environment variable OPENAI_API_KEY. Raises InputError
    for what is not of this form, and StreamChatError if the server does not answer.
    """
    if device not in (None, "cpu"):
        raise InputError(
            f"the model openai computes on its server, and here on the CPU, got the device {device!r}: "
            "leave the device out"
        )
    url, name = parse_address(argument)
    server = Server(url, key)
    model = server.choose(name)
    return OpenAIModel(server, model, PictureEncoder(Classifier(), minilm()), concurrency, thinking=thinking)


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
    picture = picture_of(visual)
    if picture is None:
        return None
    data = base64.b64encode(picture).decode()
    return {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{data}"}}
