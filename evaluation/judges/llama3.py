"""The paper's judge, LLaMA-3-8B-Instruct, or another instruction-tuned language model of `transformers`; greedy.

The prompt is our own, unless another is given: the figures are near the published ones, and not equal in kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from evaluation.judges.base import ANOTHER, OWN_PROMPT, PAPERS_MODEL, Messages, Prompt, PromptedJudge
from streamchat.checkpoints.machine import devices_of
from streamchat.checkpoints.stored import local_folder
from streamchat.errors import InputError, StreamChatError

REPO = "meta-llama/Meta-Llama-3-8B-Instruct"
REPLY_TOKENS = 64
END_OF_TURN = "<|eot_id|>"  # of Llama 3, whose settings name only the end of a text


class Llama3Judge(PromptedJudge):
    """A checkpoint that grades in batches, by its own chat template."""

    batch = 8

    def __init__(self, spec: str, prompt: Prompt = OWN_PROMPT) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        folder = _folder(spec)
        (device,) = devices_of(None)
        dtype = torch.float32 if device.type == "cpu" else torch.bfloat16
        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(folder, padding_side="left")
            self._model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, device_map=device).eval()
        except (OSError, ValueError, RuntimeError) as error:
            said = (str(error) or type(error).__name__).splitlines()[0]
            raise StreamChatError(f"the judge {spec} cannot be loaded: {said}") from error
        if not self._tokenizer.chat_template:
            raise StreamChatError(f"the judge {spec} has no chat template: take an instruction-tuned model")
        if self._tokenizer.pad_token is None:
            self._tokenizer.pad_token = self._tokenizer.eos_token
        self.prompt = prompt
        self.caveat = f"{PAPERS_MODEL} {prompt.origin}" if spec == REPO else ANOTHER
        which = str(folder.resolve()) if Path(spec).expanduser().is_dir() else f"{spec} at {folder.name[:12]}"
        self.name = f"{which} ({prompt.name})"

    def reply(self, conversations: Sequence[Messages]) -> list[str]:
        """What the model says to each conversation, greedily."""
        texts = [
            self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
            for messages in conversations
        ]
        batch = self._tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False)
        known = self._tokenizer.get_vocab()
        ends = [self._tokenizer.eos_token_id, *([known[END_OF_TURN]] if END_OF_TURN in known else [])]
        with torch.inference_mode():
            said = self._model.generate(
                **batch.to(self._model.device),
                max_new_tokens=REPLY_TOKENS,
                do_sample=False,
                temperature=None,
                top_p=None,
                eos_token_id=ends,
                pad_token_id=self._tokenizer.pad_token_id,
            )
        begin = batch["input_ids"].shape[1]
        return list(self._tokenizer.batch_decode(said[:, begin:], skip_special_tokens=True))


def _folder(spec: str) -> Path:
    """Where the judge lies; StreamChatError, with how to get it, if it is not on this machine."""
    try:
        return local_folder(spec)
    except InputError:
        raise
    except StreamChatError:
        gated = f"accept its terms at https://huggingface.co/{spec}, set HF_TOKEN, and " if spec == REPO else ""
        raise StreamChatError(
            f"the judge {spec}{' is gated, and' if gated else ''} is not on this machine: {gated}run "
            f"`python -m streamchat --download {spec}`; or give --judge llama3:FOLDER, with the folder of any "
            "instruction-tuned language model"
        ) from None


def build(argument: str = "", prompt: Prompt | None = None) -> Llama3Judge:
    """The judge; behind the colon may stand the folder or the name on the Hub of another model.

    Raises StreamChatError, with what to do, if the model is not on this machine (the paper's is gated).
    """
    return Llama3Judge(argument or REPO, prompt or OWN_PROMPT)
