"""The other side of `isolated.py`: a process that decodes one file, as lines of JSON ask it to.

Its answers are lines of JSON too, that of a frame followed by its pixels.
"""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Iterable
from typing import Any, BinaryIO

import numpy as np

from streamchat.errors import InputError
from streamchat.types import Frame
from streamchat.video.file import VideoFile, open_video


def _answer(out: BinaryIO, **values: Any) -> None:
    out.write(json.dumps(values).encode() + b"\n")
    out.flush()


def _give(out: BinaryIO, frames: Iterable[Frame]) -> None:
    for frame in frames:
        height, width = frame.data.shape[:2]
        out.write(json.dumps({"size": [height, width], "seconds": frame.pts_seconds, "index": frame.index}).encode())
        out.write(b"\n")
        out.write(np.ascontiguousarray(frame.data).data)
        out.flush()


def _serve(video: VideoFile, out: BinaryIO, asked: dict[str, Any]) -> None:
    if asked["do"] == "read":
        _give(out, video)
    elif asked["do"] == "read after":
        _give(out, video.after(Frame(np.empty((0, 0, 3), np.uint8), asked["seconds"], asked["index"])))
    elif asked["do"] == "frame at":
        _give(out, [video.frame_at(asked["seconds"])])
    _answer(out, done=True, duration=video.duration_seconds, rate=video.frame_rate, notes=video.notes)


def main() -> None:
    """Open the video that the first line names, then do what every line asks, until there are no more."""
    out = sys.stdout.buffer
    first = json.loads(sys.stdin.readline())
    resource.setrlimit(resource.RLIMIT_AS, (first["memory_bytes"], first["memory_bytes"]))
    video: VideoFile | None = None
    for asked in _lines(first):
        try:
            video = video or open_video(first["path"], max_side=first["max_side"])
            _serve(video, out, asked)
        except InputError as error:
            _answer(out, error=str(error))
        except MemoryError:
            _answer(out, error="decoding it takes more memory than it may")


def _lines(first: dict[str, Any]) -> Iterable[dict[str, Any]]:
    yield first
    for line in sys.stdin:
        yield json.loads(line)


if __name__ == "__main__":
    main()
