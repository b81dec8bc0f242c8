"""Which files are opened at all: those that hold their pictures themselves, by what they are and not by their names.

Some formats are lists of other files: playlists, concatenations, descriptions of sessions, patterns of file names.
Whoever may give the program a file could read any other with them, and one that names itself would never end.
"""

from __future__ import annotations

from pathlib import Path

import av
from av.container import InputContainer

# FFmpeg's names for what reads them.
DEMUXERS = (
    "asf",
    "av1",
    "avi",
    "dv",
    "flv",
    "gif",
    "h264",
    "hevc",
    "ivf",
    "m4v",
    "matroska",  # WebM too
    "mov",  # MP4 too; files that it refers to are not opened unless asked for
    "mpeg",
    "mpegts",
    "mpegvideo",
    "mxf",
    "nut",
    "obu",
    "ogg",
    "wtv",
    "yuv4mpegpipe",
)


def open_container(path: Path) -> InputContainer:
    """Open a file for reading; raises what PyAV raises, also for a format that is a list of other files."""
    # No other protocol either: nothing may make the decoder fetch from a network.
    return av.open(str(path), options={"format_whitelist": ",".join(DEMUXERS), "protocol_whitelist": "file"})
