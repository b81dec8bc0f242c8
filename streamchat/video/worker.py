"""The other side of `isolated.py`: a process that decodes one file, as lines of JSON ask it to.

Its answers are lines of JSON too, that of a frame followed by its pixels.
"""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from streamchat.errors import InputError
from streamchat.types import Frame
from streamchat.video.file import VideoFile, open_video

# What fails with no more address space left than this, or a quarter of it, failed for want of memory.
LITTLE_BYTES = 64 * 2**20


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
    elif asked["do"] == "frames at":
        _give(out, video.frames_at(asked["times"]))
    _answer(out, done=True, duration=video.duration_seconds, rate=video.frame_rate, notes=video.notes)


def _address_space(of: str) -> int:
    """Bytes of address space that this process has ("VmSize"), or had at most ("VmPeak"); 0 where nothing says it."""
    if sys.platform != "linux":
        return 0
    lines = Path("/proc/self/status").read_text().splitlines()
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{of}:")), 0)


def main() -> None:
    """Open the video that the first line names, then do what every line asks, until there are no more."""
    out = sys.stdout.buffer
    first = json.loads(sys.stdin.readline())
    before, memory = _address_space("VmSize"), first["memory_bytes"]
    resource.setrlimit(resource.RLIMIT_AS, (before + memory, before + memory))
    video: VideoFile | None = None
    for asked in _lines(first):
        try:
            video = video or open_video(first["path"], max_side=first["max_side"], per_second=first["per_second"])
            _serve(video, out, asked)
        except (InputError, MemoryError) as error:
            # Decoders that get no memory say this or that: a thread could not be started, or the data is invalid.
            left = before + memory - _address_space("VmPeak")
            short = isinstance(error, MemoryError) or left < max(LITTLE_BYTES, memory / 4)
            _answer(out, error="decoding it takes more memory than it may" if short else str(error))


def _lines(first: dict[str, Any]) -> Iterable[dict[str, Any]]:
    yield first
    for line in sys.stdin:
        yield json.loads(line)


if __name__ == "__main__":
    main()
