"""Random-weight checkpoints of the real architectures, a few hundred kilobytes each, laid out as on the Hub."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForImageTextToText, PreTrainedTokenizerFast
from transformers import models as families

WIDTH = 32
SIDE = 64
SERVED_CONTEXT = 16384  # tokens: room for a reply that goes on for long
SERVED_WIDTH = 256  # four heads of 64; vLLM on a CPU computes none narrower than 32
CORPUS = [
    "user assistant system what do you see in the video ? a person walks a dog in the park . "
    "the cat sits on the table . describe the scene . yes no red blue green car street kitchen"
] * 4
SPREAD = 0.2  # of the weights, wide enough that what is said depends on the pixels

TURNS = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
END = "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
IN_ORDER = (
    "{%% for p in m['content'] %%}"
    "{%% if p['type'] == 'image' %%}%s{%% else %%}{{ p['text'] }}{%% endif %%}"
    "{%% endfor %%}"
)
PICTURES_FIRST = (  # as LLaVA's: the pictures of a message before all of its text
    "{% for p in m['content'] if p['type'] == 'image' %}<image>\n{% endfor %}"
    "{% for p in m['content'] if p['type'] == 'text' %}{{ p['text'] + ' ' }}{% endfor %}"
)
VICUNA = (  # no special tokens, and no place for a system message
    "{% for m in messages %}{% if m['role'] != 'system' %}{{ m['role'].upper() + ': ' }}"
    + PICTURES_FIRST
    + "{% endif %}{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)
SMOL = (
    "{% for m in messages %}<|im_start|>{{ m['role'] | capitalize }}"
    "{{ ':' if m['content'][0]['type'] == 'image' else ': ' }}"
    + IN_ORDER % "<image>"
    + "<end_of_utterance>\n{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)
QWEN = TURNS + IN_ORDER % "<|vision_start|><|image_pad|><|vision_end|>" + END

LLAVA_TOKENS = {"image_token": "<image>", "video_token": "<video>"}
SMOL_TOKENS = {
    "image_token": "<image>",
    "fake_image_token": "<fake_token_around_image>",
    "global_image_token": "<global-img>",
    "end_of_utterance_token": "<end_of_utterance>",
}
INTERN_TOKENS = {
    "context_image_token": "<IMG_CONTEXT>",
    "start_image_token": "<img>",
    "end_image_token": "</img>",
    "video_token": "<video>",
}
QWEN_TOKENS = {
    "image_token": "<|image_pad|>",
    "video_token": "<|video_pad|>",
    "vision_start_token": "<|vision_start|>",
    "vision_end_token": "<|vision_end|>",
}

Settings = dict[str, Any]
Maker = Callable[[PreTrainedTokenizerFast], tuple[Any, Any]]


def tokenizer(tokens: dict[str, str], template: str) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer with a family's control tokens and its kind of chat template."""
    model = Tokenizer(models.BPE())
    model.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    model.decoder = decoders.ByteLevel()
    special = ["<|pad|>", "<|im_start|>", "<|im_end|>", *tokens.values()]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    model.train_from_iterator(CORPUS, trainer)
    made = PreTrainedTokenizerFast(
        tokenizer_object=model,
        pad_token="<|pad|>",
        eos_token="<|im_end|>",
        bos_token="<|im_start|>",
        extra_special_tokens=tokens,
    )
    made.chat_template = template
    return made


def text(kind: str, tokenizer: PreTrainedTokenizerFast, **more: Any) -> Settings:
    return {
        "model_type": kind,
        "vocab_size": len(tokenizer),
        "hidden_size": WIDTH,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 8192,
        "tie_word_embeddings": False,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        **more,
    }


