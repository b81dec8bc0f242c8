"""What a stream is read from: the two kinds of source, and opening one by its name.

A source gives the frames of one stream in time order. A recorded one waits for its reader, and can be read from any
moment on; a live one waits for nobody, drops the oldest frame when its reader is behind, and counts it.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from streamchat import plugin
from streamchat.errors import InputError
from streamchat.types import Frame
from streamchat.video.file import open_video

GROUP = "streamchat.sources"  # of entry points; a module of it has `build(argument, max_side)`


@runtime_checkable
class RecordedSource(Protocol):
    """All of it is there: it is read at the pace of its reader, several times if need be."""

    duration_seconds: float | None  # None: it does not say

    @property
    def notes(self) -> Sequence[str]:
        """What was found so far that its viewer should know, such as that it is cut off; said once."""
        ...

    def __iter__(self) -> Iterator[Frame]:
        """The frames from the start, in time order; each iteration is a reader of its own."""
        ...

    def after(self, last: Frame) -> Generator[Frame, None, None]:
        """The frames later than one of this source, numbered on from it."""
        ...

    def frames_at(self, times: Sequence[float]) -> list[Frame]:
        """For each of some times, which do not go back, the last frame shown at or before it, or the first.

        From any thread. As the times are often near each other, it is best to read once from the first of them on.
        """
        ...


@runtime_checkable
class LiveSource(Protocol):
    """Goes on whether or not anyone reads it; it is read once."""

    @property
    def dropped(self) -> int:
        """Frames lost so far because the reader was behind."""
        ...

    def __iter__(self) -> Iterator[Frame]:
        """The frames as they come, until the source is closed."""
        ...

    def close(self) -> None:
        """End the stream, from any thread; whoever waits for a frame gets none."""
        ...


Source = RecordedSource | LiveSource


def open_source(name: str | Path, *, max_side: int = 768, **how: Any) -> Source:
    """Open the video file of a path, or NAME:ARGUMENT of an installed source; frames have a side of `max_side` pixels.

    What else `how` says is for a video file (see `open_video`).

    Raises InputError if it is neither.
    """
    kind, colon, argument = str(name).partition(":")
    installed = plugin.names(GROUP)
    if colon and kind in installed and not Path(name).exists():
        source: Source = plugin.load(GROUP, kind).build(argument, max_side)
        return source
    try:
        return open_video(name, max_side=max_side, **how)
    except InputError as error:
        if not installed or Path(name).exists():
            raise
        raise InputError(
            f"{error}; or name an installed source: {', '.join(f'{one}:…' for one in installed)}"
        ) from None
