"""The video that is measured with: the beginning of a given one, or one with motion of every kind, made from a seed.

Both are H.264 of the height that a figure names.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import takewhile
from pathlib import Path

import av
import cv2
import numpy as np

from evaluation.speed.measuring import Settings
from streamchat.video.file import open_video

RATE = 30  # frames a second
SCENES = ("pan", "walkers", "still", "shake", "walkers")
SCENE_SECONDS = 4
SPOTS = 6  # a texture's spot is this share of the picture's height; half and a quarter of it lie over it
WALKERS = 6
GRAIN = 3.0  # of a camera's sensor, in grey levels of 255
GRAINS = 8  # pictures of grain, shown in turn
EXCERPT_SECONDS = len(SCENES) * SCENE_SECONDS  # as long as a made video
LARGEST_SIDE = 4096  # pixels of a given video
FASTEST = 120  # frames a second of a given video


def prepared(settings: Settings, *, height: int, loops: int = 1) -> Path:
    """The video of the settings, of a height in pixels and `loops` times over; one that was made before is taken again.

    Raises InputError if a given video cannot be decoded.
    """
    path = settings.folder / f"{height}p-{loops}.mp4"
    if path.exists():
        return path
    if settings.video is None:
        return make(path, height=height, loops=loops)
    return excerpt(settings.video, path, height=height, loops=loops)


def make(path: Path, *, height: int, loops: int = 1, scene_seconds: float = SCENE_SECONDS, seed: int = 0) -> Path:
    """Write a video of 16:9 into an MP4: five scenes with a cut between them, `loops` times over."""
    once = path.with_suffix(".once.mp4")
    _encode(once, _pictures(height * 16 // 9 // 2 * 2, height, round(scene_seconds * RATE), seed), RATE)
    return _repeat(once, path, loops)


def excerpt(source: Path, path: Path, *, height: int, loops: int = 1) -> Path:
    """Write the first 20 seconds of a video into an MP4 of a height in pixels, `loops` times over.

    A shorter video is shown more often, so that there is as much to measure. Raises InputError for a damaged video.
    """
    video = open_video(source, max_side=LARGEST_SIDE)
    rate = round(min(max(video.frame_rate or RATE, 1), FASTEST))
    frames = takewhile(lambda frame: frame.pts_seconds < EXCERPT_SECONDS, video)
    once = path.with_suffix(".once.mp4")
    encoded = _encode(once, (_of_height(frame.data, height) for frame in frames), rate)
    return _repeat(once, path, loops * math.ceil(EXCERPT_SECONDS * rate / encoded))


def _of_height(picture: np.ndarray, height: int) -> np.ndarray:
    width = max(2, round(height * picture.shape[1] / picture.shape[0] / 2) * 2)
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)


def _encode(path: Path, pictures: Iterable[np.ndarray], rate: int) -> int:
    """Write pictures, uint8 [H, W, 3] of one even size, into an MP4, and return how many there were."""
    count = 0
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"preset": "superfast", "crf": "23"})
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 0
        for picture in pictures:
            if not count:
                stream.height, stream.width = picture.shape[:2]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
            count += 1
        container.mux(stream.encode(None))
    return count


def _repeat(source: Path, path: Path, loops: int) -> Path:
    """Make of a video one that shows it several times over; its packets are copied, not encoded again."""
    with av.open(str(path), "w") as write:
        copy: av.VideoStream | None = None
        for loop in range(loops):
            with av.open(str(source)) as read:
                stream = read.streams.video[0]
                copy = copy or write.add_stream_from_template(stream)
                for packet in read.demux(stream):
                    if packet.dts is None or packet.pts is None:
                        continue
                    shift = loop * (stream.duration or 0)
                    packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                    packet.stream = copy
                    write.mux(packet)
    source.unlink()
    return path


def _pictures(width: int, height: int, frames: int, seed: int) -> Iterator[np.ndarray]:
    random = np.random.default_rng(seed)
    grains = [random.normal(0, GRAIN, (height, width, 1)).round().astype(np.int8) for _ in range(GRAINS)]
    for scene in SCENES:
        wide = _texture(random, width + width // 2, height + height // 4)
        walkers = random.random((WALKERS, 4))
        for number in range(frames):
            left, top = _view(scene, number / frames, number, random)
            x, y = round(left * width / 2), round(top * height / 4)
            picture = wide[y : y + height, x : x + width].astype(np.int16)
            if scene == "walkers":
                _walk(picture, walkers, number / RATE)
            if scene != "still":  # where nothing at all changes, a decoder has nothing to do
                picture += grains[number % GRAINS]
            yield picture.clip(0, 255).astype(np.uint8)


def _view(scene: str, share: float, number: int, random: np.random.Generator) -> tuple[float, float]:
    """Where the camera looks, each 0 to 1, after a share of a scene."""
    if scene == "pan":
        return share, 0.5 + 0.5 * float(np.sin(6 * share))
    if scene == "shake":
        return 0.5 + 0.3 * float(np.sin(number / 5)) + 0.02 * random.random(), 0.5 + 0.1 * random.random()
    return 0.5, 0.5


def _texture(random: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Spots of several sizes in the colors of one scene: uint8 [H, W, 3]."""
    total = np.zeros((height, width, 3), np.float32)
    for octave in (1, 2, 4):
        spot = max(2, height // (SPOTS * octave))
        noise = random.random((height // spot + 2, width // spot + 2, 3), np.float32)
        total += cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC) / octave
    tint = 0.4 + 0.6 * random.random(3)
    return (total / 1.75 * tint * 255).clip(0, 255).astype(np.uint8)


def _walk(picture: np.ndarray, walkers: np.ndarray, seconds: float) -> None:
    """Draw what walks through a picture, in place."""
    height, width = picture.shape[:2]
    for place, row, speed, shade in walkers:
        x = int((place + (speed - 0.5) * 0.4 * seconds) % 1 * width)
        y, size = int((0.3 + 0.5 * row) * height), int((0.08 + 0.1 * shade) * height)
        cv2.rectangle(picture, (x, y), (x + size // 2, y + size), (int(255 * shade), int(255 * row), 60), -1)
        cv2.circle(picture, (x + size // 4, y - size // 6), size // 5, (210, 170, 140), -1)
