"""Objects: NanoDet-g at 416 pixels, the 80 classes of COCO."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from streamchat.models.embedded import weights
from streamchat.models.embedded.vocabulary import COCO
from streamchat.threads import compute_threads

SIDE = 416
STRIDES = (8, 16, 32)
BINS = 11  # a side's distance is a distribution over 0 to 10 strides
MEAN = np.array([103.53, 116.28, 123.675], np.float32)  # of ImageNet, BGR
DEVIATION = np.array([57.375, 57.12, 58.395], np.float32)
GREY = 114  # fills what the picture leaves of the square
MIN_SCORE = 0.25  # weak ones only go on with what was seen more surely in another picture
MAX_OVERLAP = 0.5


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in a picture, in pixels."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        """Pixels from side to side."""
        return self.right - self.left

    @property
    def height(self) -> float:
        """Pixels from top to bottom."""
        return self.bottom - self.top

    @property
    def area(self) -> float:
        """Square pixels."""
        return self.width * self.height

    @property
    def centre(self) -> tuple[float, float]:
        """The middle, (x, y)."""
        return (self.left + self.right) / 2, (self.top + self.bottom) / 2

    def part(self, left: float, top: float, right: float, bottom: float) -> Box:
        """A part of the box, in shares of its width and height from its upper left corner."""
        return Box(
            self.left + left * self.width,
            self.top + top * self.height,
            self.left + right * self.width,
            self.top + bottom * self.height,
        )

    def shared(self, other: Box) -> float:
        """Square pixels that both boxes cover."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(0.0, width) * max(0.0, height)

    def crop(self, picture: np.ndarray) -> np.ndarray:
        """What of the picture [H, W, ...] lies in the box; may be empty."""
        height, width = picture.shape[:2]
        top, bottom = max(0, round(self.top)), min(height, round(self.bottom))
        left, right = max(0, round(self.left)), min(width, round(self.right))
        return picture[top : max(top, bottom), left : max(left, right)]


@dataclass(frozen=True, slots=True)
class Detection:
    """One object that the detector found."""

    label: str  # of COCO
    score: float
    box: Box


class Detector:
    """Finds objects in pictures; one instance serves any number of threads."""

    def __init__(self) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = compute_threads()
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            str(weights.detector()), options, providers=["CPUExecutionProvider"]
        )

    def find(self, picture: np.ndarray) -> list[Detection]:
        """Objects in a picture, uint8 [H, W, 3] RGB, the most certain first."""
        square, scale = _letterboxed(picture)
        pixels = (square[:, :, ::-1].astype(np.float32) - MEAN) / DEVIATION
        outputs = self._session.run(None, {"input": pixels.transpose(2, 0, 1)[None].astype(np.float32)})
        levels = [
            _level(scores[0], distances[0], stride)
            for scores, distances, stride in zip(outputs[0::2], outputs[1::2], STRIDES, strict=True)
        ]
        boxes, scores, classes = (np.concatenate(parts) for parts in zip(*levels, strict=True))
        if not len(boxes):
            return []
        height, width = picture.shape[:2]
        boxes = np.clip(boxes / scale, 0, [width, height, width, height])
        corners = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1)
        kept = cv2.dnn.NMSBoxesBatched(corners.tolist(), scores.tolist(), classes.tolist(), MIN_SCORE, MAX_OVERLAP)
        found = [
            Detection(COCO[classes[index]], float(scores[index]), Box(*map(float, boxes[index])))
            for index in np.asarray(kept).reshape(-1)
        ]
        return sorted(found, key=lambda detection: -detection.score)


def _letterboxed(picture: np.ndarray) -> tuple[np.ndarray, float]:
    """The picture scaled into the upper left of a square, and by how much; squashing would lose the cars."""
    height, width = picture.shape[:2]
    scale = SIDE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    square = np.full((SIDE, SIDE, 3), GREY, np.uint8)
    square[: size[1], : size[0]] = small
    return square, scale


def _level(scores: np.ndarray, distances: np.ndarray, stride: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Candidates of one level: boxes [n, 4] (left, top, right, bottom), scores [n], classes [n].

    `scores` is [80, ...] and `distances` [44, ...], over a grid of one cell for every `stride` pixels.
    """
    cells = SIDE // stride
    by_cell = scores.reshape(len(COCO), -1).T
    chosen = np.flatnonzero(by_cell.max(1) > MIN_SCORE)
    bins = distances.reshape(4, BINS, -1).transpose(2, 0, 1)[chosen]
    weight = np.exp(bins - bins.max(-1, keepdims=True))
    sides = (weight / weight.sum(-1, keepdims=True) * np.arange(BINS)).sum(-1) * stride
    centres = np.stack([chosen % cells, chosen // cells], 1) * stride + stride / 2
    boxes = np.concatenate([centres - sides[:, :2], centres + sides[:, 2:]], 1)
    return boxes, by_cell[chosen].max(1), by_cell[chosen].argmax(1)
