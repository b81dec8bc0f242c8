"""What a model or an embedder gives, checked on its way in: nothing enters the memory that cannot be used and saved."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from streamchat.embedding import TextEmbedder
from streamchat.errors import StreamChatError
from streamchat.models.base import Model
from streamchat.types import Caption

MOST_CAPTION_CHARACTERS = 2000  # three times what `CAPTION_TOKENS` of English make
MOST_REASON_CHARACTERS = 300  # why an alert was met: "a few words"
MOST_TOKEN_CHARACTERS = 16  # of one token of an answer, on average: English has 4 or 5
MOST_DATA_CHARACTERS = 2**20  # of a caption's data, as JSON
MOST_MAGNITUDE = 1e9  # of a number in a tensor: its square, summed over a frame, is still one
NORM_TOLERANCE = 1e-3  # that the length of a vector may be off 1


def checked_text(text: str, most: int) -> str:
    """A text of at most so many characters.

    Halves of characters, which no file and no request can hold, become marks of what is missing.
    """
    whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return whole if len(whole) <= most else whole[: most - 1] + "…"


def checked_caption(caption: Caption, model: Model) -> Caption:
    """A caption with a text that can be kept, cut if need be; StreamChatError if there is none in it."""
    if not isinstance(caption, Caption) or not isinstance(caption.text, str):
        raise StreamChatError(f"the model {model.name!r} gave {type(caption).__name__} where a caption was asked for")
    text = checked_text(caption.text.strip(), MOST_CAPTION_CHARACTERS)
    if not text:
        raise StreamChatError(f"the model {model.name!r} gave an empty caption")
    try:
        size = len(json.dumps(caption.data, allow_nan=False))
    except ValueError:
        raise StreamChatError(
            f"the data of a caption of {model.name!r} holds numbers that are infinite, or none"
        ) from None
    if size > MOST_DATA_CHARACTERS:
        raise StreamChatError(f"the data of a caption of {model.name!r} has {size} characters, of at most 1 MiB")
    return caption if text == caption.text else replace(caption, text=text)


def checked_tokens(tokens: torch.Tensor, model: Model, count: int) -> list[torch.Tensor | None]:
    """The token map [P, D] of each of `count` frames; None for one with numbers that are infinite, none or too large.

    Raises StreamChatError if they are no maps of this model's at all.
    """
    if not isinstance(tokens, torch.Tensor):
        raise StreamChatError(f"the model {model.name!r} gave {type(tokens).__name__} where tokens were asked for")
    fits = tokens.dim() == 3 and tokens.is_floating_point() and tokens.device.type == "cpu"
    if not fits or len(tokens) != count or tokens.shape[2] != model.dim:
        raise StreamChatError(
            f"the model {model.name!r} gave {tokens.dtype} {list(tokens.shape)} on {tokens.device} for {count} frames, "
            f"where floating-point [{count}, P, {model.dim}] on the CPU was asked for"
        )
    if not 1 <= tokens.shape[1] <= model.tokens_per_frame:
        raise StreamChatError(
            f"the model {model.name!r} gave {tokens.shape[1]} tokens a frame, of 1 to {model.tokens_per_frame}"
        )
    sound = (tokens.abs() <= MOST_MAGNITUDE).flatten(1).all(1).tolist()
    return [token if good else None for token, good in zip(tokens, sound, strict=True)]


class CheckedEmbedder:
    """An embedder whose vectors are what they are said to be, all of one width."""

    def __init__(self, embedder: TextEmbedder) -> None:
        self._embedder = embedder
        self._width: int | None = None  # E, once it is known

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors of texts: float32 [N, E], unit norm; StreamChatError if the embedder gives anything else."""
        vectors = np.asarray(self._embedder.embed(texts), np.float32)
        checked = _unit_vectors(vectors, len(texts), self._width or vectors.shape[-1])
        self._width = checked.shape[1]
        return checked

    def checked(self, vector: np.ndarray) -> np.ndarray:
        """The vector of a text that somebody else made: float32 [E], unit norm; StreamChatError if it is none."""
        width = self._width or self.embed(["width"]).shape[1]
        return np.asarray(_unit_vectors(np.asarray(vector, np.float32)[None], 1, width)[0])


def _unit_vectors(vectors: np.ndarray, count: int, width: int) -> np.ndarray:
    if vectors.shape != (count, width) or width == 0:
        raise StreamChatError(f"{width} numbers were asked for each of {count} texts, got {list(vectors.shape)}")
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not (np.isfinite(norms) & (norms > 0)).all():
        raise StreamChatError("the vector of a text holds numbers that are infinite or none, or nothing but zeros")
    return vectors if (abs(norms - 1) <= NORM_TOLERANCE).all() else vectors / norms
