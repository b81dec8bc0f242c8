"""Frozen options of the engine, and the paper's presets."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from streamchat.errors import InputError

RETRIEVALS = ("search", "tree")
CONTEXTS = ("full", "two-step")
DIALOGUE_TURNS = 200  # rounds of a conversation kept in full
MEBIBYTE = 2**20  # bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Everything that decides what the engine does; the defaults are the preset `base` (paper table 1, section 4)."""

    preset_name: str = "base"  # what a preset means to a selector beyond t is declared in the selector's file

    # Selective frame stacking (paper section 3.2)
    selector: str = "novelty"  # a file name in streamchat/selectors/
    motion_threshold: float = 0.35  # t: mean flow above which `optical_flow` keeps a frame, at its scale
    heartbeat_seconds: float = 2.0  # a frame is kept after this long without one
    max_kept_per_second: int = 5  # the threshold rises towards this ceiling, which is never passed
    max_side: int = 768  # frames are scaled down to this long side, in pixels, by the reader

    # Memory formation (section 3.3)
    chunk_frames: int = 25  # L: kept frames that make a leaf
    chunk_seconds: float = 15.0  # a leaf also ends after this long, so that a slow stream is not silent
    clusters: int = 5  # C: centroids of a node
    group_nodes: int = 10  # g: nodes of one level that make a parent
    short_term_frames: int = 20  # N: newest kept frames that short-term memory draws from
    short_term_samples: int = 5  # S: frames drawn for a question
    short_term_decay: float = 5.0  # tau: the weight of a frame is exp(-age / tau), age in frames
    memory_bytes: int | None = None  # of the whole memory at most; None: chosen, see memory/budget.py
    dialogue_turns: int = DIALOGUE_TURNS  # newest rounds kept in full; older ones are folded into summaries

    # Contextual summarization (section 3.4)
    retrieval: str = "search"  # over all captions, or "tree": the paper's walk down from the roots (algorithm 1)
    retrieval_paths: int = 3  # ways taken down the tree for a question; the paper takes one
    related_turns: int = 1  # dialogue turns recalled for a question
    context: str = "full"  # "full", or "two-step": the present alone first, the memory if the model says it needs it
    max_pictures: int = 32  # in a prompt, frames and centroids alike
    present_frames: int = 4  # frames of the last seconds, one a second, that every prompt begins with if they fit
    captions_share: float = 0.45  # of what the present leaves of a prompt: for retrieved captions
    recalled_share: float = 0.35  # for pictures recalled from the tree
    recent_share: float = 0.1  # for the open chunk and the draw from short-term memory
    dialogue_share: float = 0.1  # for related rounds of the dialogue

    # Answering
    max_new_tokens: int = 256  # length of an answer at most
    temperature: float = 0.0  # 0 is greedy
    seed: int = 0  # of the short-term draw, k-means and sampling

    def __post_init__(self) -> None:
        _check_preset(self.preset_name)
        at_least_one = (
            "max_kept_per_second max_side chunk_frames clusters short_term_frames short_term_samples "
            "dialogue_turns retrieval_paths max_pictures present_frames max_new_tokens"
        )
        for name in at_least_one.split():
            _check(name, getattr(self, name), getattr(self, name) >= 1, "1 or more")
        if self.memory_bytes is not None:
            _check("memory_bytes", self.memory_bytes, self.memory_bytes >= 1, "1 or more, or None")
        for name in ("heartbeat_seconds", "chunk_seconds", "short_term_decay"):
            _check(name, getattr(self, name), getattr(self, name) > 0, "more than 0")
        for name in ("motion_threshold", "temperature", "related_turns", "seed"):
            _check(name, getattr(self, name), getattr(self, name) >= 0, "0 or more")
        _check("group_nodes", self.group_nodes, self.group_nodes >= 2, "2 or more")
        for name in ("captions_share", "recalled_share", "recent_share", "dialogue_share"):
            _check(name, getattr(self, name), 0 <= getattr(self, name) <= 1, "from 0 to 1")
        for name, allowed in (("retrieval", RETRIEVALS), ("context", CONTEXTS)):
            _check(name, getattr(self, name), getattr(self, name) in allowed, " or ".join(allowed))

    @property
    def as_in_paper(self) -> bool:
        """Whether frames are selected, remembered and retrieved by the paper's rules, with its preset's numbers."""
        return all(getattr(self, name) == value for name, value in (PRESETS[self.preset_name] | AS_IN_PAPER).items())

    @classmethod
    def preset(cls, name: str, **changes: Any) -> Options:
        """The options of a preset of the paper, with changes; raises InputError for an unknown name."""
        _check_preset(name)
        return replace(cls(preset_name=name, **PRESETS[name]), **changes)


def mebibytes(count: int | None) -> int | None:
    """The bytes of a command line's --memory-mib, or None; InputError for one below 1."""
    if count is not None and count < 1:
        raise InputError(f"--memory-mib must be 1 or more, got {count}")
    return None if count is None else count * MEBIBYTE


def _check_preset(name: str) -> None:
    if name not in PRESETS:
        raise InputError(f"unknown preset {name!r}: choose one of {', '.join(PRESETS)}")


def _check(name: str, value: object, good: bool, allowed: str) -> None:
    if not good:
        raise InputError(f"option {name} must be {allowed}, got {value}")


# t, L, g and C of the paper's table of presets.
PRESETS: dict[str, dict[str, Any]] = {
    "slow": {"motion_threshold": 0.13, "chunk_frames": 35, "group_nodes": 15, "clusters": 5},
    "base": {"motion_threshold": 0.35, "chunk_frames": 25, "group_nodes": 10, "clusters": 5},
    "fast": {"motion_threshold": 0.58, "chunk_frames": 30, "group_nodes": 15, "clusters": 5},
}

# The paper's rules, which hold for all its presets: how frames are selected, N, S and tau, one way down the tree, one
# related turn. The product's guards stay: heartbeat and ceiling, chunks that end early, and the bound of the memory.
AS_IN_PAPER: dict[str, Any] = {
    "selector": "optical_flow",
    "short_term_frames": 20,
    "short_term_samples": 5,
    "short_term_decay": 5.0,
    "retrieval": "tree",
    "retrieval_paths": 1,
    "related_turns": 1,
}
