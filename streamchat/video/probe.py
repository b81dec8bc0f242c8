"""What is known of a video file before it is read: its stream of pictures, their size, times, and how to find them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path, PurePath
from typing import Any

import av
from av.container import InputContainer
from av.format import Flags
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from streamchat.errors import InputError
from streamchat.video.formats import open_container
from streamchat.video.mp4 import boxes
from streamchat.video.scaling import Orientation, Size, box_of, displayed_size
from streamchat.video.timeline import Timeline

logger = logging.getLogger(__name__)

INEXACT_FORMATS = frozenset(("mpeg",))  # after seeking in program streams, frames have wrong times
MOST_PIXELS = 2**26  # of a picture: 8K has half as many
PROBE_PACKETS = 1000  # looked at to find the first picture
SCAN_BYTES = 256 * 2**20  # of a broadcast's pictures, looked at to learn whether its clock jumps
LATE_START_SECONDS = 0.5  # the first picture is shown from 0 on if it comes at most so long after the sound
# A cover is one picture in one of these, and not always marked as a cover.
STILL_CODECS = frozenset(("mjpeg", "png", "bmp", "webp", "tiff", "gif"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the header and the first pictures of a file say."""

    source: str  # the file's path, or a URL
    allow_urls: bool
    stream: int  # index of the stream in the file
    duration_seconds: float | None
    frame_rate: float | None
    start_seconds: float  # the container's time that is shown as 0
    tick_seconds: Fraction | None  # the unit of the file's times
    box: Size  # of the pictures as given out
    coded_size: Size  # as they lie in the file
    pixel_aspect: Fraction | None
    broadcast: bool  # of a format whose clock may jump
    can_seek: bool  # else it is read from the start for every moment
    turned: bool  # shown otherwise than it lies in the file
    notes: tuple[str, ...]  # what its viewer should know

    @property
    def name(self) -> str:
        """What the video is called."""
        return PurePath(self.source).name

    def opened(self) -> InputContainer:
        """The file, opened anew; raises InputError if it is there no more."""
        try:
            return open_container(self.source, allow_urls=self.allow_urls)
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise InputError(
                f"{self.name!r} can no longer be read: it was moved, deleted or overwritten while it was in use "
                f"({getattr(error, 'strerror', None) or error})"
            ) from None

    def timeline(self) -> Timeline:
        """A new timeline for reading the file."""
        return Timeline.of_rate(self.frame_rate, broadcast=self.broadcast)


def probed(source: str, max_side: int, number: int | None = None, *, allow_urls: bool = False) -> Facts:
    """The facts of a file, and of its `number`-th stream of pictures, from 1 on; by default the one that is meant.

    Raises InputError if it is not a video with pictures.
    """
    path = PurePath(source)
    try:
        container = open_container(source, allow_urls=allow_urls)
    except MemoryError:  # no fault of the file
        raise
    except (av.error.FFmpegError, OSError, ValueError) as error:
        if "://" in source:
            raise InputError(f"{source!r} cannot be opened: {error}") from None
        raise InputError(_why_unreadable(Path(source))) from None
    with container:
        streams = picture_streams(container)
        if not streams:
            raise InputError(f"{path.name!r} has no moving pictures, only sound or other data: give a video")
        if number is not None and not 1 <= number <= len(streams):
            raise InputError(f"{path.name!r} has {len(streams)} video streams: give --stream 1 to {len(streams)}")
        stream = streams[(number or 1) - 1]
        if stream.width * stream.height > MOST_PIXELS:
            raise InputError(
                f"{path.name!r} has pictures of {stream.width} x {stream.height} pixels: at most {MOST_PIXELS:,} are "
                "read, make them smaller"
            )
        notes: tuple[str, ...] = ()
        if number is None and len(streams) > 1:
            notes = (f"{path.name!r} has {len(streams)} video streams, of which one is read: --stream N takes another",)
        return Facts(source=source, allow_urls=allow_urls, notes=notes, **_seen(container, stream, max_side))


