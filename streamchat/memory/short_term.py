"""Short-term memory: the newest encoded frames, of which a few are drawn for a question (paper section 3.3)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from streamchat.types import EncodedFrame


def draw(
    frames: Sequence[EncodedFrame], count: int, *, decay: float, rng: np.random.Generator
) -> tuple[EncodedFrame, ...]:
    """Draw `count` of the candidate frames without replacement, and give them in time order.

    `frames` are in time order. The weight of a frame is exp(-age / decay), its age counted in frames from the newest,
    which has age 0: what was seen last is remembered best. (The released code weighs the oldest highest.)
    """
    if len(frames) <= count:
        return tuple(frames)
    ages = np.arange(len(frames))[::-1]
    weights = np.exp(-ages / decay)
    drawn = rng.choice(len(frames), size=count, replace=False, p=weights / weights.sum())
    return tuple(frames[index] for index in sorted(drawn))
