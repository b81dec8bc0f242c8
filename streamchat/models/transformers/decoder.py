"""Decodes replies of a vision-language checkpoint: one at a time, token by token, while others wait for their slot."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig


class Decoder:
    """One copy of a model that speaks.

    Any number of replies may be on their way at once, if only one is advanced at a time: between two tokens, another
    may run. Each gives the same tokens as if it were alone.
    """

    def __init__(self, model: Any, stop_ids: set[int]) -> None:
        self._model = model
        own = model.generation_config.eos_token_id
        self._stop_ids = sorted(stop_ids | set([] if own is None else own if isinstance(own, list) else [own]))

    def reply(self, inputs: dict[str, Any], *, max_new_tokens: int, temperature: float, seed: int) -> Iterator[int]:
        """The ids of a reply to the inputs of `generate`, without the one that ends it.

        `temperature` 0 is greedy; otherwise the checkpoint's own top-k and top-p apply, and one seed gives one reply.
        """
        sampling: dict[str, Any] = {"do_sample": True, "temperature": temperature}
        if temperature == 0:
            sampling = {"do_sample": False, "temperature": None, "top_k": None, "top_p": None}
        generator = torch.Generator(self._model.device).manual_seed(seed)

        def one_by_one(model: Any, input_ids: Tensor, **state: Any) -> Iterator[int]:
            return _tokens(model, input_ids, generator=generator, **state)

        with torch.inference_mode():
            ids = self._model.generate(
                **inputs,
                custom_generate=one_by_one,
                max_new_tokens=max_new_tokens,
                eos_token_id=self._stop_ids,
                pad_token_id=self._stop_ids[0],
                **sampling,
            )
        positions = self._positions
        while True:
            self._positions = positions
            with torch.inference_mode():
                token = next(ids, None)
            positions = self._positions
            if token is None or token in self._stop_ids:
                return
            yield token

    @property
    def _positions(self) -> Tensor | None:
        """What M-RoPE models keep of the current reply on their module; every reply has its own."""
        return getattr(self._model.model, "rope_deltas", None)

    @_positions.setter
    def _positions(self, positions: Tensor | None) -> None:
        if hasattr(self._model.model, "rope_deltas"):
            self._model.model.rope_deltas = positions


def _tokens(
    model: Any,
    input_ids: Tensor,
    *,
    generator: torch.Generator,
    logits_processor: Callable[..., Tensor],
    stopping_criteria: Callable[..., Tensor],
    generation_config: GenerationConfig,
    **state: Any,
) -> Iterator[int]:
    """The decoding loop of `generate` for one sequence, as an iterator, so that it rests between two tokens."""
    outputs = model._prefill(input_ids, generation_config, state)
    while True:
        state = model._update_model_kwargs_for_generation(outputs, state, is_encoder_decoder=False)
        scores = logits_processor(input_ids, outputs.logits[:, -1].float())
        del outputs  # the logits of a whole prompt are large
        if generation_config.do_sample:
            token = torch.multinomial(scores.softmax(-1), 1, generator=generator)
        else:
            token = scores.argmax(-1, keepdim=True)
        input_ids = torch.cat([input_ids, token], -1)
        yield int(token)
        if bool(stopping_criteria(input_ids, None).all()):
            return
        inputs = model.prepare_inputs_for_generation(input_ids, next_sequence_length=1, **state)
        outputs = model(**inputs, return_dict=True)
