"""What a decision about a frame costs, beside the paper's formula written down plainly, and whether both agree."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
import torch

from evaluation.speed import baselines, videos
from evaluation.speed.measuring import Part, Series, Settings, interleaved, median, ratio
from streamchat import plugin
from streamchat.options import PRESETS, Options
from streamchat.selectors import optical_flow
from streamchat.types import Frame
from streamchat.video.file import open_video

SELECTORS = ("optical_flow", "novelty")
REPEATS = 30
COMPARED_FRAMES = 240
RUN_FRAMES = 12  # compared frames come in runs of so many, from all over the video
LONG_SIDES = (160, 320, 640, 1280)  # of pictures, in pixels


def measure(settings: Settings) -> Part:
    """Decide about frames of a video in turn with the fast and the plain formula."""
    settings.say("selecting: the paper's formula, fast and plain")
    video = videos.prepared(settings, height=720)
    frames = list(open_video(video, max_side=Options().max_side))
    figures = {**_speed(frames), "selection_agreement": agreement(_spread(frames))}
    lines = [_by_size(name, frames[: REPEATS + 1]) for name in SELECTORS]
    return Part(figures, lines)


def _speed(frames: Sequence[Frame]) -> dict[str, float]:
    """Milliseconds a frame, and ratios; the formula alone begins with two greys of 336 x 336 pixels."""
    pictures = [frame.data for frame in frames[: REPEATS + 1]]
    before, after = (optical_flow.grey_of(one) for one in pictures[:2])
    doubles = torch.from_numpy(before), torch.from_numpy(after)
    floats = doubles[0].float(), doubles[1].float()
    shown = {"plain": iter(pictures), "fast": iter(pictures)}
    slow, fast = baselines.PlainFlowMeter(), optical_flow.FlowMeter()
    works: dict[str, Callable[[], object]] = {
        "plain_formula": lambda: baselines.mean_flow(*doubles),
        "plain_formula_float32": lambda: baselines.mean_flow(*floats),
        "fast_formula": lambda: optical_flow.mean_flow(before, after),
        "plain": lambda: slow.motion(next(shown["plain"])),
        "fast": lambda: fast.motion(next(shown["fast"])),
    }
    times = {name: found[1:] for name, found in interleaved(works, len(pictures)).items()}  # the first frame is alone
    return {
        "selection_speedup": ratio(times, "plain_formula", "fast_formula"),
        "selection_speedup_float32": ratio(times, "plain_formula_float32", "fast_formula"),
        "selection_speedup_with_scaling": ratio(times, "plain", "fast"),
        "selection_formula_plain_ms": 1000 * median(times["plain_formula"]),
        "selection_formula_ms": 1000 * median(times["fast_formula"]),
        "selection_with_scaling_plain_ms": 1000 * median(times["plain"]),
        "selection_with_scaling_ms": 1000 * median(times["fast"]),
    }


def _spread(frames: Sequence[Frame]) -> list[Frame]:
    """Runs of frames from all over a video."""
    if len(frames) <= COMPARED_FRAMES:
        return list(frames)
    starts = np.linspace(0, len(frames) - RUN_FRAMES, COMPARED_FRAMES // RUN_FRAMES).astype(int)
    return [frame for start in starts for frame in frames[start : start + RUN_FRAMES]]


def agreement(frames: Sequence[Frame]) -> float:
    """The share of decisions, of all frames at the thresholds of all presets, that both formulas take alike."""
    meters: tuple[baselines.PlainFlowMeter | optical_flow.FlowMeter, ...] = (
        baselines.PlainFlowMeter(),
        optical_flow.FlowMeter(),
    )
    motions = np.array([[meter.motion(frame.data) for meter in meters] for frame in frames])
    thresholds = [preset["motion_threshold"] for preset in PRESETS.values()]
    return float(np.mean([(motions[:, 0] > one) == (motions[:, 1] > one) for one in thresholds]))


def _by_size(name: str, frames: Sequence[Frame]) -> Series:
    """Milliseconds a decision, guards and all, for pictures of several sizes."""
    points = []
    for side in LONG_SIDES:
        height = round(side * frames[0].data.shape[0] / frames[0].data.shape[1])
        scaled = [Frame(cv2.resize(one.data, (side, height)), one.pts_seconds, one.index) for one in frames]
        selector, shown = plugin.load("streamchat.selectors", name).build(Options()), iter(scaled)
        times = interleaved({name: lambda: selector.select(next(shown))}, len(scaled))  # noqa: B023 - called at once
        points.append((float(side), 1000 * median(times[name])))
    return Series("Selecting", name, "long side of the picture, pixels", "milliseconds a frame", points)
