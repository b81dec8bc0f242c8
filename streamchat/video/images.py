"""Sizes of pictures, and small JPEGs of frames: keyframes for people, and for engines that take pictures."""

from __future__ import annotations

import struct

import cv2
import numpy as np

from streamchat.types import Visual

KEYFRAME_SIDE = 448  # long side of a stored keyframe in pixels: some 30 KB
KEYFRAME_QUALITY = 80
START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # markers of a JPEG that are followed by its size


def fit_within(width: int, height: int, max_side: int) -> tuple[int, int]:
    """The size of a picture scaled down, never up, so that its long side is at most `max_side` pixels."""
    scale = min(1.0, max_side / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def letterboxed(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A picture, uint8 [H, W, 3], scaled to just fit into a height and width in pixels, and black around it."""
    if picture.shape[:2] == size:
        return picture
    (height, width), (high, wide) = picture.shape[:2], size
    scale = min(high / height, wide / width)
    inner = max(1, round(width * scale)), max(1, round(height * scale))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return centered(cv2.resize(picture, inner, interpolation=how), size)


def centered(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A picture, uint8 [H, W, 3], in the middle of black of a height and width in pixels, which are not smaller."""
    if picture.shape[:2] == size:
        return np.ascontiguousarray(picture)
    (height, width), (high, wide) = picture.shape[:2], size
    boxed = np.zeros((high, wide, 3), np.uint8)
    left, top = (wide - width) // 2, (high - height) // 2
    boxed[top : top + height, left : left + width] = picture
    return boxed


def jpeg(picture: np.ndarray, max_side: int | None = KEYFRAME_SIDE, quality: int = KEYFRAME_QUALITY) -> bytes:
    """Encode a picture, uint8 [H, W, 3] RGB, as a JPEG with a long side of at most `max_side` pixels, if given."""
    height, width = picture.shape[:2]
    size = fit_within(width, height, max_side or max(width, height))
    # Averaging over areas is ten times as slow, and no better for less than half the size.
    how = cv2.INTER_AREA if width >= 2 * size[0] else cv2.INTER_LINEAR
    small = picture if size == (width, height) else cv2.resize(picture, size, interpolation=how)
    done, data = cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise ValueError(f"could not encode a picture of {width} x {height} pixels")
    return data.tobytes()


def picture(keyframe: bytes) -> np.ndarray:
    """The picture of a keyframe, uint8 [H, W, 3] RGB."""
    decoded = cv2.imdecode(np.frombuffer(keyframe, np.uint8), cv2.IMREAD_COLOR)
    if decoded is None:
        raise ValueError("a keyframe is not a readable JPEG")
    return cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)


def jpeg_size(data: bytes) -> tuple[int, int]:
    """Width and height of a JPEG in pixels, read from its header without decoding; ValueError if it is none."""
    place = 2 if data[:2] == b"\xff\xd8" else len(data)
    while place + 9 <= len(data) and data[place] == 0xFF:
        marker, length = data[place + 1], int.from_bytes(data[place + 2 : place + 4], "big")
        if marker in START_OF_FRAME:
            height, width = struct.unpack(">HH", data[place + 5 : place + 9])
            if width and height:
                return width, height
            break
        place += 2 + length
    raise ValueError("a picture is not a readable JPEG")


def picture_of(visual: Visual) -> bytes | None:
    """The keyframe of a visual as a JPEG, made now if there is none yet; None for one without a frame."""
    if visual.keyframe is None and visual.frame is not None:
        return jpeg(visual.frame.data)
    return visual.keyframe
