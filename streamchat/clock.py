"""Times of the stream as people write them."""

from __future__ import annotations

from streamchat.types import Span


def timestamp(seconds: float) -> str:
    """A time of the stream: 0:07, 12:30, 1:02:03."""
    whole = int(seconds)
    hours, minutes = divmod(whole // 60, 60)
    if hours:
        return f"{hours}:{minutes:02d}:{whole % 60:02d}"
    return f"{minutes}:{whole % 60:02d}"


def time_range(span: Span) -> str:
    """A span: 0:07–0:12, or one time if both ends read the same."""
    start, end = timestamp(span.start), timestamp(span.end)
    return start if start == end else f"{start}–{end}"
