"""Full-size models with random weights, made on the spot without a download: for measuring speed, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import psutil
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForImageTextToText, PreTrainedTokenizerFast

from streamchat.errors import InputError, StreamChatError
from streamchat.models.transformers.loading import Checkpoint

ARCHITECTURES = Path(__file__).resolve().parent / "architectures"
NOTICE = "[random weights: these words mean nothing] "
CONTROL = ("<unk>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<image>", "<video>")
PICTURE = {"qwen3_vl": "<|vision_start|><image><|vision_end|>"}  # other families write just the image token
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }} {% if m['content'] is string %}{{ m['content'] }}{% else %}"
    "{% for p in m['content'] %}{% if p['type'] == 'image' %}PICTURE{% else %}{{ p['text'] }}{% endif %}{% endfor %}"
    "{% endif %}<|im_end|>{% endfor %}<|im_start|>assistant "
)


def names() -> tuple[str, ...]:
    """The architectures that ship with StreamChat."""
    return tuple(sorted(path.stem for path in ARCHITECTURES.glob("*.json")))


def title_of(name: str) -> str:
    """What people call an architecture; InputError with the choices for one that does not ship."""
    return str(_description(name)["title"])


def make(name: str, device: torch.device, dtype: torch.dtype) -> Checkpoint:
    """A model of an architecture's full size on a device, with random weights.

    Raises InputError for an unknown architecture, and StreamChatError if the device has not enough memory.
    """
    description = _description(name)
    config = AutoConfig.for_model(**description["config"])
    tokenizer = _tokenizer(config)
    for kind in ("image", "video"):
        setattr(config, f"{kind}_token_id", tokenizer.convert_tokens_to_ids(f"<{kind}>"))
    settings = dict(description["image_processor"])
    processor = getattr(transformers, settings.pop("type"))(**settings)
    needed = count(config) * dtype.itemsize
    if needed > _free_bytes(device):
        raise StreamChatError(
            f"{description['title']} needs {needed / 2**30:.0f} GiB for its weights, and {device} has "
            f"{_free_bytes(device) / 2**30:.0f} GiB free: take a device with more"
        )
    with device:
        model = AutoModelForImageTextToText.from_config(config, dtype=dtype).eval().requires_grad_(False)
    return Checkpoint(model=model, tokenizer=tokenizer, image_processor=processor, pool=description["pool"])


def count(config: Any) -> int:
    """How many parameters a model of this configuration has; nothing is allocated."""
    with torch.device("meta"):
        return sum(weights.numel() for weights in AutoModelForImageTextToText.from_config(config).parameters())


def _description(name: str) -> dict[str, Any]:
    if name not in names():
        raise InputError(f"there is no architecture {name!r}: choose one of {', '.join(names())}")
    description: dict[str, Any] = json.loads((ARCHITECTURES / f"{name}.json").read_text(encoding="utf-8"))
    return description


def _tokenizer(config: Any) -> PreTrainedTokenizerFast:
    """One token a word, so that a prompt is about as long as with a real one; every id can be decoded."""
    size = config.get_text_config().vocab_size
    words = [f"word{number}" for number in range(size - len(CONTROL))]
    vocabulary = {token: number for number, token in enumerate([*words, *CONTROL])}
    model = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    model.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=model,
        unk_token="<unk>",
        eos_token="<|im_end|>",
        additional_special_tokens=[token for token in CONTROL if token not in ("<unk>", "<|im_end|>")],
    )
    tokenizer.chat_template = TEMPLATE.replace("PICTURE", PICTURE.get(config.model_type, "<image>"))
    return tokenizer


def _free_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)
