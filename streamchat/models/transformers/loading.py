"""From a folder to a checkpoint that is ready to see and speak."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoImageProcessor,
    AutoModelForImageTextToText,
    AutoTokenizer,
    LlavaForConditionalGeneration,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging

from streamchat.errors import StreamChatError
from streamchat.models.transformers import longva
from streamchat.models.transformers.vision import ImageProcessor, VisionLanguageModel

NAMED_KEYS = 5  # of those that are wrong, in an error
END_OF_TURN = ("<|im_end|>", "<end_of_utterance>", "<|eot_id|>")  # end a reply, whatever a checkpoint's settings forgot


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A model with what it needs to be fed."""

    model: VisionLanguageModel
    tokenizer: PreTrainedTokenizerBase
    image_processor: ImageProcessor
    pool: int = 1  # tokens a side that are averaged

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return torch.device(self.model.device)

    @property
    def image_token_id(self) -> int:
        """The id of the placeholder for visual tokens."""
        return int(self.model.config.image_token_id)

    @property
    def max_context(self) -> int:
        """Tokens that the language model was made for."""
        return int(self.model.config.get_text_config().max_position_embeddings)

    @property
    def stop_ids(self) -> set[int]:
        """The ids that end a reply."""
        known = self.tokenizer.get_added_vocab()
        own = [] if self.tokenizer.eos_token_id is None else [int(self.tokenizer.eos_token_id)]
        return {*own, *(known[token] for token in END_OF_TURN if token in known)}


def dtype_of(device: torch.device) -> torch.dtype:
    """bfloat16 on an accelerator, float32 on a CPU, most of which are slow at anything less."""
    return torch.float32 if device.type == "cpu" else torch.bfloat16


def load(folder: Path, device: torch.device, dtype: torch.dtype) -> Checkpoint:
    """Load a checkpoint from its folder.

    Raises StreamChatError, which names them, if files or weights are missing or do not fit.
    """
    try:
        with _quiet():
            checkpoint = _loaded(folder, device, dtype)
    except torch.OutOfMemoryError as error:
        raise StreamChatError(
            f"{folder.name} does not fit into the memory of {device}: take a smaller model, see --list-models"
        ) from error
    except StreamChatError:
        raise
    except Exception as error:  # whatever a damaged folder makes the libraries raise
        raise StreamChatError(f"the checkpoint {folder} cannot be loaded: {_message(error)}") from error
    if not checkpoint.tokenizer.chat_template:
        checkpoint.tokenizer.chat_template = _older_template(folder)
    return checkpoint


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the library's bar and its advice: what is wrong becomes an error here."""
    before = logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _loaded(folder: Path, device: torch.device, dtype: torch.dtype) -> Checkpoint:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if config.get("model_type") == longva.MODEL_TYPE:
        return _load_longva(folder, config, device, dtype)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    processor = AutoImageProcessor.from_pretrained(folder)
    model = _load_model(AutoModelForImageTextToText, folder, device, dtype)
    return Checkpoint(model=model, tokenizer=tokenizer, image_processor=processor)


def _load_longva(folder: Path, original: dict[str, Any], device: torch.device, dtype: torch.dtype) -> Checkpoint:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    config = longva.config_of(original, longva.prepare(tokenizer))
    settings = {"config": config, "key_mapping": longva.KEY_MAPPING}
    model = _load_model(LlavaForConditionalGeneration, folder, device, dtype, strict=True, **settings)
    return Checkpoint(model=model, tokenizer=tokenizer, image_processor=longva.image_processor(), pool=longva.POOL)


def _load_model(
    kind: Any, folder: Path, device: torch.device, dtype: torch.dtype, *, strict: bool = False, **settings: Any
) -> VisionLanguageModel:
    """The model, with all its weights; `strict` also refuses weights that it has no place for."""
    model, report = kind.from_pretrained(folder, dtype=dtype, device_map=device, output_loading_info=True, **settings)
    for problem in ("missing_keys", "mismatched_keys", *(["unexpected_keys"] if strict else [])):
        keys = sorted(str(key) for key in report[problem])
        if keys:
            more = f" and {len(keys) - NAMED_KEYS} more" if len(keys) > NAMED_KEYS else ""
            raise StreamChatError(
                f"the checkpoint {folder} has {problem.replace('_', ' ')}: {', '.join(keys[:NAMED_KEYS])}{more}; "
                "it is damaged or of another kind: download it again"
            )
    model.eval().requires_grad_(False)
    return model


def _older_template(folder: Path) -> str:
    """The chat template of checkpoints that keep it in a file for their processor."""
    path = folder / "chat_template.json"
    if not path.is_file():
        raise StreamChatError(
            f"the checkpoint {folder} has no chat template: take one that was trained to converse (“instruct”, “chat”)"
        )
    return str(json.loads(path.read_text(encoding="utf-8"))["chat_template"])


def _message(error: Exception) -> str:
    """The first line of what a library said."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
