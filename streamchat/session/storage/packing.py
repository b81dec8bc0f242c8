"""From the state of a chat to what a session's file holds, and back with every doubt that a strange file deserves."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from streamchat.memory.dialogue import Remembered, middle_of
from streamchat.memory.forest import every_node
from streamchat.memory.store import MemoryState
from streamchat.session.checked import MOST_MAGNITUDE
from streamchat.session.state import ChatState, Progress
from streamchat.session.storage import form
from streamchat.session.storage.form import SessionForm
from streamchat.types import Caption, Clip, DialogueTurn, EncodedFrame, Frame, MemoryNode, Picture, Span
from streamchat.video.images import jpeg, jpeg_size, picture

FRAME_QUALITY = 92  # of the JPEG of a frame: what the model sees of it is all but the same
MOST_PICTURE_PIXELS = 2**25  # a little more than 8K
MOST_DEPTH = 200  # of the tree; groups of two would need 2 ** 200 leaves

T = TypeVar("T")


class _Shelf(Generic[T]):
    """Things that are kept once however often they are used, numbered in the order in which they came."""

    def __init__(self, key: Callable[[T], Hashable] = id) -> None:
        self.things: list[T] = []
        self._key = key
        self._numbers: dict[Hashable, int] = {}

    def number(self, thing: T) -> int:
        number = self._numbers.setdefault(self._key(thing), len(self.things))
        if number == len(self.things):
            self.things.append(thing)
        return number


class Packer:
    """Puts a state into forms; `tensors` and `pictures` are what these refer to."""

    def __init__(self) -> None:
        self._tensors: _Shelf[torch.Tensor] = _Shelf(lambda tensor: (tensor.data_ptr(), tensor.dtype, tensor.shape))
        self._pictures: _Shelf[bytes | np.ndarray] = _Shelf()
        self._frames: _Shelf[Frame] = _Shelf()

    def pack(self, state: ChatState) -> dict[str, Any]:
        """The parts of a `SessionForm` that hold the state."""
        memory, progress = state.memory, state.progress
        newest = progress.newest
        return {
            "frames_seen": progress.frames_seen,
            "frames_kept": progress.frames_kept,
            "newest": None if newest is None else self._frames.number(newest),
            "kept": [self._kept(frame) for frame in memory.kept],
            "open_frames": memory.open_frames,
            "nodes": [self._node(node) for node in every_node(memory.roots)],
            "roots": [root.id for root in memory.roots],
            "next_id": memory.next_id,
            "clips": [self._clip(clip) for clip in memory.clips],
            "dialogue": [self._round(entry) for entry in memory.dialogue],
            "frames": [self._frame(frame) for frame in self._frames.things],  # the last, when all have come
        }

    def tensors(self) -> bytes:
        """All tensors, as safetensors."""
        return save_tensors({str(number): _own(tensor) for number, tensor in enumerate(self._tensors.things)})

    def pictures(self) -> list[bytes]:
        """All pictures, as JPEG."""
        return [
            thing if isinstance(thing, bytes) else jpeg(thing, None, FRAME_QUALITY) for thing in self._pictures.things
        ]

    def _frame(self, frame: Frame) -> form.FrameForm:
        number = self._pictures.number(frame.data)
        return form.FrameForm(picture=number, pts_seconds=frame.pts_seconds, index=frame.index)

    def _kept(self, frame: EncodedFrame) -> form.KeptForm:
        tokens = self._tensors.number(frame.tokens)
        return form.KeptForm(frame=self._frames.number(frame.frame), tokens=tokens, cut=frame.cut)

    def _clip(self, clip: Clip) -> form.ClipForm:
        return form.ClipForm(
            span=list(clip.span),
            tokens=self._tensors.number(clip.tokens),
            keyframes=[self._frames.number(frame) for frame in clip.keyframes],
            starts_scene=clip.starts_scene,
        )

    def _node(self, node: MemoryNode) -> form.NodeForm:
        return form.NodeForm(
            id=node.id,
            span=list(node.span),
            level=node.level,
            mass=node.mass,
            weights=list(node.weights),
            tokens=None if node.tokens is None else self._tensors.number(node.tokens),
            pictures=[
                form.PictureForm(picture=self._pictures.number(one.jpeg), pts_seconds=one.pts_seconds)
                for one in node.pictures
            ],
            caption=None if node.caption is None else self._caption(node.caption),
            children=[child.id for child in node.children],
        )

    def _caption(self, caption: Caption) -> form.CaptionForm:
        assert caption.embedding is not None  # the engine sees to it
        return form.CaptionForm(
            text=caption.text,
            data=caption.data,
            embedding=self._vector(caption.embedding),
        )

    def _round(self, entry: Remembered) -> form.RoundForm:
        turn = entry.turn
        return form.RoundForm(
            question=turn.question,
            answer=turn.answer,
            asked_at_seconds=turn.asked_at_seconds,
            vectors=self._vector(entry.vectors),
            rounds=entry.rounds,
            level=entry.level,
        )

    def _vector(self, embedding: np.ndarray) -> int:
        return self._tensors.number(torch.from_numpy(embedding))


def _own(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor in memory of its own, as safetensors wants it; a row of a batch is a view of all of it."""
    alone = tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()
    return tensor.contiguous() if alone else tensor.clone(memory_format=torch.contiguous_format)


