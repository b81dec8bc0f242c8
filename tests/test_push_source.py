"""Frames pushed by a camera."""

from __future__ import annotations

import numpy as np
import pytest
import videos

from streamchat.errors import InputError
from streamchat.video.camera import PushSource


def test_pushed_frames_come_out_scaled_and_numbered() -> None:
    source = PushSource(max_side=100)
    buffer = videos.numbered(5)
    source.push(buffer, 0.0)
    buffer[:] = 0  # a camera uses its buffer again
    source.push(videos.numbered(6)[:, ::-1], 0.1)
    source.close()
    frames = list(source)
    assert [(frame.index, frame.pts_seconds) for frame in frames] == [(0, 0.0), (1, 0.1)]
    assert [frame.data.shape for frame in frames] == [(55, 100, 3)] * 2
    assert videos.number_of(frames[0].data) == 5
    assert videos.number_of(frames[1].data[:, ::-1]) == 6
    assert source.dropped == 0


def test_a_full_push_source_drops_the_oldest_and_counts() -> None:
    source = PushSource(capacity=4)
    for number in range(10):
        source.push(videos.numbered(number), number / 10)
    source.close()
    frames = list(source)
    assert [videos.number_of(frame.data) for frame in frames] == [6, 7, 8, 9]
    assert [frame.index for frame in frames] == [6, 7, 8, 9]
    assert source.dropped == 6
    source.push(videos.numbered(11), 99.0)
    assert list(source) == []


def test_pushed_time_only_goes_forward() -> None:
    source = PushSource()
    for seconds in (1.0, 1.0, 0.5, 2.0):
        source.push(videos.numbered(0), seconds)
    source.close()
    assert [frame.pts_seconds for frame in source] == [1.0, 2.0]
    assert source.dropped == 2


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_wrong_pushed_pictures_are_refused(wrong: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"uint8 \[H, W, 3\] RGB"):
        PushSource().push(wrong, 0.0)


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), float("inf")])
def test_wrong_pushed_times_are_refused(seconds: float) -> None:
    with pytest.raises(InputError, match="0 to 2592000 seconds"):
        PushSource().push(videos.numbered(0), seconds)


def test_the_error_of_a_camera_reaches_its_reader() -> None:
    source = PushSource()
    source.push(videos.numbered(0), 0.0)
    source.close(OSError("unplugged"))
    frames = iter(source)
    assert next(frames).index == 0
    with pytest.raises(OSError, match="unplugged"):
        next(frames)
