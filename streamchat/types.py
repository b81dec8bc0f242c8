"""Value types that travel between the parts of StreamChat.

Letters in shapes: N frames, P tokens a frame, D token width, K centroids, E width of a text vector.
All frames of one stream have one size, and so one P.
Times are seconds of stream time, from the first frame on.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:  # what decodes videos in a process of its own begins at once without it
    import torch

Json = None | bool | int | float | str | list[Any] | dict[str, Any]  # plain values, which JSON can hold
NODE_BYTES = 400  # what a node with nothing in it takes in memory, with its span and its place in the tree, rounded up
BYTES_OF_A_CHARACTER = 4  # of a caption's data written as JSON: what its objects take in memory, rounded up


class Span(NamedTuple):
    """A stretch of the stream, `start` to `end`, in seconds."""

    start: float
    end: float


def finite_number(value: object) -> float | None:
    """A finite number, 0 or more, out of something that came from outside; None for anything else."""
    good = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0
    return float(value) if good else None  # type: ignore[arg-type]


def check_span(span: Span) -> None:
    """Raise ValueError unless the span is finite, starts at 0 or later and does not end before it starts."""
    if not (math.isfinite(span.start) and math.isfinite(span.end) and 0 <= span.start <= span.end):
        raise ValueError(f"a span must satisfy 0 <= start <= end in seconds, got {tuple(span)}")


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One decoded picture of the stream."""

    data: np.ndarray  # uint8 [H, W, 3], RGB
    pts_seconds: float  # when it is shown
    index: int  # its number in the stream, from 0

    def __post_init__(self) -> None:
        if self.data.dtype != np.uint8 or self.data.ndim != 3 or self.data.shape[2] != 3:
            raise ValueError(f"a frame is uint8 [H, W, 3] RGB, got {self.data.dtype} {list(self.data.shape)}")
        if not (math.isfinite(self.pts_seconds) and self.pts_seconds >= 0):
            raise ValueError(f"pts_seconds must be 0 or more, got {self.pts_seconds}")
        if self.index < 0:
            raise ValueError(f"index must be 0 or more, got {self.index}")


@dataclass(frozen=True, slots=True, eq=False)
class EncodedFrame:
    """A kept frame with its visual tokens, as short-term memory and the open chunk hold it."""

    frame: Frame
    tokens: torch.Tensor  # [P, D] on the CPU
    cut: bool  # the first frame of a new scene

    @property
    def pts_seconds(self) -> float:
        """When the frame is shown, in seconds."""
        return self.frame.pts_seconds


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """What is captioned: a chunk of the stream, cut at a change of scene."""

    tokens: torch.Tensor  # [K, P, D], the leaf's centroids
    keyframes: tuple[Frame, ...]  # the real frame nearest to each centroid, in time order
    span: Span
    starts_scene: bool = False  # its first frame comes just after a cut


