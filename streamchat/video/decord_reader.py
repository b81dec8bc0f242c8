"""Reading with decord, by option: only plain H.264, the rest of it by PyAV.

PyAV is the default, as it reads every kind of file, and reads them faster (measured on the real videos of the tests:
1.4 to 2 times as many frames a second, colors within a mean of 2 of 255 of each other). decord fails on, or silently
gives wrong frames of, what `why_not` names.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Generator
from fractions import Fraction
from itertools import islice, pairwise
from typing import Any

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream

from streamchat.video.decoding import THREADS
from streamchat.video.probe import PROBE_PACKETS, Facts
from streamchat.video.scaling import Size

try:
    import decord
except ImportError:  # no wheel for this platform
    decord = None
    DECORD_ERRORS: tuple[type[Exception], ...] = ()
else:
    DECORD_ERRORS = (decord.DECORDError, RuntimeError, IndexError, ValueError)
    decord.logging.set_level(decord.logging.QUIET)

MAX_SECONDS = 8192.0  # decord keeps times as float32, which are off by more than half a millisecond beyond
CHUNK_BYTES = 96 * 2**20  # pictures that decord decodes at once, at most
MIN_CHUNK_FRAMES = 16
MIN_WIDTH = 64  # pixels; decord takes the padding of shorter rows for channels
MAX_CHUNKS_A_GROUP = 3  # each is decoded from the group's keyframe on


def why_not(facts: Facts) -> str:
    """The reason why decord would fail on a video or silently give wrong frames; "" if it would not."""
    if decord is None:
        return "decord is not installed"
    if facts.allow_urls:
        return "it may be no file"
    if facts.box != facts.coded_size or facts.turned:
        return "its pictures are scaled or turned"
    if facts.box[0] < MIN_WIDTH:
        return "its pictures are tiny"
    with facts.opened() as container:
        stream = container.streams.video[0]
        if stream.index != facts.stream or len(container.streams.video) > 1:
            return "it has several streams"
        return _header_trouble(container, stream) or _index_trouble(stream, facts.box) or _open_groups(container)


def _header_trouble(container: InputContainer, stream: VideoStream) -> str:
    if stream.codec_context.name != "h264":
        return f"its codec is {stream.codec_context.name}"
    if not stream.duration or not stream.time_base:
        return "it does not say how long it is"
    if float(stream.duration * stream.time_base) > MAX_SECONDS:
        return "it is very long"
    return "it does not start at 0" if stream.start_time or container.start_time else ""


def _index_trouble(stream: VideoStream, size: Size) -> str:
    entries = stream.index_entries
    if any(entry.is_discard for entry in entries):
        return "an edit list hides frames"
    keyframes = [number for number, entry in enumerate(entries) if entry.is_keyframe]
    longest = max(b - a for a, b in pairwise([*keyframes, len(entries)])) if keyframes else math.inf
    return "its keyframes are far apart" if longest > MAX_CHUNKS_A_GROUP * _chunk_frames(size) else ""


def _open_groups(container: InputContainer) -> str:
    """Whether pictures before a keyframe need it: decord is some frames off after a seek."""
    key_pts = math.inf
    for packet in islice(container.demux(container.streams.video[0]), PROBE_PACKETS):
        if packet.pts is not None and packet.is_keyframe:
            key_pts = packet.pts
        elif packet.pts is not None and packet.pts < key_pts < math.inf:
            return "its groups of pictures are open"
    return ""


def _chunk_frames(size: Size) -> int:
    """How many pictures of a size decord decodes at once, at most."""
    return max(MIN_CHUNK_FRAMES, CHUNK_BYTES // (size[0] * size[1] * 3))


def pictures(facts: Facts) -> Generator[tuple[float, np.ndarray], None, None]:
    """Pictures, uint8 [H, W, 3] RGB, with their times in seconds as decord decodes them, in chunks.

    decord decodes ahead without a bound while its reader is slow, so it is sent back to the start after each chunk,
    which empties its queue (seeking to where it is would do nothing). It then goes on from the keyframe before the next
    chunk; chunks end at keyframes where they can, so that little is decoded twice.
    """
    width, height = facts.box
    tick = facts.tick_seconds or Fraction(1, av.time_base)
    reader: Any = decord.VideoReader(facts.source, ctx=decord.cpu(0), width=width, height=height, num_threads=THREADS)
    count = len(reader)
    keyframes = [index for index in reader.get_key_indices() if index > 0]
    longest = _chunk_frames(facts.box)
    start = 0
    while start < count:
        end = min(start + longest, next((k for k in keyframes if k > start + MIN_CHUNK_FRAMES), count), count)
        reader.seek_accurate(start)
        times = reader.get_frame_timestamp(list(range(start, end)))[:, 0]
        chunk = deque(reader.next().asnumpy() for _ in range(start, end))
        reader.seek(0)
        for time in times:
            exact = float(round(float(time) / tick) * tick)  # decord's own time is rounded to float32
            yield exact, chunk.popleft()
        start = end
