"""Videos of strangers: decoded in processes of their own, so that a decoder that crashes or runs away takes no more.

Decoders of video are large programs in C, and files can be made to break them. A process that decodes has a limit on
its memory, none of the app's secrets in its environment, and a limit on the time that it may take for a frame. What
comes from it is numbers and pixels, checked here.
"""

from __future__ import annotations

import json
import math
import os
import select
import subprocess
import sys
import threading
import weakref
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from streamchat.errors import InputError
from streamchat.types import Frame, finite_number
from streamchat.video.timeline import LEAST_STEP_SECONDS

MEMORY_BYTES = 4 * 2**30  # of address space, of which a decoder uses a part; the interpreter's own comes on top
FRAME_SECONDS = 30.0  # until the next frame at most
LINE_BYTES = 2**16
KEPT_VARIABLES = ("PATH", "LANG", "LC_ALL", "HOME", "TMPDIR", "SYSTEMROOT")
PACKAGE_FOLDER = Path(__file__).resolve().parents[2]


class IsolatedVideo:
    """A video file that other processes decode; what `open_video` gives, for files that are not trusted.

    Raises InputError if it is not a video, and in reading if its decoder crashes, takes too long or too much memory.
    """

    def __init__(self, path: Path, *, max_side: int = 768, per_second: float | None = None) -> None:
        self.path = path
        self._max_side = max_side
        self._per_second = per_second
        self.duration_seconds: float | None = None
        self.frame_rate: float | None = None
        self.notes: tuple[str, ...] = ()
        self._lock = threading.Lock()  # of the process that gives single frames
        self._seeker: _Process | None = None
        self._single({"do": "open"})

    def __iter__(self) -> Generator[Frame, None, None]:
        yield from self._read({"do": "read"})

    def after(self, last: Frame) -> Generator[Frame, None, None]:
        """The frames later than one of this video, numbered on from it."""
        yield from self._read({"do": "read after", "seconds": last.pts_seconds, "index": last.index})

    def frames_at(self, times: Sequence[float]) -> list[Frame]:
        """For each of some times, which do not go back, the last frame shown at or before it, or the first."""
        for seconds in times:
            if not math.isfinite(seconds):
                raise InputError(f"the time of a frame must be a finite number of seconds, got {seconds}")
        frames = self._single({"do": "frames at", "times": list(times)})
        if len(frames) != len(times):
            raise InputError(f"no picture of {self.path.name!r} can be decoded")
        return frames

    def _single(self, asked: dict[str, Any]) -> list[Frame]:
        """What the process for single frames gives; it is kept, and begun anew if it has ended."""
        with self._lock:
            if self._seeker is None or self._seeker.ended:
                self._seeker = self._begun(asked)
                weakref.finalize(self, self._seeker.end)
            else:
                self._seeker.ask(asked)
            return list(self._frames(self._seeker, least_step=0.0))

    def _begun(self, asked: dict[str, Any]) -> _Process:
        process = _Process(self.path.name)
        how = {"path": str(self.path), "max_side": self._max_side, "per_second": self._per_second}
        process.ask({**asked, **how, "memory_bytes": MEMORY_BYTES})
        return process

    def _read(self, asked: dict[str, Any]) -> Generator[Frame, None, None]:
        """Frames from a process of this iteration's own."""
        process = self._begun(asked)
        try:
            yield from self._frames(process)
        finally:
            process.end()

    def _frames(self, process: _Process, least_step: float = LEAST_STEP_SECONDS) -> Generator[Frame, None, None]:
        previous = -math.inf
        while True:
            said = process.line()
            if "error" in said:
                raise InputError(str(said["error"])[:LINE_BYTES])
            if "done" in said:
                self.duration_seconds, self.frame_rate = (
                    finite_number(said.get("duration")),
                    finite_number(said.get("rate")),
                )
                self.notes = tuple(str(note) for note in said.get("notes", ()))
                return
            frame = process.frame(said, self._max_side)
            if frame.pts_seconds - previous < least_step:
                raise process.failed("gives pictures out of order")
            previous = frame.pts_seconds
            yield frame


class _Process:
    """A process that decodes one file."""

    def __init__(self, name: str) -> None:
        self._name = name
        environment = {key: os.environ[key] for key in KEPT_VARIABLES if key in os.environ}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "streamchat.video.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment | {"PYTHONPATH": str(PACKAGE_FOLDER)},
            bufsize=0,
        )
        self._waiting = bytearray()  # what came, and was not looked at yet

    @property
    def ended(self) -> bool:
        """Whether it can be asked nothing more."""
        return self._process.poll() is not None

    def ask(self, asked: dict[str, Any]) -> None:
        """Say what it is to do."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(asked).encode() + b"\n")
        except OSError:
            raise self.failed("has ended") from None

    def line(self) -> dict[str, Any]:
        """What it says next."""
        while b"\n" not in self._waiting:
            if len(self._waiting) > LINE_BYTES:
                raise self.failed("says too much")
            self._waiting += self._more(LINE_BYTES)
        line, _, rest = self._waiting.partition(b"\n")
        self._waiting = bytearray(rest)
        try:
            said = json.loads(line)
        except ValueError:
            said = None
        if not isinstance(said, dict):
            raise self.failed("says nonsense")
        return said

    def frame(self, said: dict[str, Any], max_side: int) -> Frame:
        """The frame whose line came last."""
        try:
            height, width = (int(side) for side in said["size"])
            seconds, index = float(said["seconds"]), int(said["index"])
        except (KeyError, TypeError, ValueError):
            raise self.failed("says nonsense") from None
        if not (0 < height <= max_side and 0 < width <= max_side and math.isfinite(seconds) and seconds >= 0):
            raise self.failed("gives pictures that cannot be")
        size = height * width * 3
        while len(self._waiting) < size:
            self._waiting += self._more(size - len(self._waiting))
        pixels = np.frombuffer(bytes(self._waiting[:size]), np.uint8).reshape(height, width, 3)
        del self._waiting[:size]
        return Frame(pixels, seconds, index)

    def _more(self, size: int) -> bytes:
        """What it gives next, at most so many bytes; InputError if nothing comes, or it has ended."""
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], FRAME_SECONDS)
        if not ready:
            raise self.failed(f"gave no picture for {FRAME_SECONDS:.0f} s")
        data = self._process.stdout.read(size)
        if not data:
            raise self.failed("crashed")
        return bytes(data)

    def failed(self, how: str) -> InputError:
        """The error to raise, once the process was ended."""
        self.end()
        return InputError(f"{self._name!r} cannot be read on: its decoder {how}; the file is damaged, or made for harm")

    def end(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._waiting.clear()
