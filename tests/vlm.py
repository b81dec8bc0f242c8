"""What the tests of vision-language checkpoints share: noise to look at, a conversation about it, and a way to ask."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from streamchat.gate import Priority
from streamchat.models.base import Message
from streamchat.models.transformers import TransformersModel
from streamchat.types import Frame, Span, Visual

CPU = torch.device("cpu")
EIGHT = ("llava", "llava_next_video", "llava_onevision", "smolvlm", "idefics3", "internvl", "qwen2_5_vl", "qwen3_vl")
LENGTH = 12  # tokens of a reply

Build = Callable[[str], Path]  # a family's tiny checkpoint
Load = Callable[[str], TransformersModel]


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
    return "".join(model.stream(messages, visuals, priority=priority, **settings))
