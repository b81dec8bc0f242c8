"""LongVA (Zhang et al. 2024), the paper's model: its original checkpoint, read as a LLaVA without rewriting files."""

from __future__ import annotations

from typing import Any

from transformers import CLIPImageProcessorPil, CLIPVisionConfig, LlavaConfig, PreTrainedTokenizerBase, Qwen2Config

from streamchat.errors import StreamChatError

MODEL_TYPE = "llava_qwen"  # of the original's config.json
POOL = 2  # 24 x 24 tokens of a frame are averaged to 12 x 12, after the projector
IMAGE_TOKEN = "<image>"
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
CLIP_L_336 = {  # openai/clip-vit-large-patch14-336, which the original names without saying its shape
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "image_size": 336,
    "patch_size": 14,
    "projection_dim": 768,
}
KEY_MAPPING = {
    r"^model\.mm_projector\.0\.": "model.multi_modal_projector.linear_1.",
    r"^model\.mm_projector\.2\.": "model.multi_modal_projector.linear_2.",
    r"^model\.vision_tower\.vision_tower\.vision_model\.": "model.vision_tower.",
    r"^model\.(embed_tokens|layers|norm)\.": r"model.language_model.\1.",
}
LAYER = -2  # of the tower, whose output is taken
EXPECTED = {"mm_projector_type": "mlp2x_gelu", "mm_vision_select_layer": LAYER}


def prepare(tokenizer: PreTrainedTokenizerBase) -> int:
    """Give the tokenizer the image token, on a free row of the padded embedding, and the template; returns its id."""
    tokenizer.add_tokens([IMAGE_TOKEN], special_tokens=True)
    tokenizer.chat_template = CHAT_TEMPLATE
    return int(tokenizer.get_added_vocab()[IMAGE_TOKEN])


def config_of(original: dict[str, Any], image_token_id: int) -> LlavaConfig:
    """The configuration of a LLaVA with the original's shape; StreamChatError if it is built in another way."""
    for name, expected in EXPECTED.items():
        if original.get(name) != expected:
            raise StreamChatError(f"this LongVA has {name} {original.get(name)!r}, and only {expected!r} can be loaded")
    if image_token_id >= original["vocab_size"]:
        raise StreamChatError(
            f"this LongVA's embedding has no free row for {IMAGE_TOKEN}: take the original checkpoint"
        )
    known = {*Qwen2Config().to_dict(), "rope_theta"} - {"model_type", "architectures", "transformers_version"}
    return LlavaConfig(
        vision_config=CLIPVisionConfig(**original.get("vision_config", CLIP_L_336)),
        text_config=Qwen2Config(**{name: value for name, value in original.items() if name in known}),
        image_token_index=image_token_id,
        vision_feature_layer=LAYER,
        vision_feature_select_strategy="default",
        tie_word_embeddings=bool(original.get("tie_word_embeddings", False)),
    )


def image_processor() -> CLIPImageProcessorPil:
    """CLIP's colors and way to resize, which the original checkpoint leaves to the tower's own."""
    return CLIPImageProcessorPil()
