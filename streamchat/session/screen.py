"""What a recorded video shows at a moment that a question is about, and before it: just read, or read again."""

from __future__ import annotations

from collections import deque

from streamchat.session.engine import StreamChat
from streamchat.types import Frame
from streamchat.video.source import RecordedSource

SAME_FRAME_SECONDS = 0.25  # a frame that was read stands for the screen if it is no older than this
STEP_SECONDS, KEPT_SECONDS = 0.2, 3.0  # frames kept for what was just on the screen: the reader is ahead of the player
READ_AGAIN_FRAMES = 5  # frames read again where the memory of a past moment has a hole


class Screen:
    """The frames read last, by one thread, and of other moments those of the source; asked by any thread."""

    def __init__(self, engine: StreamChat) -> None:
        self._engine = engine
        self._newest: deque[Frame] = deque(maxlen=round(KEPT_SECONDS / STEP_SECONDS))

    def add(self, frame: Frame) -> None:
        """Keep a frame that was just read, if the one before is long enough ago."""
        if not self._newest or frame.pts_seconds - self._newest[-1].pts_seconds >= STEP_SECONDS:
            self._newest.append(frame)

    def at(self, video: RecordedSource, seconds: float) -> Frame:
        """What is shown at a moment."""
        newest = self._engine.newest
        candidates = [*self._newest, *(() if newest is None else (newest,))]
        shown = [frame for frame in candidates if 0 <= seconds - frame.pts_seconds <= SAME_FRAME_SECONDS]
        return shown[-1] if shown else video.frames_at([seconds])[0]

    def before(self, video: RecordedSource, seconds: float) -> list[Frame]:
        """What was shown in the seconds before a moment, one frame a second, for a model that is shown it."""
        count = self._engine.options.present_frames - 1
        times = [seconds - back for back in range(count, 0, -1) if seconds >= back]
        if self._engine.model.prompt is None or len(self._engine.shown_before(seconds)) >= len(times):
            return []
        return list({frame.pts_seconds: frame for frame in video.frames_at(times)}.values())

    def read_again(self, video: RecordedSource, seconds: float) -> list[Frame]:
        """Frames of the stretch before a past moment, when the memory has a hole there."""
        hole = self._engine.memory.hole_before(seconds)
        newest = self._engine.newest
        if hole is None or newest is None or newest.pts_seconds <= seconds:
            return []
        step = (hole.end - hole.start) / READ_AGAIN_FRAMES
        frames = video.frames_at([hole.start + step * number for number in range(READ_AGAIN_FRAMES)])
        return list({frame.pts_seconds: frame for frame in frames if frame.pts_seconds >= hole.start}.values())
