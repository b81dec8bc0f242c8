"""On-screen text: PP-OCRv6 small, through rapidocr."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from typing import Any

import numpy as np

from streamchat.models.embedded import weights
from streamchat.models.embedded.detector import Box
from streamchat.threads import compute_threads

MIN_SCORE = 0.82
MIN_LETTERS = 2
MAX_SIDE = 736
MOST_ASPECT = 8  # of long to short side
FINDER_SIDE = 480  # the finder's long side; the reader sees the full picture


@dataclass(frozen=True, slots=True)
class ReadText:
    """A line of text in a picture."""

    text: str
    score: float
    box: Box


class Reader:
    """Reads text in pictures. One picture is read at a time, so that no thread waits for longer than that."""

    def __init__(self) -> None:
        from rapidocr import RapidOCR

        finder, reader = weights.text_models()
        threads = compute_threads()
        self._turn = threading.Lock()
        self._ocr = RapidOCR(
            params={
                "Global.log_level": "error",
                "Global.use_cls": False,
                "Global.max_side_len": MAX_SIDE,
                "Det.limit_side_len": FINDER_SIDE,
                "Det.limit_type": "max",
                "Det.model_path": str(finder),
                "Rec.model_path": str(reader),
                "EngineConfig.onnxruntime.intra_op_num_threads": threads,
                "EngineConfig.onnxruntime.inter_op_num_threads": 1,
            }
        )

    def read(self, picture: np.ndarray) -> list[ReadText]:
        """Lines of text in a picture, uint8 [H, W, 3] RGB, from top to bottom."""
        with self._turn:
            found: Any = self._ocr(np.ascontiguousarray(_not_too_thin(picture)[:, :, ::-1]))
        if found.txts is None:
            return []
        lines = [
            ReadText(text.strip(), float(score), _around(corners))
            for text, score, corners in zip(found.txts, found.scores, found.boxes, strict=True)
            if score > MIN_SCORE and len(re.sub(r"\W", "", text)) >= MIN_LETTERS
        ]
        return sorted(lines, key=lambda line: line.box.top)


def _not_too_thin(picture: np.ndarray) -> np.ndarray:
    """A picture, [H, W, 3], with black to its right or below it if it is a strip, of which nothing would be left."""
    height, width = picture.shape[:2]
    wanted = max(height, width) // MOST_ASPECT
    return np.pad(picture, ((0, max(0, wanted - height)), (0, max(0, wanted - width)), (0, 0)))


def _around(corners: np.ndarray) -> Box:
    """The upright box around four corners [4, 2]."""
    (left, top), (right, bottom) = np.min(corners, 0), np.max(corners, 0)
    return Box(float(left), float(top), float(right), float(bottom))
