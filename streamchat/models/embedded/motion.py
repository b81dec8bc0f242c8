"""What moves before a fixed camera: it is found by comparing pictures, whatever it is, and then named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np

from streamchat.models.embedded import colors
from streamchat.models.embedded.detector import Box
from streamchat.models.embedded.frame_analysis import NAMED_SCORE, UNNAMED, FrameAnalysis, FrameAnalyzer, Thing
from streamchat.types import Frame

WIDTH = 240  # pixels at which pictures are compared
MIN_FRAMES = 2
FRAMES_TO_TRUST = 3  # with fewer, the place that a thing has left looks as if something moved there too
CHANGED = 30  # difference in brightness or color, 0 to 255, that is not noise
STILL_SHARE = 0.75  # of the picture must not change, or the camera moves
SMALLEST, LARGEST = 0.006, 0.3  # share of the picture that a moving thing covers
SAME = 0.3  # overlap with a detected thing, in shares of the smaller, that makes them one
DETECTED = 0.5  # score at which the detector names it
AROUND, AROUND_CLOSELY = 1.6, 1.3  # how much larger than the thing the crops for detector and classifier are
SIDE = 416  # pixels of that crop when enlarged
SMALLEST_SIDE = 16  # pixels; a smaller crop cannot be named
SOLID = 0.4  # share of its box that a thing fills
MAX_THINGS = 2  # in one picture
UNNAMED_SCORE = 0.5


def with_moving(
    frames: Sequence[Frame], analyses: Sequence[FrameAnalysis], analyzer: FrameAnalyzer
) -> list[FrameAnalysis]:
    """The sights of frames in time order, with what moves added where the detector missed it.

    Nothing is added unless at least two frames of one fixed view are given.
    """
    masks = _changed(frames)
    trusted = len(frames) >= FRAMES_TO_TRUST
    return [
        analysis if mask is None else _with_things(frame, analysis, mask, analyzer, trusted)
        for frame, analysis, mask in zip(frames, analyses, masks, strict=True)
    ]


def _changed(frames: Sequence[Frame]) -> list[np.ndarray | None]:
    """For each frame the pixels, bool [h, w], that differ from the view's usual look; None if that is not known."""
    sizes = {frame.data.shape for frame in frames}
    if len(frames) < MIN_FRAMES or len(sizes) > 1:
        return [None] * len(frames)
    height, width = frames[0].data.shape[:2]
    size = (WIDTH, max(1, WIDTH * height // width))
    small = np.stack([cv2.resize(frame.data, size, interpolation=cv2.INTER_AREA) for frame in frames])
    usual = np.median(small, 0)
    different = np.abs(small - usual).max(3) > CHANGED
    return [mask if 1 - mask.mean() > STILL_SHARE else None for mask in different]


def _with_things(
    frame: Frame, analysis: FrameAnalysis, mask: np.ndarray, analyzer: FrameAnalyzer, trusted: bool
) -> FrameAnalysis:
    """A sight with the moving things of a mask; with only those that the detector names, unless it is trusted."""
    for region in _largest_parts(mask):
        full = cv2.resize(region.astype(np.uint8), frame.data.shape[1::-1], interpolation=cv2.INTER_NEAREST)
        rows, columns = np.flatnonzero(full.any(1)), np.flatnonzero(full.any(0))
        box = Box(float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1))
        sure = [thing.box for thing in analysis.things if thing.score > NAMED_SCORE]
        known = [*sure, *(line.box for line in analysis.texts)]
        if any(box.shared(other) > SAME * min(box.area, other.area) for other in known):
            continue
        label, score = _detected(frame.data, box, analyzer)
        if not label and not trusted:
            continue
        crop = _square(box, AROUND_CLOSELY).crop(frame.data)
        color_histogram = colors.shares(frame.data, full.astype(np.float32))
        named = not label and min(crop.shape[:2]) >= SMALLEST_SIDE
        thing = Thing(
            label or UNNAMED,
            score,
            box,
            colors.main_colors(color_histogram),
            color_histogram,
            moving=True,
            probabilities=analyzer.classifier.probabilities([crop])[0] if named else None,
        )
        others = [one for one in analysis.things if one.box.shared(box) < SAME * min(box.area, one.box.area)]
        analysis = replace(analysis, things=(*others, thing))
    return analysis


def _largest_parts(mask: np.ndarray) -> list[np.ndarray]:
    """The largest connected parts of a mask, bool [h, w], that have the size of a thing."""
    closed = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    count, parts, stats, _ = cv2.connectedComponentsWithStats(closed)
    by_size = sorted(range(1, count), key=lambda part: -stats[part, cv2.CC_STAT_AREA])[:MAX_THINGS]
    return [
        parts == part
        for part in by_size
        if SMALLEST < stats[part, cv2.CC_STAT_AREA] / mask.size < LARGEST and _is_solid(stats[part])
    ]


def _is_solid(stats: np.ndarray) -> bool:
    """Whether a part fills its box; the edges that a zoom leaves do not."""
    box = stats[cv2.CC_STAT_WIDTH] * stats[cv2.CC_STAT_HEIGHT]
    return bool(stats[cv2.CC_STAT_AREA] > SOLID * box)


def _detected(picture: np.ndarray, box: Box, analyzer: FrameAnalyzer) -> tuple[str, float]:
    """What the detector sees in a box when enlarged, and how surely; "" if nothing."""
    around = _square(box, AROUND).crop(picture)
    if min(around.shape[:2]) < SMALLEST_SIDE:
        return "", UNNAMED_SCORE
    enlarged = cv2.resize(around, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    middle = Box(0.25 * SIDE, 0.25 * SIDE, 0.75 * SIDE, 0.75 * SIDE)
    for found in analyzer.find(enlarged):
        if found.score > DETECTED and found.box.shared(middle) > 0.4 * middle.area:
            return found.label, found.score
    return "", UNNAMED_SCORE


def _square(box: Box, scale: float) -> Box:
    """A square around a box, larger than it by `scale`."""
    side = scale * max(box.width, box.height)
    x, y = box.centre
    return Box(x - side / 2, y - side / 2, x + side / 2, y + side / 2)
