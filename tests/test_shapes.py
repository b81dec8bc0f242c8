"""Frames keep their proportions: the grid of tokens that a size gets, and that everything after it knows that grid."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch
from conftest import WordEmbedder, picture
from torch import Tensor
from vlm import CPU, KIN, Build, Load, Plain, conversation, greedy, moments, noise, say

from evaluation.methods import Recent
from streamchat.models.transformers import TransformersModel, loading
from streamchat.models.transformers.prompt_builder import PromptBuilder
from streamchat.models.transformers.vision import Grid, Size, best_grid, vision_of
from streamchat.options import Options
from streamchat.session.engine import StreamChat
from streamchat.session.live import LiveSession
from streamchat.types import Frame, Span, Visual
from streamchat.video.camera import PushSource
from streamchat.video.images import fit_within, letterboxed

MROPE = ("qwen2_5_vl", "qwen3_vl", *KIN)
STEPS = {"qwen2_5_vl": 28, "qwen2_vl": 28, "qwen3_vl": 32, "qwen3_vl_moe": 32, "qwen3_5": 32}  # pixels a token
BOUNDS = {28: 256, 32: 196}  # tokens of the square
WAIT_SECONDS = 60.0


class TestGrid:
    @pytest.mark.parametrize(
        ("size", "grid"),
        [
            ((720, 1280), (10, 18)),
            ((1280, 720), (18, 10)),
            ((1080, 1920), (10, 18)),
            ((432, 768), (10, 18)),
            ((252, 448), (10, 18)),
            ((480, 640), (12, 16)),
            ((272, 640), (9, 21)),
            ((9, 9), (14, 14)),
            ((1, 1), (14, 14)),
            ((16, 768), (2, 96)),
            ((1, 2000), (1, 196)),
            ((2000, 1), (196, 1)),
        ],
    )
    def test_it_has_the_proportions_of_the_frame_and_most_of_the_tokens(self, size: Size, grid: Grid) -> None:
        assert best_grid(size, least=1, most=196) == grid

    @pytest.mark.parametrize("most", [1, 2, 196, 256])
    def test_it_never_has_more_tokens_than_allowed_nor_none_a_side(self, most: int) -> None:
        for size in [(1, 1), (1, 5000), (5000, 1), (3, 2), (768, 16), (1440, 2560)]:
            rows, columns = best_grid(size, least=1, most=most)
            assert rows >= 1
            assert columns >= 1
            assert rows * columns <= most

    @pytest.mark.parametrize("most", BOUNDS.values())
    def test_usual_frames_lose_few_tokens_and_are_hardly_distorted(self, most: int) -> None:
        for width in range(300, 3001, 30):  # from 3:10 to 3:1
            rows, columns = best_grid((1000, width), least=1, most=most)
            assert rows * columns > 0.8 * most
            assert 0.91 < columns / rows / (width / 1000) < 1.1

    @pytest.mark.parametrize("most", BOUNDS.values())
    def test_it_is_found_again_from_the_number_of_tokens_and_a_scaled_size(self, most: int) -> None:
        drawn = random.Random(0)
        sizes = [(drawn.randint(60, 2200), drawn.randint(60, 2200)) for _ in range(400)]
        for height, width in [(1080, 1920), (1920, 1080), (858, 2048), (769, 1366), (1, 2000), (16, 768), *sizes]:
            rows, columns = best_grid((height, width), least=1, most=most)
            count = rows * columns
            assert best_grid((height, width), least=count, most=count) == (rows, columns)
            for side in (768, 448):
                smaller = fit_within(width, height, side)[::-1]
                assert best_grid(smaller, least=count, most=count) == (rows, columns), (height, width, smaller)


def sized(family: str, shape: str) -> Size:
    """A frame's size of which no pixel is resized on either path."""
    step = STEPS[family]
    rows, columns = {
        "wide": {28: (12, 21), 32: (10, 18)}[step],
        "tall": {28: (21, 12), 32: (18, 10)}[step],
        "thin": (2, 96),
    }[shape]
    return rows * step, columns * step


class Both:
    """A checkpoint on both paths: ours, and the plain one of `transformers`."""

    def __init__(self, family: str, build: Build) -> None:
        checkpoint = loading.load(build(family), CPU, torch.float32)
        self.model = checkpoint.model
        self.vision = vision_of(checkpoint.model, checkpoint.image_processor)
        self.prompter = PromptBuilder(checkpoint.tokenizer, checkpoint.image_token_id)
        self.plain = Plain(build(family), family)
        self.plain.processor.do_resize = False

    def encoded(self, frames: list[Frame]) -> Tensor:
        return torch.cat([self.vision.encode([frame.data]) for frame in frames])

    def assert_same(self, visuals: list[Visual], frames: list[Frame]) -> None:
        """What is said to the visuals is what is said, on the plain path, to the pixels of the frames."""
        runs = [self.vision.runs(one.tokens) for one in visuals if one.tokens is not None]
        ids = torch.tensor([self.prompter.ids(conversation(), runs)])
        wanted_ids, wanted_logits = greedy(self.plain.model, self.plain.inputs(frames, ids))
        got_ids, got_logits = greedy(self.model, {"input_ids": ids, **self.vision.inputs(ids, visuals)})
        torch.testing.assert_close(got_logits, wanted_logits, rtol=0, atol=1e-4)
        assert got_ids == wanted_ids


