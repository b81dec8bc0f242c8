"""Frozen options of the engine, and the paper's presets."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any, NamedTuple

from streamchat.errors import InputError

RETRIEVALS = ("search", "tree")
CONTEXTS = ("full", "two-step")
DIALOGUE_TURNS = 200  # rounds of a conversation kept in full
MEBIBYTE = 2**20  # bytes
LARGEST = 2**53


class Limits(NamedTuple):
    """The numbers that an option may have. `most` is more than anyone needs: beyond it only memory would be used up."""

    least: float
    most: float = LARGEST
    above: bool = False  # more than `least`, not `least` itself

    def check(self, name: str, value: float) -> None:
        """Raise InputError for a value that is not allowed."""
        if self.above:
            _check(name, value, value > self.least, f"more than {self.least:g}")
        else:
            _check(name, value, value >= self.least, f"{self.least:g} or more")
        _check(name, value, value <= self.most, f"{self.most:,} or less")


def limited(default: Any, least: float, most: float = LARGEST, *, above: bool = False) -> Any:
    """A number with its limits, which hold for options made by the program and read from a file alike."""
    return field(default=default, metadata={"limits": Limits(least, most, above)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Everything that decides what the engine does; the defaults are the preset `base` (paper table 1, section 4)."""

    preset_name: str = "base"  # what a preset means to a selector beyond t is declared in the selector's file

    # Selective frame stacking (paper section 3.2)
    selector: str = "novelty"  # a file name in streamchat/selectors/
    motion_threshold: float = limited(0.35, 0)  # t: mean flow above which `optical_flow` keeps a frame, at its scale
    sampled_per_second: float | None = limited(10.0, 0, 1000, above=True)  # frames of a recorded video; None: all
    heartbeat_seconds: float = limited(2.0, 0, above=True)  # a frame is kept after this long without one
    max_kept_per_second: int = limited(5, 1, 1000)  # the threshold rises towards this ceiling, which is never passed
    max_side: int = limited(768, 1, 8192)  # frames are scaled down to this long side, in pixels, by the reader

    # Memory formation (section 3.3)
    chunk_frames: int = limited(25, 1, 2000)  # L: kept frames that make a leaf
    chunk_seconds: float = limited(15.0, 0, above=True)  # a leaf also ends after this long: a slow stream speaks too
    clusters: int = limited(5, 1, 2000)  # C: centroids of a node
    group_nodes: int = limited(10, 2, 1000)  # g: nodes of one level that make a parent
    short_term_frames: int = limited(20, 1, 2000)  # N: newest kept frames that short-term memory draws from
    short_term_samples: int = limited(5, 1, 2000)  # S: frames drawn for a question
    short_term_decay: float = limited(5.0, 0, above=True)  # tau: a frame weighs exp(-age / tau), age in frames
    memory_bytes: int | None = limited(None, 1)  # of the whole memory at most; None: chosen, see memory/budget.py
    dialogue_turns: int = limited(DIALOGUE_TURNS, 1, 10_000)  # newest rounds kept in full; older ones are folded

    # Contextual summarization (section 3.4)
    retrieval: str = "search"  # over all captions, or "tree": the paper's walk down from the roots (algorithm 1)
    retrieval_paths: int = limited(3, 1, 1000)  # ways taken down the tree for a question; the paper takes one
    related_turns: int = limited(1, 0, 1000)  # dialogue turns recalled for a question
    context: str = "full"  # "full", or "two-step": the present alone first, the memory if the model says it needs it
    max_pictures: int = limited(32, 1, 10_000)  # in a prompt, frames and centroids alike
    present_frames: int = limited(4, 1, 1000)  # frames of the last seconds, one a second, that every prompt begins with
    captions_share: float = limited(0.45, 0, 1)  # of what the present leaves of a prompt: for retrieved captions
    recalled_share: float = limited(0.35, 0, 1)  # for pictures recalled from the tree
    recent_share: float = limited(0.1, 0, 1)  # for the open chunk and the draw from short-term memory
    dialogue_share: float = limited(0.1, 0, 1)  # for related rounds of the dialogue

    # Answering
    max_new_tokens: int = limited(256, 1, 100_000)  # length of an answer at most
    temperature: float = limited(0.0, 0)  # 0 is greedy
    seed: int = limited(0, 0)  # of the short-term draw, k-means and sampling

    def __post_init__(self) -> None:
        _check_preset(self.preset_name)
        for option in fields(self):
            value, limits = getattr(self, option.name), option.metadata.get("limits")
            if limits is not None and value is not None:
                limits.check(option.name, value)
        for name, allowed in (("retrieval", RETRIEVALS), ("context", CONTEXTS)):
            _check(name, getattr(self, name), getattr(self, name) in allowed, " or ".join(allowed))

    @property
    def as_in_paper(self) -> bool:
        """Whether frames are selected, remembered and retrieved by the paper's rules, with its preset's numbers."""
        return all(getattr(self, name) == value for name, value in (PRESETS[self.preset_name] | AS_IN_PAPER).items())

    @property
    def read_per_second(self) -> float | None:
        """Frames of a recorded video that are looked at in a second; None: all, as optical flow needs neighbours."""
        return None if self.selector == "optical_flow" else self.sampled_per_second

    @classmethod
    def preset(cls, name: str, **changes: Any) -> Options:
        """The options of a preset of the paper, with changes; raises InputError for an unknown name."""
        _check_preset(name)
        return replace(cls(preset_name=name, **PRESETS[name]), **changes)


# What `add_argument` takes for --thinking, in every command line that loads a model.
THINKING: dict[str, Any] = {
    "choices": ("on", "off"),
    "default": "on",
    "help": "off asks a model server to let its model answer at once, without thinking first (default: on)",
}


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
