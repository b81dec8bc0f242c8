"""The vision tower of a checkpoint: frames into tokens, each by itself, and tokens into the model's input.

Every frame is one view without tiles, of which nothing is cut away: in its own proportions where the vision tower takes
any size, else squeezed into the square that the tower was made for. What the families do differently is in `FAMILIES`,
and in `_Patches` for those with M-RoPE.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import avg_pool2d
from transformers import LlavaModel
from transformers.modeling_outputs import BaseModelOutputWithPooling

from streamchat.errors import StreamChatError
from streamchat.types import Visual

VisionLanguageModel = Any  # what `transformers` builds; its annotations do not distinguish the families
ImageProcessor = Any
BATCH_FRAMES = 16  # frames that go through the vision tower at once
PATCH_MODEL_SIDE = 448  # pixels of the square whose tokens are the most that families of any size spend on a frame
COLORS = 255.0

Size = tuple[int, int]  # height, width in pixels
Grid = tuple[int, int]  # rows, columns of tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """What sets a family of models apart from the others."""

    # Pixels [N, 3, S, S] to token maps: a tensor [N, P, D], or a list.
    features: Callable[[VisionLanguageModel, Tensor], Any]
    one_run: bool = False  # the frames of one moment are one run of tokens, not a run each
    newline: bool = False  # a run ends with the model's `image_newline`
    batched: bool = False  # takes features as [1, T, D] instead of a list of [T, D]


def _images(model: VisionLanguageModel, pixels: Tensor) -> Any:
    return model.get_image_features(pixel_values=pixels).pooler_output


def _sets_of_one_image(model: VisionLanguageModel, pixels: Tensor) -> Any:
    return model.get_image_features(pixel_values=pixels[:, None]).pooler_output


def _base_views(model: VisionLanguageModel, pixels: Tensor) -> Any:
    """LLaVA-NeXT's own method wants tiles; the plain LLaVA's, on the same parts, gives the view of the whole."""
    return LlavaModel.get_image_features(model.model, pixel_values=pixels).pooler_output


def _videos_of_one_frame(model: VisionLanguageModel, pixels: Tensor) -> Any:
    return model.get_video_features(pixel_values_videos=pixels[:, None]).pooler_output


def _videos_less_newline(model: VisionLanguageModel, pixels: Tensor) -> Any:
    return _videos_of_one_frame(model, pixels)[:, :-1]


FAMILIES: dict[str, Family | None] = {  # None: patches of any size and M-RoPE
    "idefics3": Family(features=_sets_of_one_image),
    "internvl": Family(features=_images, batched=True),
    "llava": Family(features=_images, one_run=True),
    "llava_next": Family(features=_base_views, one_run=True),
    "llava_next_video": Family(features=_videos_of_one_frame, one_run=True),
    "llava_onevision": Family(features=_videos_less_newline, one_run=True, newline=True),
    "qwen2_5_vl": None,
    "qwen2_vl": None,
    "qwen3_5": None,
    "qwen3_5_moe": None,
    "qwen3_vl": None,
    "qwen3_vl_moe": None,
    "smolvlm": Family(features=_sets_of_one_image),
}


@lru_cache(maxsize=256)
def best_grid(size: Size, *, least: int, most: int) -> Grid:
    """The grid of `least` to `most` tokens in all that suits a picture of this size best.

    That is the one of most tokens, where a percent of wrong proportions costs as much as two percent of the tokens. Of
    exactly so many tokens it is the one of nearest proportions, so that the grid of a frame is found again from its
    number of tokens, and its size or that of the same frame scaled.
    """
    height, width = size

    def worth(grid: Grid) -> float:
        rows, columns = grid
        narrower, wider = sorted((rows * width, columns * height))
        return rows * columns * (narrower / wider) ** 2

    grids = ((rows, columns) for rows in range(1, most + 1) for columns in range(-(-least // rows), most // rows + 1))
    return max(grids, key=worth)


def vision_of(model: VisionLanguageModel, processor: ImageProcessor, *, pool: int = 1) -> Vision:
    """The vision tower of a loaded model; `pool` averages squares of so many tokens a side (LongVA: 2).

    Raises StreamChatError for a family that is not known, as its tokens would silently be wrong.
    """
    kind = model.config.model_type
    if kind not in FAMILIES:
        raise StreamChatError(
            f"models of type {kind!r} are not supported: take one of {', '.join(sorted(FAMILIES))}, "
            "or serve it with vLLM and use --model openai:URL#NAME"
        )
    family = FAMILIES[kind]
    return _Patches(model, processor) if family is None else _Pictures(model, processor, family, pool)


def tokens_of(visual: Visual) -> Tensor:
    """The tokens [K, P, D] of a visual whose frame was encoded."""
    if visual.tokens is None:
        raise ValueError(f"the frame at {visual.span.start} s was not encoded before it came into a prompt")
    return visual.tokens


class Vision:
    """Turns frames into tokens that are kept, and kept tokens into input of the language model."""

    tokens_per_frame: int  # P at most
    dim: int  # D as kept

    def __init__(self, model: VisionLanguageModel, processor: ImageProcessor, side: int) -> None:
        self._model = model
        self._processor = processor
        self._width = model.config.get_text_config().hidden_size
        self.tokens_per_frame, self.dim = 0, 0
        self.tokens_per_frame, self.dim = self.encode([np.zeros((side, side, 3), np.uint8)]).shape[1:]

    def encode(self, pictures: Sequence[np.ndarray]) -> Tensor:
        """Tokens [N, P, D] of pictures, uint8 [H, W, 3] RGB, on the CPU in the model's dtype.

        Raises ValueError for pictures whose proportions differ, where P depends on them.
        """
        sizes = {picture.shape[:2] for picture in pictures}
        if len({self._seen_size(size) for size in sizes}) > 1:
            raise ValueError(f"pictures encoded together must have the same proportions, got height, width {sizes}")
        batches = [pictures[start : start + BATCH_FRAMES] for start in range(0, len(pictures), BATCH_FRAMES)]
        if not batches:
            return torch.zeros(0, self.tokens_per_frame, self.dim, dtype=self._model.dtype)
        with torch.no_grad():
            maps = (self._encode_images([self._resized(picture) for picture in batch]).cpu() for batch in batches)
            return torch.cat(list(maps))

    def runs(self, tokens: Tensor) -> list[int]:
        """How many visual tokens each placeholder stands for, of a moment with tokens [K, P, D]."""
        return [tokens.shape[1]] * len(tokens)

    def inputs(self, ids: Tensor, visuals: Sequence[Visual]) -> dict[str, Any]:
        """What `generate` needs besides the prompt's ids [1, T] to see visuals with tokens [K, P, D] each."""
        raise NotImplementedError

    def _seen_size(self, size: Size) -> Size:
        """The size at which the tower sees a picture of this size."""
        raise NotImplementedError

    def _encode_images(self, pictures: Sequence[np.ndarray]) -> Tensor:
        """Tokens [N, P, D] of pictures of the size that the tower sees."""
        raise NotImplementedError

    def _resized(self, picture: np.ndarray) -> np.ndarray:
        height, width = self._seen_size(picture.shape[:2])
        if picture.shape[:2] == (height, width):
            return picture
        return np.asarray(Image.fromarray(picture).resize((width, height), self._processor.resample))

    def _moved(self, tokens: Tensor) -> Tensor:
        """Tokens [K, P, D] as rows [K * P, D] on the model's device."""
        return tokens.to(self._model.device, self._model.dtype).flatten(0, 1)

    def _stacked(self, maps: Any, count: int) -> Tensor:
        """Token maps of one output, a tensor or a list, as [N, P, width of the language model]."""
        return (maps if isinstance(maps, Tensor) else torch.cat(list(maps))).reshape(count, -1, self._width)


