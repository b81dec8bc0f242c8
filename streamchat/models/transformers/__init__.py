"""Vision-language models of `transformers`: LLaVA, SmolVLM, InternVL, Qwen-VL and their kin, and LongVA."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import NamedTuple

import torch

from streamchat.checkpoints.machine import devices_of
from streamchat.checkpoints.stored import local_folder
from streamchat.errors import InputError, StreamChatError
from streamchat.models.base import ChatModel, Message
from streamchat.models.scheduler import CancelToken, Priority, Scheduler
from streamchat.models.transformers import random_weights
from streamchat.models.transformers.decoder import Decoder
from streamchat.models.transformers.loading import Checkpoint, dtype_of, load
from streamchat.models.transformers.prompt_builder import PromptBuilder
from streamchat.models.transformers.vision import Vision, tokens_of, vision_of
from streamchat.threads import limit_torch_threads
from streamchat.types import Frame, Visual

CPU_CONTEXT = 4096  # tokens: a CPU reads some hundreds a second, and the first word must not take a minute
UNFINISHED = "\ufffd"  # what an incomplete character is decoded to


class _Copy(NamedTuple):
    """One loaded copy of the checkpoint."""

    vision: Vision
    decoder: Decoder
    device: torch.device


class TransformersModel(ChatModel):
    """A checkpoint that sees and speaks.

    Frames are encoded once, by themselves, and their tokens kept on the CPU; a prompt takes any of them, or averages of
    them, in any number. Of two copies of the checkpoint (paper section 3.5) the first answers questions, and the second
    sees and captions.
    """

    def __init__(self, checkpoints: Sequence[Checkpoint], name: str, *, prefix: str = "") -> None:
        super().__init__()
        self.name = name
        self._prefix = prefix  # stands before every reply
        copies = [
            _Copy(
                vision_of(one.model, one.image_processor, pool=one.pool), Decoder(one.model, one.stop_ids), one.device
            )
            for one in checkpoints
        ]
        self._answering, self._captioning = copies[0], copies[-1]
        self._caption_scheduler = self._scheduler if len(copies) == 1 else Scheduler()
        answering = checkpoints[0]
        self._vision = copies[-1].vision
        self._prompt_builder = PromptBuilder(answering.tokenizer, answering.image_token_id)
        self.tokens_per_frame, self.dim = self._vision.tokens_per_frame, self._vision.dim
        self.number_bytes = checkpoints[-1].model.dtype.itemsize
        on_cpu = answering.device.type == "cpu"
        self.max_context = min(answering.max_context, CPU_CONTEXT) if on_cpu else answering.max_context

    def scheduler(self, priority: Priority) -> Scheduler:
        """Of two copies each has its own; of one, questions pause captions between tokens."""
        return self._scheduler if priority is Priority.QUESTION else self._caption_scheduler

    def encode(self, frames: Sequence[Frame]) -> torch.Tensor:
        """Visual tokens [N, P, D] of N frames, on the CPU, in the model's dtype; every frame is encoded by itself.

        Families that take any size see frames in their own proportions, on which P then depends; see `vision`. Raises
        ValueError for frames whose proportions differ.
        """
        return self._vision.encode([frame.data for frame in frames])

    def count_tokens(self, text: str) -> int:
        """How many tokens of the language model a text takes."""
        return self._prompt_builder.count(text)

    def prompt_tokens(self, messages: Sequence[Message], visuals: Sequence[Visual]) -> int:
        """How many tokens of the language model a whole prompt takes, exactly."""
        coming = torch.empty(1, self.tokens_per_frame, 0)  # of a frame that is encoded when the prompt is
        tokens = [coming if visual.tokens is None else visual.tokens for visual in visuals]
        return len(self._prompt_builder.ids(messages, [self._vision.runs(one) for one in tokens]))

    def stream(
        self,
        messages: Sequence[Message],
        visuals: Sequence[Visual] = (),
        *,
        max_new_tokens: int,
        temperature: float,
        seed: int,
        priority: Priority,
        cancel: CancelToken,
    ) -> Generator[str, None, None]:
        """Stream the reply in pieces of whole characters; see `ChatModel.stream`.

        Raises StreamChatError if the device's memory runs out.
        """
        vision, decoder, device = self._answering if priority is Priority.QUESTION else self._captioning
        visuals = self.with_tokens(visuals)
        runs = [vision.runs(tokens_of(visual)) for visual in visuals]
        ids = torch.tensor([self._prompt_builder.ids(messages, runs)], device=device)
        generated: list[int] = []
        emitted = ""
        text = self._prefix
        try:
            seen = vision.inputs(ids, visuals) if visuals else {}
            for token in decoder.reply(
                {"input_ids": ids, **seen}, max_new_tokens=max_new_tokens, temperature=temperature, seed=seed
            ):
                generated.append(token)
                text = self._prefix + self._prompt_builder.text(generated)
                if len(text) > len(emitted) and not text.endswith(UNFINISHED):
                    yield text[len(emitted) :]
                    emitted = text
                cancel.check()
        except torch.OutOfMemoryError as error:
            raise StreamChatError(
                f"the memory of {device} ran out over a prompt of {ids.shape[1]} tokens: take a smaller model"
            ) from error
        if len(text) > len(emitted):
            yield text[len(emitted) :]


def build(argument: str = "", device: str | None = None) -> TransformersModel:
    """Load a checkpoint: its folder, or its name on the Hub if it was downloaded.

    `device` is one, such as "cuda:0", or two with a comma, for a copy each. Raises InputError for what is neither, and
    StreamChatError if the checkpoint is not here or cannot be loaded.
    """
    if not argument:
        raise InputError(
            "the model transformers needs a checkpoint: give its folder or its name on the Hub as the model"
        )
    folder = local_folder(argument)
    limit_torch_threads()
    devices = devices_of(device)
    checkpoints = [load(folder, one, dtype_of(one)) for one in devices]
    title = argument.rstrip("/").rpartition("/")[2]
    return TransformersModel(checkpoints, f"{title} on {_written(devices)}")


def build_random(architecture: str, device: str | None = None) -> TransformersModel:
    """A model of a real one's full size with random weights, for measuring speed; see `random_weights`.

    Raises InputError for an unknown architecture, and StreamChatError if the memory does not hold it.
    """
    devices = devices_of(device)
    limit_torch_threads()
    checkpoints = [random_weights.make(architecture, one, dtype_of(one)) for one in devices]
    title = f"{random_weights.title_of(architecture)} with random weights (its answers mean nothing)"
    return TransformersModel(checkpoints, f"{title} on {_written(devices)}", prefix=random_weights.NOTICE)


def _written(devices: Sequence[torch.device]) -> str:
    return " and ".join(map(str, devices))
