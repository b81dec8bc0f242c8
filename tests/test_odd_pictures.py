"""Pictures of any shape and size: the built-in model takes them, from the first frame to an answer."""

from __future__ import annotations

import numpy as np
import pytest

from streamchat.models.base import Model
from streamchat.models.scheduler import NEVER
from streamchat.options import Options
from streamchat.session.engine import StreamChat
from streamchat.types import Frame

OPTIONS = Options(selector="uniform", heartbeat_seconds=1.0, chunk_frames=2)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (9, 9), (16, 768), (4096, 8)])
def test_the_built_in_model_takes_every_shape(embedded_model: Model, height: int, width: int) -> None:
    chat = StreamChat(embedded_model, OPTIONS)
    random = np.random.default_rng(0)
    for number in range(8):
        chat.push(Frame(random.integers(0, 255, (height, width, 3), np.uint8), number / 2, number))
    while embedded_model.idle(NEVER):
        pass
    assert chat.ask("What is shown?").text
    assert chat.memory.uncaptioned == 0
    assert chat.counts().nodes_by_level[0] >= 2
