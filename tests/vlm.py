"""What the tests of vision-language checkpoints share: noise to look at, a conversation about it, and a way to ask."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AutoImageProcessor, AutoModelForImageTextToText

from streamchat.models.base import Message
from streamchat.models.scheduler import NEVER, Priority
from streamchat.models.transformers import TransformersModel
from streamchat.types import Frame, Span, Visual

CPU = torch.device("cpu")
EIGHT = ("llava", "llava_next_video", "llava_onevision", "smolvlm", "idefics3", "internvl", "qwen2_5_vl", "qwen3_vl")
KIN = ("qwen2_vl", "qwen3_vl_moe", "qwen3_5")  # what shares their interface
VIDEO = ("llava_next_video", "llava_onevision")  # whose plain path for frames is that of videos
LENGTH = 12  # tokens of a reply

Build = Callable[[str], Path]  # a family's tiny checkpoint
Load = Callable[[str], TransformersModel]


class Plain:
    """The same checkpoint through nothing but `transformers`, from pixels."""

    def __init__(self, folder: Path, family: str) -> None:
        self.family = family
        self.model = AutoModelForImageTextToText.from_pretrained(folder).eval()
        self.processor = AutoImageProcessor.from_pretrained(folder)

    def inputs(self, frames: list[Frame], ids: Tensor) -> dict[str, Tensor]:
        pictures = [frame.data for frame in frames]
        config = self.model.config
        if self.family in VIDEO:
            base = self.processor(images=pictures, image_grid_pinpoints=[[64, 64]], return_tensors="pt").pixel_values
            videos = base[:, 0].unflatten(0, (2, len(frames) // 2))
            swapped = torch.where(ids == config.image_token_id, config.video_token_id, ids)
            return {"input_ids": swapped, "pixel_values_videos": videos}
        nested = [pictures] if self.family in ("smolvlm", "idefics3") else pictures
        seen = dict(self.processor(images=nested, return_tensors="pt"))
        seen.pop("num_patches", None)
        seen.pop("rows", None), seen.pop("cols", None)
        if "qwen" in self.family:
            seen["mm_token_type_ids"] = (ids == config.image_token_id).int()
        return {"input_ids": ids, **seen}


def greedy(model: Any, inputs: dict[str, Any]) -> tuple[list[int], Tensor]:
    """Ids of a greedy reply, and the logits [T, V] that they were chosen by."""
    with torch.inference_mode():
        out = model.generate(
            **inputs, max_new_tokens=LENGTH, do_sample=False, output_logits=True, return_dict_in_generate=True
        )
    return out.sequences[0, inputs["input_ids"].shape[1] :].tolist(), torch.cat(out.logits)


def noise(count: int, height: int = 64, width: int = 64) -> list[Frame]:
    rng = np.random.default_rng(7)
    return [
        Frame(rng.integers(0, 256, (height, width, 3), dtype=np.uint8), float(number), number)
        for number in range(count)
    ]


def conversation(text: str = "what is on the table ?") -> list[Message]:
    """Two moments between texts, as the engine's prompts have them."""
    return [
        {"role": "system", "content": "you see the video ."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "the park .\n[0:00–0:01]"},
                {"type": "image"},
                {"type": "text", "text": "\n[0:02]"},
                {"type": "image"},
                {"type": "text", "text": f"\n{text}"},
            ],
        },
    ]


def moments(tokens: Tensor) -> list[Visual]:
    half = len(tokens) // 2
    return [
        Visual(tokens=tokens[:half], span=Span(0, 1)),
        Visual(tokens=tokens[half:], span=Span(2, 3)),
    ]


def say(model: TransformersModel, messages: list[Message], visuals: list[Visual], **changes: Any) -> str:
    settings: dict[str, Any] = {"max_new_tokens": LENGTH, "temperature": 0.0, "seed": 0} | changes
    priority = settings.pop("priority", Priority.QUESTION)
    return "".join(model.stream(messages, visuals, priority=priority, **settings, cancel=NEVER))
