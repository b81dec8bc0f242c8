"""How a live session stands, for those who watch it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """How a session stands."""

    frames_seen: int
    frames_kept: int
    frames_dropped: int  # of a live stream, because ingestion was behind
    frames_queued: int  # kept, and still to be encoded
    frames_per_second: float  # ingested, over the last frames
    position_seconds: float  # of the newest frame ingested
    nodes_by_level: tuple[int, ...]  # of the tree, the leaves at index 0
    memory_bytes: int
    captions_pending: int  # nodes of the tree without a caption
    kept_ceiling: int  # frames kept in any second at most; lower than the options say while the model is behind
    degraded: str | None  # what fails at the moment and is tried again, in words
    finished: bool  # the whole video was ingested and remembered
    notes: tuple[str, ...]  # what is the matter with the video, such as that it is cut off
