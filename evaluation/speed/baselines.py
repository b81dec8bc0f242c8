"""What the fast parts are measured against: the paper's formulas written down as they stand, and nothing clever."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch.nn.functional import conv2d, pad, unfold

from streamchat.selectors.optical_flow import CLIP_STD, DIAGONAL, SIDE, WINDOW

CLIP_MEAN = np.array([0.48145466, 0.4578275, 0.40821073])  # R, G, B
SOBEL = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]], dtype=torch.float64)
MAX_ITERATIONS = 100


class PlainFlowMeter:
    """`FlowMeter`, but every window is unfolded and its 2 x 2 system solved, in torch."""

    def __init__(self) -> None:
        self._grey: torch.Tensor | None = None

    def motion(self, rgb: np.ndarray) -> float:
        """The mean flow from the picture before to this one, uint8 [H, W, 3]; 0 for the first."""
        before, self._grey = self._grey, grey_of(rgb)
        return 0.0 if before is None else mean_flow(before, self._grey)


def grey_of(rgb: np.ndarray) -> torch.Tensor:
    """The mean of a picture's channels as CLIP normalises them, float64 [SIDE, SIDE], of uint8 [H, W, 3]."""
    small = cv2.resize(rgb, (SIDE, SIDE), interpolation=cv2.INTER_AREA)  # as the product scales: no part of the formula
    pixels = torch.from_numpy(small).permute(2, 0, 1).double() / 255
    mean, std = (torch.from_numpy(values)[:, None, None] for values in (CLIP_MEAN, CLIP_STD))
    return ((pixels - mean) / std).mean(0)


def mean_flow(before: torch.Tensor, after: torch.Tensor) -> float:
    """Mean of sqrt(u² + v²) over two greys [H, W] of one dtype (paper section 3.2)."""
    wide = pad(before[None, None], (1, 1, 1, 1), mode="reflect")
    slopes = [conv2d(wide, kernel.to(before.dtype)[None, None]) for kernel in (SOBEL, SOBEL.T)]
    along_x, along_y, over_time = (_windows(values) for values in (*slopes, (after - before)[None, None]))
    sides = torch.stack([along_x, along_y], -1)  # [H * W, 25, 2]
    matrix = sides.mT @ sides + DIAGONAL * torch.eye(2, dtype=before.dtype)
    right = -sides.mT @ over_time[..., None]
    return float(torch.linalg.solve(matrix, right).norm(dim=1).mean())


def _windows(values: torch.Tensor) -> torch.Tensor:
    """The values [1, 1, H, W] in the window round each pixel: [H * W, 25]."""
    return unfold(values, WINDOW, padding=(WINDOW[0] // 2, WINDOW[1] // 2))[0].T


def lloyd(points: torch.Tensor, k: int, seed: int, buffer: torch.Tensor | None = None) -> tuple[torch.Tensor, float]:
    """k-means of points [n, ...] from random starts: centroids [k, ...], and the sum of squared distances to them.

    Differences go into the `buffer` of the points' shape, float32, if one is given: fresh memory for each takes most of
    the time with large points.
    """
    flat = points.flatten(1).float()
    differences = None if buffer is None else buffer.flatten(1)
    generator = torch.Generator().manual_seed(seed)
    centroids = flat[torch.randperm(len(flat), generator=generator)[:k]]
    labels: torch.Tensor | None = None
    for _ in range(MAX_ITERATIONS):
        from_each = (torch.sub(flat, centroid, out=differences).square_().sum(1) for centroid in centroids)
        distances = torch.stack(list(from_each), 1)
        moved = distances.argmin(1)
        if labels is not None and torch.equal(moved, labels):
            break
        labels = moved
        means = [flat[labels == number].mean(0) for number in range(k) if bool((labels == number).any())]
        centroids = torch.stack(means)
    return centroids.reshape(-1, *points.shape[1:]), float(distances.min(1).values.sum())