class Unpacker:
    """Makes the state of a chat from a session's form; raises ValueError for anything that does not hold together.

    `text_width` is E, of the embeddings; `most_bytes` is what the decoded frames may take.
    """

    def __init__(
        self,
        session: SessionForm,
        tensors: bytes,
        pictures: Sequence[bytes],
        *,
        text_width: int,
        most_bytes: int,
    ) -> None:
        self._session = session
        self._text_width = text_width
        self._map: tuple[int | None, int] = (None, session.model.dim)  # P, known from the first token map, and D
        self._dtype = form.DTYPES[session.model.dtype] if session.model.dtype else None
        self._tensors = _loaded(tensors)
        self._pictures = pictures
        self._used_tensors: set[int] = set()
        self._used_pictures: set[int] = set()
        self._frames = self._unpacked_frames(most_bytes)

    def unpack(self) -> ChatState:
        """The state, checked but for what the memory itself checks when it takes it up."""
        session = self._session
        memory = MemoryState(
            kept=tuple(self._kept(one) for one in session.kept),
            open_frames=session.open_frames,
            roots=self._roots(),
            next_id=session.next_id,
            clips=tuple(self._clip(one) for one in session.clips),
            dialogue=tuple(self._round(one) for one in session.dialogue),
        )
        newest = None if session.newest is None else self._frame(session.newest)
        if len(self._used_tensors) < len(self._tensors) or len(self._used_pictures) < len(self._pictures):
            raise ValueError("it holds tensors or pictures that nothing refers to")
        progress = Progress(newest=newest, frames_seen=session.frames_seen, frames_kept=session.frames_kept)
        return ChatState(memory=memory, progress=progress)

    def _picture(self, number: int) -> bytes:
        if number >= len(self._pictures):
            raise ValueError(f"picture {number} is missing")
        data = self._pictures[number]
        if number not in self._used_pictures:
            width, height = jpeg_size(data)
            if width * height > MOST_PICTURE_PIXELS:
                raise ValueError(f"picture {number} has {width} x {height} pixels, of at most {MOST_PICTURE_PIXELS}")
            self._used_pictures.add(number)
        return data

    def _unpacked_frames(self, most_bytes: int) -> list[Frame]:
        numbers = {one.picture for one in self._session.frames}
        sizes = [jpeg_size(self._picture(number)) for number in numbers]
        needed = sum(3 * width * height for width, height in sizes)
        if needed > most_bytes:
            raise ValueError(f"its frames take {needed} bytes, of at most {most_bytes}")
        decoded = {number: picture(self._picture(number)) for number in numbers}
        return [Frame(decoded[one.picture], one.pts_seconds, one.index) for one in self._session.frames]

    def _frame(self, number: int) -> Frame:
        if number >= len(self._frames):
            raise ValueError(f"frame {number} is missing")
        return self._frames[number]

    def _tensor(self, number: int, dtype: torch.dtype | None, shape: tuple[int | None, ...]) -> torch.Tensor:
        """A tensor of a dtype and a shape, of which None may be any size but 0."""
        tensor = self._tensors.get(str(number))
        if tensor is None:
            raise ValueError(f"tensor {number} is missing")
        fits = len(tensor.shape) == len(shape) and all(
            got > 0 if wanted is None else got == wanted for got, wanted in zip(tensor.shape, shape, strict=True)
        )
        if not fits or tensor.dtype != dtype:
            wanted = f"{dtype} {['any' if size is None else size for size in shape]}"
            raise ValueError(f"tensor {number} is {tensor.dtype} {list(tensor.shape)}, not {wanted}")
        if number not in self._used_tensors:
            if not bool((tensor.abs() <= MOST_MAGNITUDE).all()):
                raise ValueError(f"tensor {number} holds numbers that are infinite, none, or beyond all measure")
            self._used_tensors.add(number)
        return tensor

    def _tokens(self, number: int, *count: int | None) -> torch.Tensor:
        """Token maps [..., P, D], with one P for the whole session that is at most the model's."""
        tensor = self._tensor(number, self._dtype, (*count, *self._map))
        if tensor.shape[-2] > self._session.model.tokens_per_frame:
            most = self._session.model.tokens_per_frame
            raise ValueError(f"tensor {number} has {tensor.shape[-2]} tokens a frame, of at most {most}")
        self._map = (tensor.shape[-2], tensor.shape[-1])
        return tensor

    def _vector(self, number: int) -> np.ndarray:
        return self._tensor(number, torch.float32, (self._text_width,)).numpy()

    def _kept(self, one: form.KeptForm) -> EncodedFrame:
        return EncodedFrame(self._frame(one.frame), self._tokens(one.tokens), one.cut)

    def _clip(self, one: form.ClipForm) -> Clip:
        tokens = self._tokens(one.tokens, None)
        return Clip(tokens, tuple(self._frame(number) for number in one.keyframes), Span(*one.span), one.starts_scene)

    def _roots(self) -> tuple[MemoryNode, ...]:
        """The tree, put together from the leaves up, so that no circle can arise."""
        nodes, roots = self._session.nodes, self._session.roots
        places = [*roots, *(child for node in nodes for child in node.children)]
        if len(set(places)) < len(places) or sorted(places) != sorted(node.id for node in nodes):
            raise ValueError("every node must be there once, as a root or as the child of one other")
        made: dict[int, MemoryNode] = {}
        depths: dict[int, int] = {}
        for node in sorted(nodes, key=lambda node: node.level):
            if not made.keys() >= set(node.children):
                raise ValueError(f"a child of node {node.id} is not below its level {node.level}")
            depths[node.id] = 1 + max((depths[child] for child in node.children), default=0)
            if depths[node.id] > MOST_DEPTH:
                raise ValueError(f"its tree is deeper than {MOST_DEPTH} nodes")
            made[node.id] = self._node(node, tuple(made[child] for child in node.children))
        return tuple(made[root] for root in roots)

    def _node(self, one: form.NodeForm, children: tuple[MemoryNode, ...]) -> MemoryNode:
        return MemoryNode(
            id=one.id,
            span=Span(*one.span),
            level=one.level,
            mass=one.mass,
            weights=tuple(one.weights),
            tokens=None if one.tokens is None else self._tokens(one.tokens, len(one.weights)),
            pictures=tuple(Picture(self._picture(shown.picture), shown.pts_seconds) for shown in one.pictures),
            caption=None if one.caption is None else self._caption(one.caption),
            children=children,
        )

    def _caption(self, one: form.CaptionForm) -> Caption:
        return Caption(one.text, one.data, self._vector(one.embedding))

    def _round(self, one: form.RoundForm) -> Remembered:
        vectors = self._tensor(one.vectors, torch.float32, (None, self._text_width)).numpy()
        turn = DialogueTurn(one.question, one.answer, one.asked_at_seconds, middle_of(vectors))
        return Remembered(turn=turn, vectors=vectors, number=0, rounds=one.rounds, level=one.level)


def _loaded(tensors: bytes) -> Mapping[str, torch.Tensor]:
    try:
        return load_tensors(tensors)
    except (SafetensorError, KeyError, TypeError, RuntimeError) as error:
        raise ValueError(f"its tensors cannot be read ({error})") from error
