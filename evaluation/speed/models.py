"""Vision-language models of full size with random weights on a GPU: how fast they see and say.

Their answers mean nothing, and none of it needs a download. Without a GPU nothing is measured.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from evaluation.speed.measuring import FULL_SIZE, Part, Settings, median, seconds_of
from streamchat.models import load_random_model
from streamchat.models.base import messages_of, visuals_of
from streamchat.models.scheduler import NEVER
from streamchat.models.transformers import TransformersModel
from streamchat.types import Clip, Context, Frame, Span, Visual

SIZE = (432, 768)  # height, width of the frames, as the reader gives them
ENCODED = 8  # frames encoded at once, as the live session does
SHOWN = 20  # frames in a prompt
ANSWER_TOKENS = 64
REPEATS = 5
GIB = 2**30


def measure(settings: Settings) -> Part:
    """Make each of the models in turn, and let it encode, answer and caption."""
    if not torch.cuda.is_available():
        settings.say("models: no GPU here, so that nothing is measured")
        return Part({})
    figures: dict[str, float] = {}
    for name in FULL_SIZE:
        settings.say(f"models: {name}")
        figures |= {f"{name}_{key}": value for key, value in _of_model(name).items()}
        torch.cuda.empty_cache()
    return Part(figures)


def _of_model(name: str) -> dict[str, float]:
    """The figures of one model, which is gone afterwards."""
    torch.cuda.reset_peak_memory_stats()
    made: list[TransformersModel] = []
    seconds_to_make = _timed(lambda: made.append(_loaded(name)))
    (model,) = made
    frames = _frames(SHOWN)
    tokens = model.encode(frames)
    encoding = [_timed(lambda: model.encode(frames[:ENCODED])) for _ in range(REPEATS)]
    context = _context(frames, tokens)
    _answered(model, context)  # the first one warms up
    answers = [_answered(model, context) for _ in range(REPEATS)]
    clip = Clip(tokens[:5], tuple(frames[:5]), Span(0.0, 5.0))
    captions = [_timed(lambda: model.caption(clip, NEVER)) for _ in range(REPEATS)]
    return {
        "seconds_to_make": seconds_to_make,
        "frames_per_second": ENCODED / median(encoding),
        "prompt_tokens": float(model.prompt_tokens(messages_of(context), visuals_of(context))),
        "first_token_seconds": median([times[0] for times in answers]),
        "tokens_per_second": median([(len(times) - 1) / (times[-1] - times[0]) for times in answers]),
        "caption_seconds": median(captions),
        "peak_gib": torch.cuda.max_memory_allocated() / GIB,
    }


def _loaded(name: str) -> TransformersModel:
    model = load_random_model(name)
    assert isinstance(model, TransformersModel)
    return model


def _timed(work: Callable[[], object]) -> float:
    """Seconds of some work on the GPU until it is done."""

    def whole() -> None:
        work()
        torch.cuda.synchronize()

    torch.cuda.synchronize()
    return seconds_of(whole)


def _frames(count: int) -> list[Frame]:
    random = np.random.default_rng(7)
    return [Frame(random.integers(0, 256, (*SIZE, 3), np.uint8), float(number), number) for number in range(count)]


def _context(frames: list[Frame], tokens: torch.Tensor) -> Context:
    """A question about frames that were encoded before."""
    visuals = [
        Visual(span=Span(frame.pts_seconds, frame.pts_seconds), tokens=token[None], size=SIZE)
        for frame, token in zip(frames, tokens, strict=True)
    ]
    return Context(
        question="What is shown?",
        question_embedding=np.ones(1, np.float32),
        asked_at_seconds=frames[-1].pts_seconds,
        newest=frames[-1],
        present=tuple(visuals),
        max_new_tokens=ANSWER_TOKENS,
    )


def _answered(model: TransformersModel, context: Context) -> list[float]:
    """When each piece of an answer came, in seconds from the question."""
    times: list[float] = []
    elapsed = 0.0
    pieces = iter(model.answer(context, NEVER))
    while True:
        found: list[object] = []
        elapsed += seconds_of(lambda found=found: found.append(next(pieces, None)))  # type: ignore[misc]
        if not isinstance(found[0], str):
            return times
        times.append(elapsed)
