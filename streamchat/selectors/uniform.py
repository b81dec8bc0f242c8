"""A frame every so many seconds, whatever it shows: the baseline that the other selectors are measured against."""

from __future__ import annotations

from streamchat.options import Options
from streamchat.selectors.base import TIME_TOLERANCE_SECONDS, CutDetector, Selection, TokenBucket
from streamchat.types import Frame

HEARTBEATS = {"slow": 0.5, "base": 1.0, "fast": 2.0}  # between two kept frames, by preset


def build(options: Options) -> UniformSelector:
    """The selector with an interval of `options.heartbeat_seconds`, of half or of twice as long, by its preset."""
    return UniformSelector(options)


class UniformSelector:
    """Keeps the first frame and then the first one at or after each multiple of the interval.

    The multiples do not drift with the frame rate. A cut keeps nothing: it is reported with the next kept frame, so
    that clips still end where scenes do. The ceiling of kept frames holds here as well.
    """

    def __init__(self, options: Options) -> None:
        self._interval_seconds = options.heartbeat_seconds * HEARTBEATS[options.preset_name]
        self._bucket = TokenBucket(options.max_kept_per_second)
        self._cuts = CutDetector()
        self._cut_waits = False
        self._first_seconds: float | None = None
        self._newest_kept_seconds = 0.0
        self._intervals = 0  # that have begun

    def limit(self, per_second: int) -> None:
        """Set the ceiling of kept frames."""
        self._bucket.capacity = per_second

    def select(self, frame: Frame) -> Selection:
        """Decide about the next frame; `motion` is the time since the last kept one, in seconds."""
        now = frame.pts_seconds
        self._cut_waits = self._cuts.is_cut(frame) or self._cut_waits
        if self._first_seconds is None:
            self._first_seconds = self._newest_kept_seconds = now
        passed = now - self._first_seconds + TIME_TOLERANCE_SECONDS
        waited = now - self._newest_kept_seconds
        due = passed >= self._intervals * self._interval_seconds
        if not due or not self._bucket.fraction_left(now):
            return Selection(kept=False, cut=False, motion=waited, threshold=self._interval_seconds)
        cut, self._cut_waits = self._cut_waits, False
        self._intervals = int(passed / self._interval_seconds) + 1
        self._newest_kept_seconds = now
        self._bucket.take(now)
        return Selection(kept=True, cut=cut, motion=waited, threshold=self._interval_seconds)