@dataclass(frozen=True, slots=True, eq=False)
class Caption:
    """What a model said of a clip, or of several captions."""

    text: str
    data: Json = None  # the model's own: nobody else reads it, and a saved session keeps it
    embedding: np.ndarray | None = None  # float32 [E], unit norm; None: the engine embeds the text
    data_nbytes: int = field(init=False, default=0)  # that `data` takes in memory, rounded up

    def __post_init__(self) -> None:
        if self.data is not None:
            object.__setattr__(self, "data_nbytes", BYTES_OF_A_CHARACTER * len(json.dumps(self.data)))


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A small JPEG of one real frame of the stream."""

    jpeg: bytes
    pts_seconds: float  # when the frame was shown


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MemoryNode:
    """A node of the long-term tree (paper section 3.3); a leaf stands for one chunk of the stream.

    Immutable: captioning or folding a node makes a new one with the same `id`.
    """

    id: int
    span: Span
    level: int  # 0 is a leaf
    tokens: torch.Tensor | None  # [K, P, D] on the CPU; None once folded into the parent
    weights: tuple[int, ...]  # frames behind each centroid, [K]
    mass: int  # frames that the node stands for
    caption: Caption | None = None  # none yet; with its embedding once there
    pictures: tuple[Picture, ...] = ()  # of the frame nearest to each centroid, [K]; or none at all
    children: tuple[MemoryNode, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        check_span(self.span)
        if self.mass < 1:
            raise ValueError(f"a node stands for at least one frame, got mass {self.mass}")
        if self.tokens is not None and len(self.tokens) != len(self.weights):
            raise ValueError(f"{len(self.tokens)} centroids with {len(self.weights)} weights")
        if self.pictures and len(self.pictures) != len(self.weights):
            raise ValueError(f"{len(self.pictures)} pictures of {len(self.weights)} centroids")

    @property
    def keyframe(self) -> bytes | None:
        """The picture of the centroid that most frames are behind, as a JPEG; None if the node has no picture."""
        return self.pictures[self.weights.index(max(self.weights))].jpeg if self.pictures else None

    @property
    def nbytes(self) -> int:
        """Bytes held by this node alone, without its children."""
        total = NODE_BYTES
        total += 0 if self.tokens is None else self.tokens.numel() * self.tokens.element_size()
        total += sum(len(picture.jpeg) for picture in self.pictures)
        if self.caption is not None:  # text and vector stand in the index once more
            total += 2 * len(self.caption.text.encode())
            total += 0 if self.caption.embedding is None else 2 * self.caption.embedding.nbytes
            total += self.caption.data_nbytes
        return total


@dataclass(frozen=True, slots=True, eq=False)
class DialogueTurn:
    """One round of the conversation."""

    question: str
    answer: str
    asked_at_seconds: float
    embedding: np.ndarray  # float32 [E], unit norm, of question and answer together


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Visual:
    """One picture that a question is answered from, with the moment that it shows.

    For a model that reads tokens it is a map of visual tokens, of a frame or of a centroid; for one that reads
    pictures, the frame itself or the JPEG of the frame nearest to the centroid.
    """

    span: Span
    tokens: torch.Tensor | None = None  # [K, P, D] on the CPU; None: of a frame that was not encoded yet
    size: tuple[int, int] | None = None  # height and width in pixels of the frames that the tokens are of
    keyframe: bytes | None = None  # JPEG
    frame: Frame | None = None  # what the keyframe would be made of: few engines want it
    rank: int = 0  # its place in the order of worth among the visuals of its part, 0 the best


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RetrievedCaption:
    """The caption of a node of the tree that was found for a question, or that stands for a part of the timeline."""

    span: Span
    caption: Caption
    level: int  # 0 is a leaf
    relevance: float  # cosine of the question with the caption
    keyframe: bytes | None = None
    found: bool = True  # the question is taken to be about it; else it is there for what else was to be seen
    rank: int = 0  # its place in the order of worth, 0 the best


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Context:
    """All that one question is answered from (paper section 3.4); every list is in time order."""

    question: str
    question_embedding: np.ndarray  # float32 [E], unit norm
    asked_at_seconds: float
    newest: Frame  # what is on the screen
    stretch: Span | None = None  # of the stream that the question names
    moment_seconds: float | None = None  # in it, that was meant most of all
    open_clip: Clip | None = None  # what was kept since the last leaf was made, not captioned yet
    open_frames: tuple[Frame, ...] = ()  # all that were kept since then, in time order
    pending_clips: tuple[Clip, ...] = ()  # of the newest leaves without a caption, as far as their pictures are kept
    captioned_until_seconds: float = math.inf  # captions speak of all that was kept before; infinite: of everything
    present: tuple[Visual, ...] = ()  # the last seconds, one frame a second, and at the end what is on the screen
    captions: tuple[RetrievedCaption, ...] = ()
    recalled: tuple[Visual, ...] = ()  # pictures from the tree
    recent: tuple[Visual, ...] = ()  # the open chunk, and the draw from short-term memory
    visited: tuple[int, ...] = ()  # ids of the tree's nodes that the question is taken to be about, best first
    turns: tuple[DialogueTurn, ...] = ()  # related turns of the dialogue
    last_turn: DialogueTurn | None = None  # the one just before, for "and after that?"
    may_ask_for_memory: bool = False  # only the present is here, and the model may say that it is not enough
    time_budget_seconds: float | None = None  # for work that can be left out; None: as long as it takes
    max_new_tokens: int = 256  # length of the answer at most
    temperature: float = 0.0  # 0 is greedy
    seed: int = 0  # of sampling, this question's own


class GivenCaption(NamedTuple):
    """A caption that stood in a prompt."""

    span: Span  # that it speaks of
    level: int  # 0: of a leaf, a moment of some seconds; higher: a summary


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What a question was answered from, and how much of what was found did not fit; times in order."""

    captions: tuple[GivenCaption, ...]
    pictures: tuple[Span, ...]  # the moments of the pictures, one for each that was sent
    turns: int  # of the dialogue
    captions_left_out: int = 0
    pictures_left_out: int = 0
    turns_left_out: int = 0
    prompt_tokens: int | None = None  # by the model's own count; None if it reads no prompt

    def as_json(self) -> dict[str, Any]:
        """Plain values: captions as [start, end, level], pictures as [start, end], and the counts."""
        captions = [[*caption.span, caption.level] for caption in self.captions]
        return asdict(self) | {"captions": captions, "pictures": [list(span) for span in self.pictures]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """A moment that an answer rests on."""

    span: Span
    caption: str
    keyframe: bytes | None = field(default=None, repr=False)  # JPEG


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Where the time of one answer went, in seconds from the end of the question."""

    retrieval_seconds: float  # memory read, context put together
    first_token_seconds: float
    total_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A whole answer with the moments that it rests on."""

    text: str
    asked_at_seconds: float
    evidence: tuple[Evidence, ...]
    given: Given
    timing: Timing
    dropped_frames: int  # frames of a live stream lost so far because ingestion was behind


def merged_span(spans: Sequence[Span]) -> Span:
    """The span from the earliest start to the latest end; `spans` must not be empty."""
    return Span(min(s.start for s in spans), max(s.end for s in spans))