def visual(tokens: Tensor, frame: Frame) -> Visual:
    return Visual(tokens=tokens, span=Span(frame.pts_seconds, frame.pts_seconds), size=frame.data.shape[:2])


@pytest.mark.parametrize("family", MROPE)
class TestExactness:
    @pytest.fixture
    def both(self, family: str, build: Build) -> Both:
        return Both(family, build)

    @pytest.mark.parametrize("shape", ["wide", "tall", "thin"])
    def test_tokens_of_a_frame_in_its_own_shape_say_what_pixels_say(self, family: str, shape: str, both: Both) -> None:
        height, width = sized(family, shape)
        frames = noise(4, height, width)
        tokens = both.encoded(frames)
        assert tokens.shape[1] == height * width // STEPS[family] ** 2
        both.assert_same([visual(tokens[:2], frames[0]), visual(tokens[2:], frames[2])], frames)

    def test_frames_of_two_shapes_stand_in_one_prompt(self, family: str, both: Both) -> None:
        frames = [*noise(1, *sized(family, "wide")), *noise(1, *sized(family, "tall"))]
        both.assert_same([visual(both.encoded([frame]), frame) for frame in frames], frames)

    def test_an_average_says_what_averaged_features_of_the_plain_path_say(self, family: str, both: Both) -> None:
        frames = noise(4, *sized(family, "wide"))
        mean = both.encoded(frames).mean(0)

        def averaged(features: Tensor) -> Tensor:
            return features.unflatten(0, (len(frames), -1)).mean(0).repeat(len(frames), 1)

        def average(_module: object, _args: object, seen: Any) -> Any:
            seen.pooler_output = averaged(seen.pooler_output)
            if getattr(seen, "deepstack_features", None):
                seen.deepstack_features = [averaged(level) for level in seen.deepstack_features]
            return seen

        handle = both.plain.model.model.visual.register_forward_hook(average)
        try:
            both.assert_same([visual(mean.expand(2, -1, -1), frame) for frame in frames[:2]], frames)
        finally:
            handle.remove()


def grids_seen(model: TransformersModel, monkeypatch: pytest.MonkeyPatch) -> set[tuple[int, ...]]:
    """The grids of patches that replies are made with from now on."""
    seen: set[tuple[int, ...]] = set()
    for copy in {model._answering, model._captioning}:
        whole = copy.decoder.reply

        def reply(inputs: dict[str, Any], whole: Any = whole, **settings: Any) -> Any:
            if "image_grid_thw" in inputs:
                seen.update(map(tuple, inputs["image_grid_thw"].tolist()))
            return whole(inputs, **settings)

        monkeypatch.setattr(copy.decoder, "reply", reply)
    return seen


