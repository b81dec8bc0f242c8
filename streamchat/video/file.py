"""Where frames come from: video files.

H.264 files that can be sought in, and whose pictures need no scaling, are read with decord, everything else with PyAV.
Both give the same pictures at the same times: seconds as a player shows them, strictly increasing, true for a variable
frame rate as well.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Generator, Iterable
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, islice, pairwise
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
from av.container import InputContainer
from av.format import Flags
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from av.video.stream import VideoStream

from streamchat.errors import InputError
from streamchat.types import Frame
from streamchat.video.formats import open_container
from streamchat.video.images import fit_within

try:
    import decord
except ImportError:  # no wheel for this platform: PyAV reads everything
    decord = None
    DECORD_ERRORS: tuple[type[Exception], ...] = ()
else:
    DECORD_ERRORS = (decord.DECORDError, RuntimeError, IndexError, ValueError)
    decord.logging.set_level(decord.logging.QUIET)

av.logging.set_level(None)  # damaged packets are counted and logged here, not printed by the library
logger = logging.getLogger(__name__)

DECODER_THREADS = 2
DECORD_MAX_SECONDS = 8192.0  # decord keeps times as float32, which are off by more than half a millisecond beyond
CHUNK_BYTES = 96 * 2**20  # pictures that decord decodes at once, at most
MIN_CHUNK_FRAMES = 16
DECORD_MIN_WIDTH = 64  # pixels; decord takes the padding of shorter rows for channels
MAX_CHUNKS_A_GROUP = 3  # each is decoded from the group's keyframe on
SEEKS_BACK_SECONDS = (0.0, 10.0)  # before a time that is sought; tried one after the other
INEXACT_FORMATS = frozenset(("mpeg",))  # after seeking in program streams, frames have wrong times
PROBE_PACKETS = 1000  # looked at to learn how a video is coded
MIN_STEP_SECONDS = 0.001  # between frames; times are compared to within it

Picture = tuple[float | None, np.ndarray]  # seconds at which it is shown, if known; uint8 [H, W, 3] RGB
Size = tuple[int, int]  # width, height in pixels


def open_video(path: str | Path, *, max_side: int = 768) -> VideoFile:
    """Open a video file (animated GIFs too) whose frames are scaled down to a long side of `max_side` pixels.

    Raises InputError if there is no such file, or if it is not a video with pictures.
    """
    if max_side < 1:
        raise InputError(f"max_side must be 1 or more, got {max_side}")
    file = Path(path)
    if not file.exists():
        raise InputError(f"there is no file {str(file)!r}: check the path of the video")
    if not file.is_file():
        raise InputError(f"{str(file)!r} is not a file: give the path of one video")
    if file.stat().st_size == 0:
        raise InputError(f"{file.name!r} is empty (0 bytes): it was perhaps not copied or recorded to its end")
    facts = _probe(file, max_side)
    logger.info("%s: read with %s", file.name, f"PyAV ({facts.no_decord})" if facts.no_decord else "decord")
    return VideoFile(facts)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Facts:
    """What the header of a file says."""

    path: Path
    duration_seconds: float | None
    frame_rate: float | None
    start_seconds: float  # the container's time that a player shows as 0
    tick_seconds: Fraction | None  # the unit of the file's times
    size: Size  # of the pictures as given out, before a rotation
    can_seek: bool  # else it is read from the start for every moment
    no_decord: str  # why decord cannot read it; "" if it can


class VideoFile:
    """Frames of a video file, in order, with the times at which a player shows them.

    Every iteration is a reader of its own, closed with its iterator, so that several threads may iterate at once.
    Iterating raises InputError if no frame at all can be decoded; single damaged packets are passed over.
    """

    def __init__(self, facts: _Facts) -> None:
        self._facts = facts
        self.path = facts.path
        self.duration_seconds = facts.duration_seconds  # None: the file does not say
        self.frame_rate = facts.frame_rate  # frames a second on average; None: the file does not say
        self.reader: Literal["decord", "pyav"] = "pyav" if facts.no_decord else "decord"

    def __iter__(self) -> Generator[Frame, None, None]:
        previous = -math.inf
        index = 0
        with closing(self._pictures()) as pictures:
            for pts, data in pictures:
                previous = self._shown_at(pts, previous)
                yield Frame(data, previous, index)
                index += 1
        if index == 0:
            raise _no_pictures(self.path)

    def after(self, last: Frame) -> Generator[Frame, None, None]:
        """The frames later than one of this video, numbered on from it; what is before it is not read again."""
        index = last.index
        scaler = _Scaler(self._facts.size)
        with closing(self._frames(last.pts_seconds + MIN_STEP_SECONDS)) as frames:
            for seconds, frame in frames:
                if seconds > last.pts_seconds + MIN_STEP_SECONDS / 2:
                    index += 1
                    yield Frame(scaler.rgb(frame), seconds, index)

    def frame_at(self, seconds: float) -> Frame:
        """The last frame shown at or before a time (to the millisecond), or the first frame if there is none.

        Safe from any thread. Found by seeking, so its `index` is what the average frame rate says. Raises InputError
        if `seconds` is not a finite number or nothing can be decoded.
        """
        if not math.isfinite(seconds):
            raise InputError(f"the time of a frame must be a finite number of seconds, got {seconds}")
        limit = seconds + MIN_STEP_SECONDS
        found: tuple[float, VideoFrame] | None = None
        with closing(self._frames(limit)) as frames:
            for pts, frame in frames:
                if pts < limit or found is None:
                    found = pts, frame
                if pts >= limit:
                    break
        if found is None:
            raise _no_pictures(self.path)
        pts, frame = found
        return Frame(_Scaler(self._facts.size).rgb(frame), pts, round(pts * (self.frame_rate or 0)))

    def _frames(self, seconds: float | None = None) -> Generator[tuple[float, VideoFrame], None, None]:
        """Frames as PyAV decodes them, with the times at which they are shown: all, or from one before a time on.

        Seeking may end after that time, as in a transport stream, whose frames have no index.
        """
        if seconds is not None and self._facts.can_seek:
            for back_seconds in SEEKS_BACK_SECONDS:
                with closing(_pyav_frames(self._facts, seek_seconds=seconds - back_seconds)) as frames:
                    first = next(frames, None)
                    if first is not None and first[0] is not None and first[0] < seconds:
                        yield from self._with_times(chain((first,), frames))
                        return
        with closing(_pyav_frames(self._facts)) as frames:
            yield from self._with_times(frames)

    def _with_times(
        self, frames: Iterable[tuple[float | None, VideoFrame]]
    ) -> Generator[tuple[float, VideoFrame], None, None]:
        shown_at = -math.inf
        for pts, frame in frames:
            shown_at = self._shown_at(pts, shown_at)
            yield shown_at, frame

    def _pictures(self) -> Generator[Picture, None, None]:
        """Pictures from decord, and from where it fails on from PyAV."""
        done = -math.inf
        if self.reader == "decord":
            try:
                with closing(_decord_pictures(self._facts)) as pictures:
                    for done, data in pictures:
                        yield done, data
            except DECORD_ERRORS as error:
                reason = str(error).partition("\n")[0]
                logger.warning("%s: decord failed after %.3f s, PyAV goes on: %s", self.path.name, max(0, done), reason)
            else:
                return
        scaler = _Scaler(self._facts.size)
        with closing(self._frames(done if math.isfinite(done) else None)) as frames:
            for pts, frame in frames:
                if pts > done + MIN_STEP_SECONDS:
                    yield pts, scaler.rgb(frame)

    def _shown_at(self, pts: float | None, previous: float) -> float:
        """The time of a frame, made strictly later than the one before when the file gives none or a wrong one."""
        if pts is None:
            pts = previous + 1 / (self.frame_rate or 25)
        if pts <= previous:
            pts = previous + MIN_STEP_SECONDS
        return max(0.0, pts)


def _no_pictures(path: Path) -> InputError:
    return InputError(f"no picture of {path.name!r} can be decoded: the file is damaged, try to export it again")


def _probe(path: Path, max_side: int) -> _Facts:
    """Read the header of a file; InputError if it is not a video with pictures."""
    try:
        container = open_container(path)
    except (av.error.FFmpegError, OSError, ValueError):
        raise InputError(
            f"{path.name!r} is not a video that can be read: give an MP4, WebM, MKV, MOV, AVI or GIF file; lists of "
            "other files, such as playlists, are not followed"
        ) from None
    with container:
        stream = _picture_stream(container)
        if stream is None:
            raise InputError(f"{path.name!r} has no moving pictures, only sound or other data: give a video")
        start = (container.start_time or 0) / av.time_base
        duration = container.duration / av.time_base if container.duration else None
        if stream.duration and stream.time_base:
            first = float((stream.start_time or 0) * stream.time_base) - start
            duration = max(0.0, first) + float(stream.duration * stream.time_base)
        rate = stream.average_rate or stream.guessed_rate
        size = fit_within(*_displayed_size(stream), max_side)
        return _Facts(
            path=path,
            duration_seconds=duration,
            frame_rate=float(rate) if rate else None,
            start_seconds=start,
            tick_seconds=stream.time_base,
            size=size,
            can_seek=not Flags.no_timestamps & Flags(container.format.flags)
            and container.format.name not in INEXACT_FORMATS,
            no_decord=_why_not_decord(container, stream, size),
        )


def _picture_stream(container: InputContainer) -> VideoStream | None:
    """The first stream of moving pictures; a cover picture is none."""
    covers = av.stream.Disposition.attached_pic
    shown = [s for s in container.streams.video if s.codec_context and not s.disposition & covers and s.width]
    return shown[0] if shown else None


def _displayed_size(stream: VideoStream) -> Size:
    """Width and height in square pixels, before a rotation."""
    aspect = stream.sample_aspect_ratio or Fraction(1)
    if not Fraction(1, 4) <= aspect <= 4:  # a wrong header
        aspect = Fraction(1)
    return max(1, round(stream.width * aspect)), stream.height


def _why_not_decord(container: InputContainer, stream: VideoStream, size: Size) -> str:
    """The reason why decord would fail on a video or silently give wrong frames; "" if it would not."""
    if decord is None:
        return "decord is not installed"
    if stream.codec_context.name != "h264":
        return f"its codec is {stream.codec_context.name}"
    if size != (stream.width, stream.height):
        return "its pictures are scaled, at which PyAV is faster"
    if size[0] < DECORD_MIN_WIDTH:
        return "its pictures are tiny"
    if not stream.duration or not stream.time_base:
        return "it does not say how long it is"
    if float(stream.duration * stream.time_base) > DECORD_MAX_SECONDS:
        return "it is very long"
    if stream.start_time or container.start_time:
        return "it does not start at 0"
    entries = stream.index_entries
    if any(entry.is_discard for entry in entries):
        return "an edit list hides frames"
    keyframes = [number for number, entry in enumerate(entries) if entry.is_keyframe]
    longest = max(b - a for a, b in pairwise([*keyframes, len(entries)])) if keyframes else math.inf
    if longest > MAX_CHUNKS_A_GROUP * _chunk_frames(size):
        return "its keyframes are far apart"
    return _packet_trouble(container, stream)


def _packet_trouble(container: InputContainer, stream: VideoStream) -> str:
    """What the first packets say against decord."""
    key_pts = math.inf
    first: VideoFrame | None = None
    for packet in islice(container.demux(stream), PROBE_PACKETS):
        if packet.pts is not None and packet.is_keyframe:
            key_pts = packet.pts
        elif packet.pts is not None and packet.pts < key_pts < math.inf:
            return "its groups of pictures are open"  # decord is some frames off after a seek
        if first is None and (first := next(iter(_decoded(packet)), None)) and first.rotation:
            return "it is rotated"  # decord turns the picture after scaling it, into a wrong shape
    return "" if first else "no frame can be decoded"


def _chunk_frames(size: Size) -> int:
    """How many pictures of a size decord decodes at once, at most."""
    return max(MIN_CHUNK_FRAMES, CHUNK_BYTES // (size[0] * size[1] * 3))


def _decoded(packet: av.Packet[Any]) -> list[VideoFrame]:
    """The frames that a packet completes; none if it is damaged."""
    try:
        return packet.decode()
    except av.error.FFmpegError:
        return []


def _pyav_frames(
    facts: _Facts, *, seek_seconds: float | None = None
) -> Generator[tuple[float | None, VideoFrame], None, None]:
    """Frames with their times as PyAV decodes them, from the start or from about the keyframe before a time.

    None at all if it cannot be sought. A damaged packet is passed over and counted; a file that cannot be read on ends
    there.
    """
    damaged = 0
    with open_container(facts.path) as container:
        stream = _picture_stream(container)
        assert stream is not None  # _probe found it
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = DECODER_THREADS
        if seek_seconds is not None and not _sought(container, seek_seconds + facts.start_seconds):
            return
        try:
            for packet in container.demux(stream):
                try:
                    frames = packet.decode()
                except av.error.FFmpegError:
                    damaged += 1
                    continue
                for frame in frames:
                    pts = None if frame.time is None else frame.time - facts.start_seconds
                    yield pts, frame
        except av.error.FFmpegError as error:
            logger.warning("%s: reading ends early: %s", facts.path.name, error)
    if damaged:
        logger.warning("%s: %d damaged packets were passed over", facts.path.name, damaged)


def _sought(container: InputContainer, seconds: float) -> bool:
    """Go to the keyframe before a time; False if that failed, and the container is of no more use."""
    try:
        container.seek(max(0, round(seconds * av.time_base)))
    except (av.error.FFmpegError, OSError) as error:
        logger.info("%s: seeking failed: %s", container.name, error)
        return False
    return True


class _Scaler:
    """Turns decoded frames of one video into pictures; for one thread.

    A converter is kept for each step, as setting one up takes longer than a picture.
    """

    def __init__(self, size: Size) -> None:
        self._size = size  # before the rotation
        self._smaller, self._colored = VideoReformatter(), VideoReformatter()

    def rgb(self, frame: VideoFrame) -> np.ndarray:
        """uint8 [H, W, 3] RGB, turned as a player turns it."""
        width, height = self._size
        scaled = frame
        if frame.format.name == "yuv420p":  # has half as many numbers as RGB: scaled before, it takes half the time
            scaled = self._smaller.reformat(frame, width, height, interpolation=Interpolation.BILINEAR, threads=1)
        rgb = self._colored.reformat(
            scaled, width, height, "rgb24", interpolation=Interpolation.BILINEAR, threads=1
        ).to_ndarray()
        turns = round(frame.rotation / 90) % 4  # counterclockwise
        return np.ascontiguousarray(np.rot90(rgb, turns)) if turns else rgb


def _decord_pictures(facts: _Facts) -> Generator[tuple[float, np.ndarray], None, None]:
    """Pictures with their times as decord decodes them, in chunks.

    decord decodes ahead without a bound while its reader is slow, so it is sent back to the start after each chunk,
    which empties its queue (seeking to where it is would do nothing). It then goes on from the keyframe before the next
    chunk; chunks end at keyframes where they can, so that little is decoded twice.
    """
    width, height = facts.size
    tick = facts.tick_seconds or Fraction(1, av.time_base)
    reader: Any = decord.VideoReader(
        str(facts.path), ctx=decord.cpu(0), width=width, height=height, num_threads=DECODER_THREADS
    )
    count = len(reader)
    keyframes = [index for index in reader.get_key_indices() if index > 0]
    longest = _chunk_frames(facts.size)
    start = 0
    while start < count:
        end = min(start + longest, next((k for k in keyframes if k > start + MIN_CHUNK_FRAMES), count), count)
        reader.seek_accurate(start)
        times = reader.get_frame_timestamp(list(range(start, end)))[:, 0]
        pictures = deque(reader.next().asnumpy() for _ in range(start, end))
        reader.seek(0)
        for time in times:
            exact = float(round(float(time) / tick) * tick)  # decord's own time is rounded to float32
            yield exact, pictures.popleft()
        start = end