def tower(kind: str, **more: Any) -> Settings:
    shape = {"hidden_size": WIDTH, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    return {"model_type": kind, **shape, "image_size": SIDE, "patch_size": 16, **more}


CLIP_SIZES: Settings = {"size": {"shortest_edge": SIDE}, "crop_size": {"height": SIDE, "width": SIDE}}
TILES: Settings = {"image_grid_pinpoints": [[SIDE, SIDE], [SIDE, 2 * SIDE], [2 * SIDE, SIDE]]}
LAYER: Settings = {"vision_feature_layer": -2, "vision_feature_select_strategy": "default"}


def llava(made: PreTrainedTokenizerFast, **language: Any) -> tuple[Any, Any]:
    config = families.llava.LlavaConfig(
        vision_config=tower("clip_vision_model", projection_dim=32),
        text_config=text("qwen2", made, **language),
        image_token_index=made.image_token_id,
        image_seq_length=16,
        **LAYER,
    )
    return config, families.clip.CLIPImageProcessorPil(**CLIP_SIZES)


def llava_next(made: PreTrainedTokenizerFast) -> tuple[Any, Any]:
    config = families.llava_next.LlavaNextConfig(
        vision_config=tower("clip_vision_model", projection_dim=32),
        text_config=text("llama", made),
        image_token_index=made.image_token_id,
        **TILES,
        **LAYER,
    )
    return config, families.llava_next.LlavaNextImageProcessorPil(**CLIP_SIZES, **TILES)


def llava_next_video(made: PreTrainedTokenizerFast) -> tuple[Any, Any]:
    config = families.llava_next_video.LlavaNextVideoConfig(
        vision_config=tower("clip_vision_model", projection_dim=32),
        text_config=text("llama", made),
        image_token_index=made.image_token_id,
        video_token_index=made.video_token_id,
        **TILES,
        **LAYER,
    )
    return config, families.llava_next.LlavaNextImageProcessorPil(**CLIP_SIZES, **TILES)


def llava_onevision(made: PreTrainedTokenizerFast) -> tuple[Any, Any]:
    config = families.llava_onevision.LlavaOnevisionConfig(
        vision_config=tower("siglip_vision_model", vision_use_head=False),
        text_config=text("qwen2", made),
        image_token_index=made.image_token_id,
        video_token_index=made.video_token_id,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        vision_aspect_ratio="anyres_max_9",
        **TILES,
    )
    size = {"height": SIDE, "width": SIDE}
    return config, families.llava_onevision.LlavaOnevisionImageProcessorPil(size=size, **TILES)


def smol(kind: str) -> Maker:
    def make(made: PreTrainedTokenizerFast) -> tuple[Any, Any]:
        package, name = getattr(families, kind), {"smolvlm": "SmolVLM", "idefics3": "Idefics3"}[kind]
        config = getattr(package, f"{name}Config")(
            vision_config=tower(f"{kind}_vision"),
            text_config=text("llama", made),
            image_token_id=made.image_token_id,
            scale_factor=2,
        )
        sizes = {"size": {"longest_edge": SIDE}, "max_image_size": {"longest_edge": SIDE}}
        return config, getattr(package, f"{name}ImageProcessorPil")(**sizes, do_image_splitting=False)

    return make


def internvl(made: PreTrainedTokenizerFast) -> tuple[Any, Any]:
    config = families.internvl.InternVLConfig(
        vision_config=tower("internvl_vision"),
        text_config=text("qwen2", made),
        image_token_id=made.context_image_token_id,
        image_seq_length=4,
        downsample_ratio=0.5,
        vision_feature_layer=-1,
        tie_word_embeddings=False,
    )
    size = {"height": SIDE, "width": SIDE}
    return config, families.got_ocr2.GotOcr2ImageProcessorPil(size=size, crop_to_patches=False)


def qwen(kind: str, config_name: str, patch: int, text_more: Settings, vision_more: Settings) -> Maker:
    def make(made: PreTrainedTokenizerFast) -> tuple[Any, Any]:
        shape = {"depth": 3, "hidden_size": WIDTH, "num_heads": 4, "patch_size": patch, "spatial_merge_size": 2}
        config = getattr(getattr(families, kind), config_name)(
            vision_config={**shape, "temporal_patch_size": 2, **vision_more},
            text_config=text(f"{kind}_text", made, **text_more),
            image_token_id=made.image_token_id,
            video_token_id=made.video_token_id,
            vision_start_token_id=made.vision_start_token_id,
            vision_end_token_id=made.vision_end_token_id,
            tie_word_embeddings=False,
        )
        step = 2 * patch
        processor = families.qwen2_vl.Qwen2VLImageProcessorPil(
            patch_size=patch,
            merge_size=2,
            temporal_patch_size=2,
            size={"shortest_edge": step * step, "longest_edge": 16 * step * step},
        )
        return config, processor

    return make


def rope(sections: list[int], **more: Any) -> Settings:
    return {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": sections, **more}}


OUT: Settings = {"out_hidden_size": WIDTH, "intermediate_size": 64}
DEEP: Settings = {**OUT, "num_position_embeddings": 64, "deepstack_visual_indexes": [0, 1]}
EXPERTS: Settings = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "decoder_sparse_step": 1}
QWEN3: Settings = {"head_dim": 8, **rope([2, 1, 1], mrope_interleaved=True)}
QWEN3_5: Settings = {
    "head_dim": 16,
    "layer_types": ["linear_attention", "full_attention"],
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    **rope([1, 1, 0], mrope_interleaved=True, partial_rotary_factor=0.25),
}

FAMILIES: dict[str, tuple[Maker, dict[str, str], str]] = {
    "llava": (llava, LLAVA_TOKENS, VICUNA),
    "llava_next_video": (llava_next_video, LLAVA_TOKENS, VICUNA),
    "llava_onevision": (llava_onevision, LLAVA_TOKENS, TURNS + PICTURES_FIRST + END),
    "smolvlm": (smol("smolvlm"), SMOL_TOKENS, SMOL),
    "idefics3": (smol("idefics3"), SMOL_TOKENS, SMOL),
    "internvl": (internvl, INTERN_TOKENS, TURNS + IN_ORDER % "<IMG_CONTEXT>\n" + END),
    "qwen2_5_vl": (
        qwen("qwen2_5_vl", "Qwen2_5_VLConfig", 14, rope([1, 1, 2]), {**OUT, "fullatt_block_indexes": [1]}),
        QWEN_TOKENS,
        QWEN,
    ),
    "qwen3_vl": (qwen("qwen3_vl", "Qwen3VLConfig", 16, QWEN3, DEEP), QWEN_TOKENS, QWEN),
    # What shares their interface.
    "llava_next": (llava_next, LLAVA_TOKENS, VICUNA),
    "qwen2_vl": (
        qwen("qwen2_vl", "Qwen2VLConfig", 14, rope([1, 1, 2]), {"embed_dim": WIDTH, "mlp_ratio": 2}),
        QWEN_TOKENS,
        QWEN,
    ),
    "qwen3_vl_moe": (qwen("qwen3_vl_moe", "Qwen3VLMoeConfig", 16, {**QWEN3, **EXPERTS}, DEEP), QWEN_TOKENS, QWEN),
    "qwen3_5": (
        qwen("qwen3_5", "Qwen3_5Config", 16, QWEN3_5, {**OUT, "num_position_embeddings": 64}),
        QWEN_TOKENS,
        QWEN,
    ),
}


def build(family: str, folder: Path) -> Path:
    """Write a checkpoint of a family into a folder; the same every time."""
    if family == "longva":
        return build_longva(folder)
    make, tokens, template = FAMILIES[family]
    made = tokenizer(tokens, template)
    config, processor = make(made)
    model = random_model(config)
    model.save_pretrained(folder)
    made.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def build_for_a_server(folder: Path) -> Path:
    """A LLaVA as servers want it: keys as on the Hub, the whole processor, heads 64 wide; it never ends a reply."""
    made = tokenizer(LLAVA_TOKENS, VICUNA)
    config, images = llava(made, hidden_size=SERVED_WIDTH, max_position_embeddings=SERVED_CONTEXT)
    model = random_model(config)
    with torch.no_grad():
        model.lm_head.weight[made.eos_token_id] = 0  # never the greatest, so that only its length ends a reply
    model.save_pretrained(folder)
    restore_keys(folder / "model.safetensors")
    processor = families.llava.LlavaProcessor(
        images,
        made,
        patch_size=16,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=made.chat_template,
    )
    processor.save_pretrained(folder)
    return folder


def restore_keys(weights: Path) -> None:
    """Give the vision tower's weights the keys that they have on the Hub, which vLLM insists on."""
    renamed = {
        key.replace("vision_tower.", "vision_tower.vision_model.", 1): tensor
        for key, tensor in load_file(weights).items()
    }
    save_file(renamed, weights, metadata={"format": "pt"})


def random_model(config: Any) -> Any:
    torch.manual_seed(0)
    model = AutoModelForImageTextToText.from_config(config).eval()
    with torch.no_grad():
        for weights in model.parameters():
            if weights.ndim > 1:
                weights.normal_(0, SPREAD)
    return model


def build_longva(folder: Path) -> Path:
    """LongVA in the layout of its original checkpoint: model type llava_qwen, keys of LLaVA-Qwen."""
    made = tokenizer({}, "")
    rows = len(made) + 8  # the original's embedding is padded; the image token takes a free row
    vision = tower("clip_vision_model", image_size=64, patch_size=16, projection_dim=32)
    language = {**text("qwen2", made), "vocab_size": rows}
    model = random_model(
        families.llava.LlavaConfig(
            vision_config=vision, text_config=language, image_token_index=len(made), image_seq_length=16, **LAYER
        )
    )
    renamed = {original_key(key): weights.contiguous() for key, weights in model.state_dict().items()}
    folder.mkdir(parents=True, exist_ok=True)
    save_file(renamed, folder / "model.safetensors", metadata={"format": "pt"})
    made.save_pretrained(folder)
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    config = {
        **language,
        "model_type": "llava_qwen",
        "architectures": ["LlavaQwenForCausalLM"],
        "rope_theta": 1e9,
        "mm_projector_type": "mlp2x_gelu",
        "mm_vision_select_layer": -2,
        "mm_vision_tower": "openai/clip-vit-large-patch14-336",
        "vision_config": vision,
    }
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def original_key(key: str) -> str:
    """The name that the original code gives to a weight."""
    for ours, theirs in (
        ("model.multi_modal_projector.linear_1.", "model.mm_projector.0."),
        ("model.multi_modal_projector.linear_2.", "model.mm_projector.2."),
        ("model.vision_tower.", "model.vision_tower.vision_tower.vision_model."),
        ("model.language_model.", "model."),
    ):
        if key.startswith(ours):
            return theirs + key.removeprefix(ours)
    return key
