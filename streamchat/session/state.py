"""How far a stream was ingested, and all of a chat at one moment of it."""

from __future__ import annotations

from dataclasses import dataclass

from streamchat.memory.store import MemoryState
from streamchat.types import Frame


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Progress:
    """How far a stream was ingested; replaced as a whole, so that another thread never sees half of a step."""

    newest: Frame | None = None  # kept or not
    frames_seen: int = 0
    frames_kept: int = 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ChatState:
    """All of a chat at one moment of its stream: what a saved session is made of."""

    memory: MemoryState
    progress: Progress


def as_remembered(memory: MemoryState, progress: Progress) -> Progress:
    """How far the stream was ingested when the newest frame of the memory came."""
    if not memory.kept:
        return Progress()
    newest = memory.kept[-1].frame
    since = 0 if progress.newest is None else max(0, progress.newest.index - newest.index)
    seen = max(memory.frames, progress.frames_seen - since)
    return Progress(newest=newest, frames_seen=seen, frames_kept=memory.frames)


def check_progress(state: ChatState) -> None:
    """Raise ValueError unless the counts and the newest frame of a state go with its memory."""
    progress, kept = state.progress, state.memory.kept
    if not state.memory.frames == progress.frames_kept <= progress.frames_seen:
        raise ValueError(
            f"{progress.frames_kept} of {progress.frames_seen} frames are said to be kept, and the memory stands for "
            f"{state.memory.frames}"
        )
    if (progress.newest is None) != (progress.frames_seen == 0):
        raise ValueError(f"{progress.frames_seen} frames were seen, but the newest is not as it must be")
    if kept and progress.newest is not None and progress.newest.pts_seconds < kept[-1].pts_seconds:
        raise ValueError("the newest frame is older than one that was kept")
