"""Checkpoints from their folders: LongVA's original, damaged ones, devices, and random weights."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny_checkpoints
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, CLIPImageProcessorPil
from vlm import CPU, LENGTH, Build, Load, conversation, moments, noise, say

from streamchat.errors import InputError, StreamChatError
from streamchat.models import load_model, load_random_model
from streamchat.models.scheduler import NEVER, Priority
from streamchat.models.transformers import TransformersModel, loading, longva, random_weights
from streamchat.models.transformers.vision import vision_of
from streamchat.types import Clip, Span


class TestLongVA:
    def test_it_sees_as_the_same_weights_under_their_usual_names(self, build: Build, load: Load) -> None:
        checkpoint = loading.load(build("longva"), CPU, torch.float32)
        frames = noise(2)
        plain = CLIPImageProcessorPil(**tiny_checkpoints.CLIP_SIZES)
        pixels = plain([frame.data for frame in frames], return_tensors="pt").pixel_values
        with torch.inference_mode():
            maps = torch.stack(checkpoint.model.get_image_features(pixels).pooler_output)
        square = maps.unflatten(1, (4, 4)).permute(0, 3, 1, 2)
        pooled = torch.nn.functional.avg_pool2d(square, 2).flatten(2).transpose(1, 2)
        tokens = load("longva").encode(frames)
        torch.testing.assert_close(tokens, pooled, rtol=0, atol=1e-5)

    def test_it_speaks_as_with_the_tokens_put_in_by_hand(self, build: Build, load: Load) -> None:
        model, checkpoint = load("longva"), loading.load(build("longva"), CPU, torch.float32)
        tokens = model.encode(noise(4))
        ids = torch.tensor([model._prompt_builder.ids(conversation(), [[8], [8]])])
        embedded = checkpoint.model.get_input_embeddings()(ids)
        embedded[ids == checkpoint.image_token_id] = tokens.flatten(0, 1)
        with torch.inference_mode():
            by_hand = checkpoint.model.generate(inputs_embeds=embedded, max_new_tokens=LENGTH, do_sample=False)
        assert say(model, conversation(), moments(tokens)) == model._prompt_builder.text(by_hand[0].tolist())

    def test_the_original_shape_gives_144_tokens_a_frame_and_keeps_its_positions(self, build: Build) -> None:
        clip = longva.CLIP_L_336
        assert (clip["image_size"] // clip["patch_size"] // longva.POOL) ** 2 == 144
        config = loading.load(build("longva"), CPU, torch.float32).model.config
        assert config.text_config.rope_parameters["rope_theta"] == 1e9

    @pytest.mark.parametrize("kind", ["missing", "unexpected"])
    def test_weights_that_do_not_fit_are_named(self, kind: str, build: Build, tmp_path: Path) -> None:
        folder = copied(build("longva"), tmp_path)
        weights = load_file(folder / "model.safetensors")
        if kind == "missing":
            del weights["model.mm_projector.2.weight"]
            name = "multi_modal_projector.linear_2.weight"
        else:
            weights[name := "model.mm_projector.4.weight"] = torch.zeros(2, 2)
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(StreamChatError, match=rf"{kind} keys: .*{name}"):
            loading.load(folder, CPU, torch.float32)

    def test_another_projector_is_refused(self, build: Build, tmp_path: Path) -> None:
        folder = copied(build("longva"), tmp_path)
        config = (folder / "config.json").read_text()
        (folder / "config.json").write_text(config.replace("mlp2x_gelu", "linear"))
        with pytest.raises(StreamChatError, match="mm_projector_type 'linear'"):
            loading.load(folder, CPU, torch.float32)


def copied(folder: Path, target: Path) -> Path:
    for file in folder.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    return target


class TestBadCheckpoints:
    def test_a_missing_weight_is_named(self, build: Build, tmp_path: Path) -> None:
        folder = copied(build("smolvlm"), tmp_path)
        weights = load_file(folder / "model.safetensors")
        lost = next(name for name in weights if "q_proj" in name)
        save_file({n: w for n, w in weights.items() if n != lost}, folder / "model.safetensors", {"format": "pt"})
        with pytest.raises(StreamChatError, match=r"missing keys: .*q_proj.*download it again"):
            loading.load(folder, CPU, torch.float32)

    def test_a_torn_file_is_an_error_without_a_traceback(self, build: Build, tmp_path: Path) -> None:
        folder = copied(build("llava"), tmp_path)
        weights = (folder / "model.safetensors").read_bytes()
        (folder / "model.safetensors").write_bytes(weights[: len(weights) // 2])
        with pytest.raises(StreamChatError, match="cannot be loaded"):
            loading.load(folder, CPU, torch.float32)

    def test_without_a_chat_template_it_is_refused(self, build: Build, tmp_path: Path) -> None:
        folder = copied(build("llava"), tmp_path)
        (folder / "chat_template.jinja").unlink()
        with pytest.raises(StreamChatError, match="no chat template"):
            loading.load(folder, CPU, torch.float32)

    def test_an_older_place_of_the_template_is_found(self, build: Build, tmp_path: Path) -> None:
        folder = copied(build("llava"), tmp_path)
        template = (folder / "chat_template.jinja").read_text()
        (folder / "chat_template.jinja").unlink()
        (folder / "chat_template.json").write_text(json.dumps({"chat_template": template}))
        assert loading.load(folder, CPU, torch.float32).tokenizer.chat_template == template

    def test_a_kind_of_model_that_is_not_known_is_refused(self, build: Build) -> None:
        checkpoint = loading.load(build("llava"), CPU, torch.float32)
        checkpoint.model.config.model_type = "blip"
        with pytest.raises(StreamChatError, match=r"type 'blip' are not supported.*qwen3_vl"):
            vision_of(checkpoint.model, checkpoint.image_processor)


class TestDevices:
    def test_two_copies_say_what_one_says_and_do_not_wait_for_each_other(self, build: Build, load: Load) -> None:
        two = load_model(str(build("qwen3_vl")), device="cpu,cpu")
        assert isinstance(two, TransformersModel)
        one = load("qwen3_vl")
        tokens = one.encode(noise(4))
        torch.testing.assert_close(two.encode(noise(4)), tokens)
        with (
            two.scheduler(Priority.CAPTION).slot(Priority.CAPTION),
            two.scheduler(Priority.QUESTION).slot(Priority.QUESTION),
        ):
            assert say(two, conversation(), moments(tokens)) == say(one, conversation(), moments(tokens))
        frames = noise(4)
        clip = Clip(tokens, tuple(frames), Span(0, 3))
        assert two.caption(clip, NEVER).text == one.caption(clip, NEVER).text


class TestRandomWeights:
    def test_the_architectures_have_the_size_of_the_real_ones(self) -> None:
        sizes = {
            name: random_weights.count(AutoConfig.for_model(**json.loads(path.read_text())["config"]))
            for name in random_weights.names()
            for path in [random_weights.ARCHITECTURES / f"{name}.json"]
        }
        billions = {name: round(size / 1e9, 1) for name, size in sizes.items()}
        assert billions == {"qwen3-vl-8b": 8.8, "llava-onevision-7b": 8.0, "longva-7b": 7.9, "tiny": 0.0}

    @pytest.mark.parametrize("name", ["qwen3-vl-8b", "llava-onevision-7b", "longva-7b"])
    def test_a_small_one_of_the_same_kind_speaks_and_says_that_it_means_nothing(
        self, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        description = json.loads((random_weights.ARCHITECTURES / f"{name}.json").read_text())
        family = {"qwen3-vl-8b": "qwen3_vl", "llava-onevision-7b": "llava_onevision", "longva-7b": "llava"}[name]
        make, tokens, template = tiny_checkpoints.FAMILIES[family]
        config = make(tiny_checkpoints.tokenizer(tokens, template))[0].to_dict()
        (tmp_path / f"{name}.json").write_text(json.dumps({**description, "config": config}))
        monkeypatch.setattr(random_weights, "ARCHITECTURES", tmp_path)
        model = load_random_model(name, device="cpu")
        assert "mean nothing" in model.name
        clip = Clip(model.encode(noise(2)), tuple(noise(2)), Span(0, 2))
        assert model.caption(clip, NEVER).text.startswith("[random weights")

    def test_an_unknown_architecture_lists_those_that_ship(self) -> None:
        with pytest.raises(InputError, match=r"no architecture 'gpt'.*longva-7b"):
            load_random_model("gpt")

    def test_what_the_memory_cannot_hold_is_refused_before_it_is_made(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(random_weights.psutil, "virtual_memory", lambda: SimpleNamespace(available=2**30))
        with pytest.raises(StreamChatError, match="needs 33 GiB"):
            load_random_model("qwen3-vl-8b", device="cpu")
