"""k-means of a chunk of LongVA's size (40 frames x 144 tokens x 3584) into 5, beside plain Lloyd iterations."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import torch

from evaluation.speed import baselines
from evaluation.speed.measuring import Part, Series, Settings, interleaved, median, ratio, seconds_of
from streamchat.memory.kmeans import kmeans

FRAMES, TOKENS, WIDTH, CLUSTERS = 40, 144, 3584, 5
SIZES = (10, 20, 40, 80)  # frames, for the plot
REPEATS = 7
SMALL_WIDTH = 64  # of the frames on which many restarts are compared: the geometry is that of the clusters
CHUNKS = 20
RESTARTS = 20
SCENES = 7  # in a chunk, more than there are clusters, so that starts matter
SPREAD = 0.3  # of the frames of a scene, where scenes are 1 apart in every number


def measure(settings: Settings) -> Part:
    """Time both on one chunk in turn; compare inertia on many smaller ones."""
    settings.say("clustering: k-means, fast and plain")
    chunk = chunk_of(FRAMES, TOKENS, WIDTH, seed=0)
    starts = {"plain": itertools.count(), "one_buffer": itertools.count()}
    works: dict[str, Callable[[], object]] = {
        "plain": lambda: baselines.lloyd(chunk, CLUSTERS, next(starts["plain"])),
        "one_buffer": lambda: baselines.lloyd(chunk, CLUSTERS, next(starts["one_buffer"]), torch.empty_like(chunk)),
        "fast": lambda: kmeans(chunk, CLUSTERS),
    }
    times = interleaved(works, REPEATS)
    ratios = inertia_ratios(range(CHUNKS))
    figures = {
        "kmeans_speedup": ratio(times, "plain", "fast"),
        "kmeans_speedup_one_buffer": ratio(times, "one_buffer", "fast"),
        "kmeans_ms": 1000 * median(times["fast"]),
        "kmeans_plain_ms": 1000 * median(times["plain"]),
        "kmeans_one_buffer_ms": 1000 * median(times["one_buffer"]),
        "kmeans_inertia_ratio": max(ratios),
        "kmeans_inertia_ratio_median": median(ratios),
    }
    return Part(figures, [_by_size()])


def inertia_ratios(seeds: Sequence[int]) -> list[float]:
    """For chunks of some seeds, the inertia found, in shares of the best that plain Lloyd finds in 20 restarts."""
    ratios = []
    for seed in seeds:
        chunk = chunk_of(FRAMES, 1, SMALL_WIDTH, seed=seed)
        best = min(baselines.lloyd(chunk, CLUSTERS, restart)[1] for restart in range(RESTARTS))
        ratios.append(kmeans(chunk, CLUSTERS, seed=seed).inertia / best)
    return ratios


def chunk_of(frames: int, tokens: int, width: int, *, seed: int) -> torch.Tensor:
    """Token maps [n, P, D] of scenes of unequal length, whose frames scatter round the scene's own map."""
    generator = torch.Generator().manual_seed(seed)
    scenes = torch.randn(SCENES, tokens, width, generator=generator)
    of_frame = torch.randint(SCENES, (frames,), generator=generator).sort().values
    chunk = scenes[of_frame]
    return chunk.add_(torch.randn(chunk.shape, generator=generator), alpha=SPREAD)


def _by_size() -> Series:
    points = []
    for frames in SIZES:
        chunk = chunk_of(frames, TOKENS, WIDTH, seed=0)
        times = [seconds_of(lambda: kmeans(chunk, CLUSTERS)) for _ in range(REPEATS)]  # noqa: B023 - called at once
        points.append((float(frames), 1000 * median(times)))
    return Series("k-means", "144 x 3584 into 5", "frames in a chunk", "milliseconds", points)
