"""Decoded frames as they are shown: turned and mirrored, with square pixels, in true colors, all of one size."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import Colorspace, Interpolation, VideoReformatter

from streamchat.video.images import centered, fit_within

MOST_ASPECT = 8  # of long to short side; thinner pictures get black beside them, as models take them for no picture
UNSPECIFIED_COLORS = 2  # as the standards number it
HD_WIDTH, HD_HEIGHT = 1280, 720  # pixels; from here on colors that are not named are BT.709
BYTES_OF_A_MATRIX = 36

Size = tuple[int, int]  # width, height in pixels


def displayed_size(width: int, height: int, aspect: Fraction | None) -> Size:
    """A size in square pixels; `aspect` is that of a pixel, and not believed beyond 4."""
    if aspect is None or not Fraction(1, 4) <= aspect <= 4:  # a wrong header
        aspect = Fraction(1)
    return max(1, round(width * aspect)), height


class Orientation:
    """How a frame is turned before it is shown: transposed, then mirrored."""

    def __init__(self, frame: VideoFrame | None) -> None:
        data = None if frame is None else frame.side_data.get("DISPLAYMATRIX")
        self.transposed = self.left_right = self.up_down = False
        matrix = b"" if data is None else bytes(data)  # type: ignore[call-overload]  # it is a buffer
        if len(matrix) < BYTES_OF_A_MATRIX:
            return
        a, b, _, c, d = np.frombuffer(matrix, np.int32)[:5].tolist()  # x' = ax + cy, y' = bx + dy
        self.transposed = abs(b) + abs(c) > abs(a) + abs(d)
        self.left_right = (c if self.transposed else a) < 0
        self.up_down = (b if self.transposed else d) < 0

    def turned(self, picture: np.ndarray) -> np.ndarray:
        """A picture, [H, W, 3], as it is shown."""
        if self.transposed:
            picture = picture.swapaxes(0, 1)
        if self.left_right:
            picture = picture[:, ::-1]
        return picture[::-1] if self.up_down else picture

    def size(self, size: Size) -> Size:
        """A size as it is shown, or back."""
        return (size[1], size[0]) if self.transposed else size


def box_of(size: Size, max_side: int) -> Size:
    """The size of all pictures of a video whose first one is shown in a size: within `max_side`, and not too thin."""
    width, height = fit_within(*size, max_side)
    return max(width, -(-height // MOST_ASPECT)), max(height, -(-width // MOST_ASPECT))


class Scaler:
    """Turns decoded frames of one video into pictures; for one thread.

    A converter is kept for each step, as setting one up takes longer than a picture.
    """

    def __init__(self, box: Size, aspect: Fraction | None) -> None:
        self._box = box
        self._aspect = aspect  # of a pixel
        self._smaller, self._colored = VideoReformatter(), VideoReformatter()

    def rgb(self, frame: VideoFrame) -> np.ndarray:
        """uint8 [H, W, 3] RGB of the box's size, black beside a frame of other proportions."""
        orientation = Orientation(frame)
        size = displayed_size(frame.width, frame.height, self._aspect)
        box = orientation.size(self._box)
        scale = min(box[0] / size[0], box[1] / size[1])
        width, height = (max(1, round(side * scale)) for side in size)
        scaled = frame
        if frame.format.name == "yuv420p":  # has half as many numbers as RGB: scaled before, it takes half the time
            scaled = self._smaller.reformat(frame, width, height, interpolation=Interpolation.BILINEAR, threads=1)
        rgb = self._colored.reformat(
            scaled,
            width,
            height,
            "rgb24",
            src_colorspace=_colorspace(frame),
            interpolation=Interpolation.BILINEAR,
            threads=1,
        ).to_ndarray()
        return centered(orientation.turned(rgb), self._box[::-1])


def _colorspace(frame: VideoFrame) -> Colorspace | None:
    """By which matrix the colors of a frame are to be read, if it does not name one and the usual one is wrong."""
    large = frame.width >= HD_WIDTH or frame.height >= HD_HEIGHT
    return Colorspace.ITU709 if frame.colorspace == UNSPECIFIED_COLORS and large else None
