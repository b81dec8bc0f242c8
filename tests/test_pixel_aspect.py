"""Pixels that are not square, as broadcasts and DVDs have them: frames come out in the proportions that are shown."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import videos

from streamchat.video.file import open_video

WIDE = Fraction(64, 45)  # of a widescreen DVD with 720 x 576 pixels


def extent(picture: np.ndarray) -> tuple[int, int]:
    """Height and width in pixels of what is bright in a picture."""
    rows, columns = np.nonzero(picture[..., 1] > 125)
    return int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("anamorphic.mp4", "libx264"),
        ("anamorphic.mkv", "libx264"),
        ("anamorphic.ts", "libx264"),
        ("anamorphic.avi", "mpeg4"),
        ("anamorphic.mpg", "mpeg2video"),
    ],
)
def test_a_circle_is_a_circle_however_the_file_is_read(name: str, codec: str, tmp_path: Path) -> None:
    shown = [videos.disc(720, 576, WIDE)] * 30
    opened = open_video(videos.write(tmp_path / name, shown, codec=codec, pixel_aspect=WIDE), max_side=2000)
    frames = list(opened)
    assert len(frames) == 30
    for frame in (frames[0], frames[-1], opened.frame_at(0.5), next(opened.after(frames[0]))):
        assert frame.data.shape == (576, 1024, 3)
        high, wide = extent(frame.data)
        assert high == pytest.approx(0.8 * 576, abs=3)
        assert wide == pytest.approx(high, abs=3)


@pytest.mark.parametrize(
    ("size", "aspect", "rotation", "max_side", "shape"),
    [
        ((720, 576), WIDE, 0, 768, (432, 768, 3)),
        ((720, 576), WIDE, 0, 720, (405, 720, 3)),
        ((720, 576), Fraction(16, 15), 0, 768, (576, 768, 3)),
        ((720, 480), Fraction(8, 9), 0, 768, (480, 640, 3)),
        ((720, 576), WIDE, 90, 768, (768, 432, 3)),
        ((320, 176), Fraction(1), 0, 768, (176, 320, 3)),
    ],
)
def test_frames_keep_within_the_longest_side_and_turn_as_they_are_shown(
    size: tuple[int, int], aspect: Fraction, rotation: int, max_side: int, shape: tuple[int, ...], tmp_path: Path
) -> None:
    shown = [videos.disc(*size, aspect)] * 5
    path = videos.write(tmp_path / "shown.mp4", shown, pixel_aspect=aspect, rotation=rotation)
    opened = open_video(path, max_side=max_side)
    frames = list(opened)
    for frame in (frames[0], frames[-1], opened.frame_at(0.1)):
        assert frame.data.shape == shape
        high, wide = extent(frame.data)
        assert high == pytest.approx(0.8 * min(shape[:2]), abs=3)
        assert wide == pytest.approx(high, abs=3)


def test_a_header_that_cannot_be_true_is_not_believed(tmp_path: Path) -> None:
    shown = [videos.numbered(5)] * 3
    opened = open_video(videos.write(tmp_path / "wrong.mp4", shown, pixel_aspect=Fraction(100)))
    assert opened.frame_at(0).data.shape == (176, 320, 3)
