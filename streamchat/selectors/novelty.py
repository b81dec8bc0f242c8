"""A frame is kept if enough of it differs from the last kept one, so that small and slow changes add up and count.

The picture is averaged down to 64 x 36 cells, which takes sensor noise and fine compression errors away, and compared
with the last kept one in 16 x 9 tiles. A small change of all tiles alike is the camera's exposure or a flickering lamp
and is taken off. The novelty is the mean change, in grey levels of 255, of the two tiles that changed most: as much as
a person far off fills.

Seen on videos: strong noise gives 5, flicker of a twentieth 7, a line of text on black 40, a person of a ninth of the
picture's height 20 and of a fifth 40 to 65, a moving camera 100 to 200. A globe that turns in half a minute passes 20
every two seconds. The presets' thresholds lie between: `slow` is just above noise and flicker, `fast` just below a line
of text.
"""

from __future__ import annotations

import cv2
import numpy as np

from streamchat.options import Options
from streamchat.selectors.base import Guards, Selection
from streamchat.types import Frame

CELLS = (64, 36)  # width, height
TILES = (16, 9)  # width, height
TILES_THAT_COUNT = 2  # the novelty is the mean over so many
FLICKER = 8.0  # grey levels by which the whole picture may brighten or darken unnoticed
THRESHOLDS = {"slow": 10.0, "base": 20.0, "fast": 35.0}  # grey levels, by preset
STEEPNESS = 2  # of the rise towards the ceiling: novelty grows while the camera moves, and would take a second's
# frames in its first tenths


def build(options: Options) -> NoveltySelector:
    """The selector with its preset's own threshold: `options.motion_threshold` is in the unit of optical flow."""
    return NoveltySelector(options)


class NoveltySelector:
    """Keeps a frame that shows something new since the last kept one, within the shared guards."""

    def __init__(self, options: Options) -> None:
        self._threshold = THRESHOLDS[options.preset_name]
        self._guards = Guards(options, steepness=STEEPNESS)
        self._kept: np.ndarray | None = None  # float32 [36, 64, 3], the cells of the last kept frame

    def limit(self, per_second: int) -> None:
        """Set the ceiling of kept frames."""
        self._guards.limit(per_second)

    def select(self, frame: Frame) -> Selection:
        """Decide about the next frame; `motion` is its novelty in grey levels, 0 for the first frame."""
        cells = cells_of(frame.data)
        found = 0.0 if self._kept is None else novelty(self._kept, cells)
        selection = self._guards.decide(frame, found, self._threshold)
        if selection.kept:
            self._kept = cells
        return selection


def cells_of(picture: np.ndarray) -> np.ndarray:
    """A picture, uint8 [H, W, 3], averaged down to cells: float32 [36, 64, 3]."""
    return cv2.resize(picture, CELLS, interpolation=cv2.INTER_AREA).astype(np.float32)


def shows_nothing_new(before: np.ndarray, after: np.ndarray) -> bool:
    """Whether a picture shows nothing that another does not show, whatever the preset; both are uint8 [H, W, 3]."""
    return novelty(cells_of(before), cells_of(after)) <= THRESHOLDS["base"]


def novelty(before: np.ndarray, after: np.ndarray) -> float:
    """Mean change, in grey levels, of the tiles that changed most; cells are float32 [36, 64, 3]."""
    change = after - before
    flicker = np.clip(np.median(change, axis=(0, 1)), -FLICKER, FLICKER)
    by_cell = np.abs(change - flicker).mean(axis=2)
    by_tile = cv2.resize(by_cell, TILES, interpolation=cv2.INTER_AREA)
    return float(np.sort(by_tile, axis=None)[-TILES_THAT_COUNT:].mean())