def _seen(container: InputContainer, stream: VideoStream, max_side: int) -> dict[str, Any]:
    """The facts that the header and the first pictures say."""
    flags = Flags(container.format.flags)
    broadcast = bool(Flags.ts_discont & flags)
    rate = stream.average_rate or stream.guessed_rate
    start = (container.start_time or 0) / av.time_base
    duration = _duration(container, stream, start)
    first = _first_picture(container, stream)
    if first is not None and first.time is not None and 0 < first.time - start <= LATE_START_SECONDS:
        duration = None if duration is None else duration - (first.time - start)
        start = first.time
    orientation = Orientation(first)
    shown = displayed_size(stream.width, stream.height, stream.sample_aspect_ratio)
    jumps = False
    if broadcast:
        jumps, length = _scanned(container, stream, Timeline.of_rate(_float(rate), broadcast=True))
        duration = length if jumps else duration
    return {
        "stream": stream.index,
        "duration_seconds": duration,
        "frame_rate": _float(rate),
        "start_seconds": start,
        "tick_seconds": stream.time_base,
        "box": box_of(orientation.size(shown), max_side),
        "coded_size": (stream.width, stream.height),
        "pixel_aspect": stream.sample_aspect_ratio,
        "broadcast": broadcast,
        "can_seek": not Flags.no_timestamps & flags and container.format.name not in INEXACT_FORMATS and not jumps,
        "turned": orientation.transposed or orientation.left_right or orientation.up_down,
    }


def picture_streams(container: InputContainer) -> list[VideoStream]:
    """The streams of moving pictures, the one that is meant first: those marked as default; a cover is none."""
    covers = av.stream.Disposition.attached_pic
    shown = [s for s in container.streams.video if s.codec_context and not s.disposition & covers and s.width]
    moving = [stream for stream in shown if stream.codec_context.name not in STILL_CODECS]
    default = av.stream.Disposition.default
    return sorted(moving or shown, key=lambda stream: not stream.disposition & default)


def _float(rate: Fraction | None) -> float | None:
    return float(rate) if rate else None


def _duration(container: InputContainer, stream: VideoStream, start: float) -> float | None:
    """How long a file says that it is, in seconds."""
    if stream.duration and stream.time_base:
        first = float((stream.start_time or 0) * stream.time_base) - start
        return max(0.0, first) + float(stream.duration * stream.time_base)
    return container.duration / av.time_base if container.duration else None


def _first_picture(container: InputContainer, stream: VideoStream) -> VideoFrame | None:
    """The first picture that can be decoded, of the first packets."""
    try:
        for packet in islice(container.demux(stream), PROBE_PACKETS):
            with suppress(av.error.FFmpegError):  # it is damaged
                for frame in packet.decode():
                    return frame
    except av.error.FFmpegError as error:
        logger.info("%s: the first pictures cannot be read: %s", container.name, error)
    return None


def _scanned(container: InputContainer, stream: VideoStream, timeline: Timeline) -> tuple[bool, float | None]:
    """Whether the clock of a broadcast jumps in its first part, and how long the whole is; None if that is not seen."""
    shown, size, first = 0.0, 0, None
    for packet in _packets_from_start(container, stream):
        if packet.dts is None or packet.time_base is None:
            continue
        stamp = float(packet.dts * packet.time_base)
        first = stamp if first is None else first
        shown = timeline.placed(stamp - first, None)
        size += packet.size
        if size > SCAN_BYTES:
            return timeline.jumps > 0, None
    return timeline.jumps > 0, shown + timeline.step_seconds


def _packets_from_start(container: InputContainer, stream: VideoStream) -> Iterator[av.Packet[VideoStream]]:
    """The packets of a stream, as far as they can be read; none if one cannot go back to its start."""
    try:
        container.seek(0)
        yield from container.demux(stream)
    except av.error.FFmpegError as error:
        logger.info("%s: reading ends early: %s", container.name, error)


def _why_unreadable(path: Path) -> str:
    """What to say of a file that is not opened."""
    kinds = [box.kind for box in boxes(path)]
    if "ftyp" in kinds and "moov" not in kinds:
        return (
            f"{path.name!r} is an unfinished MP4: its index, which is written last, is missing. Perhaps the recording "
            "was not ended, or the file was not copied whole: copy it again, or mend it with a repair tool"
        )
    return (
        f"{path.name!r} is not a video that can be read: give an MP4, WebM, MKV, MOV, AVI or GIF file; lists of other "
        "files, such as playlists, are not followed"
    )