@pytest.mark.parametrize("family", MROPE)
class TestModel:
    @pytest.fixture
    def model(self, family: str, load: Load) -> TransformersModel:
        return load(family)

    @pytest.mark.parametrize("size", [(720, 1280), (54, 96), (9, 9), (16, 768), (768, 16), (1, 2000), (2000, 1)])
    def test_a_frame_of_any_size_is_seen_within_the_tokens_of_a_square(
        self, family: str, size: Size, model: TransformersModel
    ) -> None:
        assert model.tokens_per_frame == BOUNDS[STEPS[family]]
        (frame,) = noise(1, *size)
        tokens = model.encode([frame])
        rows, columns = best_grid(size, least=1, most=model.tokens_per_frame)
        assert tokens.shape == (1, rows * columns, model.dim)
        assert tokens.isfinite().all()
        seen = [visual(tokens, frame)] * 2
        assert say(model, conversation(), seen)

    @pytest.mark.parametrize("size", [(1080, 1920), (432, 768), (252, 448)])
    def test_the_size_of_the_frame_scaled_tells_the_same_grid(
        self, family: str, size: Size, model: TransformersModel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen = grids_seen(model, monkeypatch)
        tokens = model.encode(noise(2, 432, 768))
        say(model, conversation(), [Visual(tokens=tokens[n : n + 1], span=Span(n, n), size=size) for n in range(2)])
        rows, columns = (side // STEPS[family] for side in sized(family, "wide"))
        assert seen == {(1, 2 * rows, 2 * columns)}

    def test_without_a_size_only_a_square_is_understood(self, family: str, model: TransformersModel) -> None:
        del family
        square = model.encode(noise(2))
        assert say(model, conversation(), moments(square))
        with pytest.raises(ValueError, match=r"form a square, got \d+ a frame: give it the height and width"):
            say(model, conversation(), moments(model.encode(noise(2, 54, 96))))

    def test_frames_of_different_shapes_are_not_encoded_together(self, family: str, model: TransformersModel) -> None:
        del family
        with pytest.raises(ValueError, match="same proportions"):
            model.encode([*noise(1, 54, 96), *noise(1, 96, 54)])
        twice = model.encode([*noise(1, 54, 96), *noise(1, 108, 192)])
        assert len(twice) == 2


class TestStream:
    options = Options(selector="uniform", chunk_frames=4, group_nodes=2, heartbeat_seconds=1.0, max_new_tokens=4)

    @pytest.mark.parametrize("family", ["qwen2_5_vl", "qwen3_vl"])
    def test_captions_and_answers_of_a_wide_stream_know_its_grid(
        self, family: str, load: Load, embedder: WordEmbedder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        model = load(family)
        seen = grids_seen(model, monkeypatch)
        chat = StreamChat(model, self.options, embedder)
        for frame in noise(20, 54, 96):
            chat.push(frame)
        assert chat.ask("what is on the table ?").text
        assert chat.ask("what was before that ?", 9.5).text
        rows, columns = best_grid((54, 96), least=1, most=model.tokens_per_frame)
        assert seen == {(1, 2 * rows, 2 * columns)}

    def test_a_baseline_knows_it_too(self, load: Load, embedder: WordEmbedder, monkeypatch: pytest.MonkeyPatch) -> None:
        model = load("qwen3_vl")
        seen = grids_seen(model, monkeypatch)
        session = Recent(model, self.options, embedder)
        for frame in noise(3, 54, 96):
            session.push(frame)
        assert "".join(session.stream_answer("what is on the table ?", 2.0))
        assert seen == {(1, 20, 36)}

    def test_a_clip_of_which_only_a_small_picture_is_left_has_the_same_grid(
        self, load: Load, embedder: WordEmbedder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        model = load("qwen3_vl")
        chat = StreamChat(model, self.options, embedder)
        for frame in noise(9, 432, 768):
            chat.select(frame)
            chat.remember(chat.encode([(frame, False)]))
        chat.memory._clips.clear()  # as those do that wait longest when many wait
        seen = grids_seen(model, monkeypatch)
        assert chat.describe_next()
        assert seen == {(1, 20, 36)}

    def test_a_camera_that_is_turned_goes_on_in_the_shape_of_its_first_frame(
        self, load: Load, embedder: WordEmbedder
    ) -> None:
        source = PushSource()
        session = LiveSession(StreamChat(load("qwen3_vl"), self.options, embedder), source)
        session.start()
        for number in range(12):
            source.push(picture(20 * number, *((54, 96) if number < 5 else (96, 54))), float(number))
        source.close()
        assert session.wait_until(lambda stats: stats.finished and not stats.captions_pending, WAIT_SECONDS)
        newest = session.engine.newest
        assert newest is not None
        assert newest.data.shape == (54, 96, 3)
        assert newest.data[27, 48].tolist() == [220] * 3
        assert newest.data[:, :30].max() == newest.data[:, 66:].max() == 0, "black on both sides"
        assert "".join(session.ask("what is on the table ?"))
        session.close()


class TestLetterboxed:
    @pytest.mark.parametrize(
        ("size", "into", "inside"),
        [
            ((40, 40), (60, 100), (slice(0, 60), slice(20, 80))),
            ((100, 400), (300, 400), (slice(100, 200), slice(0, 400))),
            ((300, 900), (60, 60), (slice(20, 40), slice(0, 60))),
        ],
    )
    def test_all_of_the_picture_is_there_in_its_proportions(
        self, size: Size, into: Size, inside: tuple[slice, slice]
    ) -> None:
        boxed = letterboxed(picture(200, *size), into)
        expected = np.zeros((*into, 3), np.uint8)
        expected[inside] = 200
        assert np.array_equal(boxed, expected)

    def test_a_thin_picture_leaves_a_line(self) -> None:
        assert (letterboxed(picture(200, 1, 2000), (30, 40)).max(axis=(1, 2)) > 0).sum() == 1

    def test_a_picture_of_the_size_is_left_alone(self) -> None:
        shown = picture(7, 20, 30)
        assert letterboxed(shown, (20, 30)) is shown
