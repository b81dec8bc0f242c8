"""Vectors of whole pictures in the space of text vectors: ConSE (Norouzi et al. 2014) over the classifier's names."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from streamchat.embedding import TextEmbedder
from streamchat.picture_encoder.classifier import Classifier
from streamchat.types import Frame

TOP_CLASSES = 20  # whose names' vectors make a picture's vector


class PictureEncoder:
    """A picture as one token that can be compared with texts; serves any number of threads."""

    tokens_per_frame = 1
    dim = 384

    def __init__(self, classifier: Classifier, embedder: TextEmbedder) -> None:
        self._classifier = classifier
        self._class_vectors = embedder.embed(classifier.labels)

    def encode(self, frames: Sequence[Frame]) -> torch.Tensor:
        """Vectors of pictures: float32 [N, 1, 384], unit norm; every frame is encoded by itself."""
        if not frames:
            return torch.zeros(0, self.tokens_per_frame, self.dim)
        vectors = [self.vector(self._classifier.of_frame(frame.data)) for frame in frames]
        return torch.from_numpy(np.stack(vectors))[:, None]

    def vector(self, probabilities: np.ndarray) -> np.ndarray:
        """The vector [384], unit norm, of class probabilities [1000]: the weighted mean of the likeliest names'."""
        top = np.argsort(-probabilities)[:TOP_CLASSES]
        return unit(probabilities[top] @ self._class_vectors[top])


def unit(vector: np.ndarray) -> np.ndarray:
    """A vector scaled to length 1, float32; one of nothing but zeros stays."""
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-9), np.float32)
