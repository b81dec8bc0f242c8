"""Where the weights of the detector and of the text reader lie, and whether they are the right ones."""

from __future__ import annotations

from pathlib import Path

from streamchat.digests import check_sha256, file_of_package

PRETRAINED = Path(__file__).resolve().parent / "pretrained"
NANODET = ("nanodet_fp16.onnx", "f7b7681b028f2019b0a17fcc58db6bb0a2952d0f3b83bafadcf3a7fd2c5c711c")
RAPIDOCR = ("rapidocr", "3.10.0")
TEXT_FINDER = (
    "models/PP-OCRv6_det_small.onnx",
    "090f04abcd9d9a7498bc4ebf677e4cb9bdce1fe4197ddb7e529f1ef44e1ff94f",
)
TEXT_READER = (
    "models/PP-OCRv6_rec_small.onnx",
    "6f327246b50388f3c176ae304bd95767ea6dc0c9ae92153ef8cbe210b3c14884",
)


def detector() -> Path:
    """The checked file of the object detector; StreamChatError if it is missing or another one."""
    path = PRETRAINED / NANODET[0]
    check_sha256(path, NANODET[1], "get StreamChat again: this file is a part of it")
    return path


def text_models() -> tuple[Path, Path]:
    """The checked files that find and read text; StreamChatError, with what to do, if one is missing or another one."""
    return file_of_package(*RAPIDOCR, *TEXT_FINDER), file_of_package(*RAPIDOCR, *TEXT_READER)
