"""Decoding the pictures of a file with PyAV: from the start, or from about a time on, past what is damaged."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator
from dataclasses import dataclass

import av
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from streamchat.video.probe import Facts

logger = logging.getLogger(__name__)

THREADS = 2
CUT_SECONDS = 1.0  # that a file ends before it says, at least, to be called cut off


@dataclass(slots=True)
class Damage:
    """What could not be decoded."""

    packets: int = 0


def stamps_and_frames(
    facts: Facts, *, seek_seconds: float | None = None, damage: Damage | None = None
) -> Generator[tuple[float | None, VideoFrame], None, None]:
    """Frames with the file's own times, from its start or from about the keyframe before a time; as they are decoded.

    None at all if it cannot be sought. A damaged packet is passed over and counted; where a file cannot be read on, it
    ends.
    """
    with facts.opened() as container:
        stream = container.streams[facts.stream]
        assert isinstance(stream, VideoStream)  # `probed` found it
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = _threads(stream)
        if seek_seconds is not None and not _sought(container, seek_seconds + facts.start_seconds):
            return
        for frame in _decoded(container, stream, damage or Damage()):
            yield None if frame.time is None else frame.time - facts.start_seconds, frame


def _threads(stream: VideoStream) -> int:
    """How many threads decode a stream.

    What old x264 made of 4:4:4 is decoded by a note in its first packet, which other threads may learn of too late.
    """
    old = stream.codec_context.name == "h264" and "444" in (stream.codec_context.pix_fmt or "")
    return 1 if old else THREADS


def _decoded(container: InputContainer, stream: VideoStream, damage: Damage) -> Iterator[VideoFrame]:
    """All frames of a stream from where it stands."""
    begun = False  # what comes before the first picture may be no picture, as Theora's headers are none
    try:
        for packet in container.demux(stream):
            try:
                frames = packet.decode()
            except av.error.FFmpegError:
                damage.packets += begun
                continue
            begun = begun or bool(frames)
            yield from frames
    except av.error.FFmpegError as error:
        logger.info("%s: reading ends early: %s", container.name, error)


def _sought(container: InputContainer, seconds: float) -> bool:
    """Go to the keyframe before a time; False if that failed, and the container is of no more use."""
    try:
        container.seek(max(0, round(seconds * av.time_base)))
    except (av.error.FFmpegError, OSError) as error:
        logger.info("%s: seeking failed: %s", container.name, error)
        return False
    return True


def ends_early(facts: Facts, end_seconds: float, duration_seconds: float) -> bool:
    """Whether nothing is in a file, pictures or sound, where it should end by what it says."""
    if facts.broadcast or duration_seconds - end_seconds <= CUT_SECONDS:
        return False
    with facts.opened() as container:
        if not _sought(container, end_seconds + facts.start_seconds):
            return True
        try:
            for packet in container.demux():
                if packet.pts is not None and packet.time_base is not None:
                    last = float((packet.pts + (packet.duration or 0)) * packet.time_base) - facts.start_seconds
                    if last > duration_seconds - CUT_SECONDS:
                        return False
        except av.error.FFmpegError as error:
            logger.info("%s: reading ends early: %s", facts.name, error)
    return True