class _Pictures(Vision):
    """Families whose vision tower takes squares of one size.

    Frames are squeezed into them, not letterboxed, as that keeps small text better. Measured with the built-in model's
    reader on lines of `cv2.putText` in 1280 x 720, scaled to 768 and then to 336 pixels a side: of 8541 characters, 14
    to 54 pixels high, it read 91 % squeezed and 82 % letterboxed; of those 14 high 29 and 1 %, or 50 and 5 % once the
    square was scaled back to the proportions of the frame. Upright frames gave 89 and 84 % in all.
    """

    def __init__(self, model: VisionLanguageModel, processor: ImageProcessor, family: Family, pool: int) -> None:
        self._family = family
        self._pool = pool
        side = model.config.vision_config.image_size
        self._side = side if isinstance(side, int) else side[0]
        super().__init__(model, processor, self._side)

    def runs(self, tokens: Tensor) -> list[int]:
        single = super().runs(tokens)
        return [sum(single) + self._family.newline] if self._family.one_run else single

    def inputs(self, ids: Tensor, visuals: Sequence[Visual]) -> dict[str, Any]:  # noqa: ARG002
        rows = [self._moved(tokens_of(visual)) for visual in visuals]
        if self._family.newline:
            newline = self._model.model.image_newline[None]
            rows = [torch.cat([row, newline.to(row)]) for row in rows]
        flat = torch.cat(rows)
        output = BaseModelOutputWithPooling(pooler_output=flat[None] if self._family.batched else [flat])
        return {"mm_encoder_outputs": {"image": output}}

    def _seen_size(self, size: Size) -> Size:  # noqa: ARG002
        return self._side, self._side

    def _encode_images(self, pictures: Sequence[np.ndarray]) -> Tensor:
        # Resized already: only the colors are left of the image processor's work.
        device, processor = self._model.device, self._processor
        pixels = torch.from_numpy(np.stack(pictures)).to(device).permute(0, 3, 1, 2).float() / COLORS
        mean = torch.tensor(processor.image_mean, device=device)[:, None, None]
        spread = torch.tensor(processor.image_std, device=device)[:, None, None]
        maps = self._family.features(self._model, ((pixels - mean) / spread).to(self._model.dtype))
        tokens = self._stacked(maps, len(pictures))
        if self._pool == 1:
            return tokens
        grid = math.isqrt(tokens.shape[1])
        square = tokens.unflatten(1, (grid, grid)).permute(0, 3, 1, 2)
        return avg_pool2d(square, self._pool).flatten(2).transpose(1, 2)


