"""A deterministic stand-in for a vision-language model: for tests, and to read as the smallest `ChatModel`."""

from __future__ import annotations

from collections.abc import Generator, Sequence

import cv2
import numpy as np
import torch

from streamchat.models.base import ChatModel, Message, parts_of, takes_nothing
from streamchat.models.scheduler import CancelToken, Priority
from streamchat.types import Frame, Visual

GRID = 2  # a frame is seen as GRID x GRID mean colors


class FakeModel(ChatModel):
    """Sees a frame as four mean colors, and replies with what it was asked and shown. It understands nothing."""

    name = "Fake (for tests; it understands nothing)"
    tokens_per_frame = GRID * GRID
    dim = 3
    max_context = 4096

    def encode(self, frames: Sequence[Frame]) -> torch.Tensor:
        """Mean colors [N, 4, 3] of the four quarters of each frame, 0 to 1."""
        means = [cv2.resize(frame.data, (GRID, GRID), interpolation=cv2.INTER_AREA) for frame in frames]
        return torch.from_numpy(np.stack(means)).reshape(len(frames), self.tokens_per_frame, 3).float() / 255

    def count_tokens(self, text: str) -> int:
        """Words, as it has no vocabulary."""
        return len(text.split())

    def stream(
        self,
        messages: Sequence[Message],
        visuals: Sequence[Visual] = (),
        *,
        max_new_tokens: int,
        temperature: float,  # noqa: ARG002 - it is always greedy
        seed: int,  # noqa: ARG002
        priority: Priority,  # noqa: ARG002 - there is one copy of it
        cancel: CancelToken,
    ) -> Generator[str, None, None]:
        """Reply with the number of pictures, their mean brightness, and the last line of the prompt."""
        text = parts_of(messages[-1])[-1]["text"]
        tokens = [visual.tokens for visual in self.with_tokens(visuals) if visual.tokens is not None]
        pictures = sum(map(len, tokens))
        brightness = float(torch.cat(tokens).mean()) if tokens else 0.0
        reply = f"{pictures} pictures of brightness {brightness:.2f}, asked: {text.strip().splitlines()[-1]}"
        for word in reply.split()[:max_new_tokens]:
            cancel.check()
            yield word + " "


def build(argument: str = "", device: str | None = None) -> FakeModel:
    """The model of `load_model("fake")`; raises InputError for an argument or a device, of which it takes none."""
    takes_nothing("fake", argument, device)
    return FakeModel()
