"""Which files are opened at all: those that hold their pictures themselves, by what they are and not by their names.

Some formats are lists of other files: playlists, concatenations, descriptions of sessions, patterns of file names.
Whoever may give the program a file could read any other with them, and one that names itself would never end.
"""

from __future__ import annotations

from pathlib import Path

import av
from av.container import InputContainer

from streamchat.video.mp4 import whole_part

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
URL_TIMEOUT_SECONDS = 30.0


def open_container(source: str, *, allow_urls: bool = False) -> InputContainer:
    """Open a file for reading; raises what PyAV raises, also for a format that is a list of other files.

    With `allow_urls` it may be a URL, and a list of others.
    """
    if allow_urls:
        return av.open(source, timeout=URL_TIMEOUT_SECONDS)
    # No other protocol either: nothing may make the decoder fetch from a network. A colon in a name makes it no URL.
    options = {"format_whitelist": ",".join(DEMUXERS), "protocol_whitelist": "file"}
    try:
        return av.open(f"file:{source}", options=options)
    except av.error.InvalidDataError:
        head = whole_part(Path(source))
        if head is None:
            raise
        return av.open(head, "r", options=options)