class _Patches(Vision):
    """Families that take patches of any size, with positions in two dimensions (M-RoPE).

    P is at most that of a square of `PATCH_MODEL_SIDE` pixels. Small frames are enlarged, so that it depends on nothing
    but the proportions.

    Qwen3's DeepStack levels, which enter deeper layers of the language model, stand beside the token on the last axis.
    """

    def __init__(self, model: VisionLanguageModel, processor: ImageProcessor) -> None:
        self._merge = processor.merge_size
        self._step = processor.patch_size * processor.merge_size  # pixels a side that become one token
        side = PATCH_MODEL_SIDE // self._step
        self._most = side * side
        super().__init__(model, processor, side * self._step)

    def inputs(self, ids: Tensor, visuals: Sequence[Visual]) -> dict[str, Any]:
        moved = torch.cat([self._moved(tokens_of(visual)) for visual in visuals])
        tokens, *levels = moved.split(self._width, 1)
        grids = [self._patches(visual) for visual in visuals for _ in tokens_of(visual)]
        output = BaseModelOutputWithPooling(pooler_output=[tokens])
        if levels:
            output["deepstack_features"] = [[level] for level in levels]
        return {
            "mm_encoder_outputs": {"image": output},
            "image_grid_thw": torch.tensor(grids, device=self._model.device),
            "mm_token_type_ids": (ids == self._model.config.image_token_id).int(),  # or positions are silently wrong
        }

    def _patches(self, visual: Visual) -> tuple[int, int, int]:
        """Frames, rows and columns of patches behind one token map, from before they were merged."""
        count = tokens_of(visual).shape[1]
        rows = columns = math.isqrt(count)
        if visual.size is not None:
            rows, columns = best_grid(visual.size, least=count, most=count)
        elif rows * columns != count:
            raise ValueError(
                f"a visual without a size must have tokens that form a square, got {count} a frame: give it the "
                "height and width of its frames"
            )
        return 1, rows * self._merge, columns * self._merge

    def _seen_size(self, size: Size) -> Size:
        rows, columns = best_grid(size, least=1, most=self._most)
        return rows * self._step, columns * self._step

    def _encode_images(self, pictures: Sequence[np.ndarray]) -> Tensor:
        batch = self._processor(images=list(pictures), do_resize=False, return_tensors="pt").to(self._model.device)
        seen = self._model.get_image_features(
            pixel_values=batch["pixel_values"].to(self._model.dtype), image_grid_thw=batch["image_grid_thw"]
        )
        levels = getattr(seen, "deepstack_features", None) or []
        return torch.cat([self._stacked(maps, len(pictures)) for maps in (seen.pooler_output, *levels)], -1)
