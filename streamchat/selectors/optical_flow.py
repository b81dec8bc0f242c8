"""The paper's selector (section 3.2): a frame is kept if its optical flow exceeds a threshold.

Dense Lucas-Kanade: in each window of 5 x 5 pixels the flow (u, v) solves

    [ΣIxIx ΣIxIy] [u]     [ΣIxIt]
    [ΣIxIy ΣIyIy] [v] = - [ΣIyIt]

and the motion of a frame is the mean of sqrt(u² + v²) over the picture, against the frame decoded before it.

The thresholds 0.13, 0.35 and 0.58 of the presets belong to this scale: the frame is resized to 336 x 336 pixels,
whatever its aspect, normalised as CLIP does, and averaged over its channels. The Sobel kernels, 3 x 3, are not divided
by 8, so that a motion of one pixel counts as an eighth. 1e-6 on the matrix's diagonal keeps every window solvable; in
float32 it would be lost on straight edges, so all is float64.
"""

from __future__ import annotations

import cv2
import numpy as np

from streamchat.options import Options
from streamchat.selectors.base import Guards, Selection
from streamchat.types import Frame

SIDE = 336  # pixels
WINDOW = (5, 5)  # pixels
DIAGONAL = 1e-6
STRIP_ROWS = 168  # worked on at once
REACH_ROWS = 3  # above and below a pixel that its flow depends on: two of the window, one of the slopes in it
CLIP_STD = np.array([0.26862954, 0.26130258, 0.27577711])  # R, G, B; CLIP's mean cancels out of all derivatives
TO_GREY = (1 / (255 * 3 * CLIP_STD))[None]  # [1, 3]: the mean of the normalised channels


def build(options: Options) -> OpticalFlowSelector:
    """The selector with the threshold `options.motion_threshold`, of which each preset has the paper's."""
    return OpticalFlowSelector(options)


class OpticalFlowSelector:
    """Keeps a frame whose motion exceeds the threshold, within the shared guards."""

    def __init__(self, options: Options) -> None:
        self._threshold = options.motion_threshold
        self._guards = Guards(options)
        self._flow = FlowMeter()

    def limit(self, per_second: int) -> None:
        """Set the ceiling of kept frames."""
        self._guards.limit(per_second)

    def select(self, frame: Frame) -> Selection:
        """Decide about the next frame; `motion` is the mean flow, 0 for the first frame."""
        return self._guards.decide(frame, self._flow.motion(frame.data), self._threshold)


class FlowMeter:
    """Mean length of the optical flow between consecutive pictures."""

    def __init__(self) -> None:
        self._grey: np.ndarray | None = None  # float64 [SIDE, SIDE], of the picture before

    def motion(self, rgb: np.ndarray) -> float:
        """The mean flow from the picture before to this one, uint8 [H, W, 3]; 0 for the first."""
        before, self._grey = self._grey, grey_of(rgb)
        return 0.0 if before is None else mean_flow(before, self._grey)


def grey_of(rgb: np.ndarray) -> np.ndarray:
    """The grey, float64 [SIDE, SIDE], in which flow is measured, of a picture uint8 [H, W, 3]."""
    small = cv2.resize(rgb, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return cv2.transform(small.astype(np.float64), TO_GREY)


def mean_flow(before: np.ndarray, after: np.ndarray) -> float:
    """Mean of sqrt(u² + v²) over two greys, float64 [H, W]; windows reach past the border over zeros.

    Worked out in strips, so that all that is between the greys and the result stays in the processor's cache.
    """
    height = len(before)
    total = 0.0
    for top in range(0, height, STRIP_ROWS):
        first, last = max(0, top - REACH_ROWS), min(height, top + STRIP_ROWS + REACH_ROWS)
        lengths = _flow_lengths(before[first:last], after[first:last])
        total += float(lengths[top - first : top - first + STRIP_ROWS].sum())
    return total / before.size


def _flow_lengths(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """sqrt(u² + v²) at each pixel, float64 [H, W]; u and v by Cramer's rule, over one determinant."""
    x = cv2.Sobel(before, cv2.CV_64F, 1, 0, ksize=3)
    y = cv2.Sobel(before, cv2.CV_64F, 0, 1, ksize=3)
    t = after - before
    xx, yy, xy, xt, yt = (_window_sums(one * other) for one, other in ((x, x), (y, y), (x, y), (x, t), (y, t)))
    xx += DIAGONAL
    yy += DIAGONAL
    flow: np.ndarray = cv2.magnitude(yy * xt - xy * yt, xx * yt - xy * xt) / (xx * yy - xy * xy)
    return flow


def _window_sums(values: np.ndarray) -> np.ndarray:
    return cv2.boxFilter(values, cv2.CV_64F, WINDOW, normalize=False, borderType=cv2.BORDER_CONSTANT)
