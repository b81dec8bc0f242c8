"""The same on a GPU. Without one these tests are skipped, or fail if FAIL_WITHOUT_CUDA=1 says that one is there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import tiny_checkpoints
import torch
from conftest import WordEmbedder
from vlm import EIGHT, conversation, moments, noise, say

from streamchat.models import load_model
from streamchat.models.transformers import TransformersModel, loading
from streamchat.options import Options
from streamchat.session.engine import StreamChat

pytestmark = pytest.mark.gpu
FAMILIES = [*EIGHT, "qwen3_5", "longva"]


@pytest.fixture(autouse=True)
def gpu() -> torch.device:
    if not torch.cuda.is_available():
        if os.environ.get("FAIL_WITHOUT_CUDA") == "1":
            pytest.fail("there is no GPU, and FAIL_WITHOUT_CUDA=1 says that there must be one")
        pytest.skip("there is no GPU")
    return torch.device("cuda:0")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_gpu_sees_and_says_what_a_cpu_does(
    family: str, gpu: torch.device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)  # a GPU's convolutions round float32 by default
    folder = tiny_checkpoints.build(family, tmp_path / family)
    there, here = (
        TransformersModel([loading.load(folder, device, torch.float32)], family)
        for device in (gpu, torch.device("cpu"))
    )
    frames = noise(4)
    tokens = there.encode(frames)
    assert tokens.device.type == "cpu"
    torch.testing.assert_close(tokens, here.encode(frames), rtol=1e-3, atol=1e-3)
    assert say(there, conversation(), moments(tokens)) == say(here, conversation(), moments(tokens))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_video_is_talked_about_in_half_precision(
    family: str, gpu: torch.device, tmp_path: Path, embedder: WordEmbedder
) -> None:
    model = load_model(str(tiny_checkpoints.build(family, tmp_path / family)), device=str(gpu))
    chat = StreamChat(model, Options(selector="uniform", chunk_frames=4, group_nodes=2, max_new_tokens=8), embedder)
    for frame in noise(40):
        chat.push(frame)
    assert model.encode(noise(1)).dtype == torch.bfloat16
    assert chat.ask("what is on the table ?").text


def test_two_copies_on_one_gpu_say_what_one_says(gpu: torch.device, tmp_path: Path) -> None:
    folder = str(tiny_checkpoints.build("qwen3_vl", tmp_path / "qwen3_vl"))
    one, two = load_model(folder, device="cuda:0"), load_model(folder, device="cuda:0,cuda:0")
    assert isinstance(one, TransformersModel)
    assert isinstance(two, TransformersModel)
    tokens = one.encode(noise(4))
    assert say(two, conversation(), moments(tokens)) == say(one, conversation(), moments(tokens))
