"""The engine: frames in, answers out. Single-threaded and deterministic; what StreamChat means is defined here.

Its stages (`select`, `encode`, `remember`, `describe_next`, `stream_answer`) are what the live session runs in threads.
"""

from __future__ import annotations

import math
import time
import zlib
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from streamchat import plugin
from streamchat.config import Options
from streamchat.embedding import TextEmbedder, minilm
from streamchat.errors import InputError
from streamchat.images import picture
from streamchat.memory.store import MemoryStore, Snapshot
from streamchat.models.base import Model
from streamchat.retrieval import retrieve
from streamchat.selectors.base import FrameSelector, Selection
from streamchat.types import Answer, Caption, Context, DialogueTurn, EncodedFrame, Evidence, Frame, Timing

SMALLEST_BUDGET_LEAVES = 8  # the budget must hold this many leaves' tokens, or folding could not keep it


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What was taken in so far."""

    frames_seen: int
    frames_kept: int
    nodes_by_level: tuple[int, ...]  # of the tree, leaves first
    memory_bytes: int  # of the whole memory


class StreamChat:
    """Chat with one stream: push its frames in order, ask at any time.

    `embedder` defaults to all-MiniLM-L6-v2. Raises InputError if an option does not suit the model.
    """

    def __init__(self, model: Model, options: Options | None = None, embedder: TextEmbedder | None = None) -> None:
        self.model = model
        self.options = options or Options()
        self._embedder = embedder or minilm()
        self._selector: FrameSelector = plugin.load("streamchat.selectors", self.options.selector).build(self.options)
        self.memory = MemoryStore(self.options)
        self._newest: Frame | None = None
        self._seen = 0
        self._kept = 0
        leaf = self.options.clusters * model.tokens_per_frame * model.dim * model.number_bytes
        if self.options.memory_bytes < SMALLEST_BUDGET_LEAVES * leaf:
            raise InputError(
                f"option memory_bytes must be at least {SMALLEST_BUDGET_LEAVES * leaf} for the model {model.name!r}, "
                f"got {self.options.memory_bytes}"
            )

    @property
    def newest(self) -> Frame | None:
        """The newest frame taken in, kept or not."""
        return self._newest

    def push(self, frame: Frame) -> bool:
        """Take in the next frame, and caption what it completed; True if the frame was kept."""
        selection = self.select(frame)
        if selection.kept:
            self.remember(self.encode([(frame, selection.cut)]))
            while self.describe_next():
                pass
        return selection.kept

    def select(self, frame: Frame) -> Selection:
        """Decide whether a frame shows something new (paper section 3.2); ValueError if it is not the next in time."""
        if self._newest is not None and frame.pts_seconds <= self._newest.pts_seconds:
            raise ValueError(
                f"frames must come in time order: got {frame.pts_seconds} s after {self._newest.pts_seconds} s"
            )
        selection = self._selector.select(frame)
        self._newest = frame
        self._seen += 1
        self._kept += selection.kept
        return selection

    def encode(self, kept: Sequence[tuple[Frame, bool]]) -> list[EncodedFrame]:
        """Encode kept frames, each with whether it begins a new scene, once and for all."""
        tokens = self.model.encode_frames([frame for frame, _ in kept])
        return [EncodedFrame(frame, token, cut) for (frame, cut), token in zip(kept, tokens, strict=True)]

    def remember(self, encoded: Sequence[EncodedFrame]) -> None:
        """Put encoded frames into the memory (paper section 3.3)."""
        for frame in encoded:
            self.memory.remember(frame)

    def describe_next(self) -> bool:
        """Caption the next node of the tree that has none; False if there is none."""
        node = self.memory.next_uncaptioned()
        if node is None:
            return False
        captions = [child.caption for child in node.children if child.caption is not None]
        caption = self.model.summarize(captions) if captions else self.model.caption(self.memory.clip_of(node))
        if caption.embedding is None:
            caption = Caption(caption.text, caption.observations, self._embedder.embed([caption.text])[0])
        self.memory.set_caption(node, caption)
        return True

    def ask(self, question: str, at_seconds: float | None = None) -> Answer:
        """Answer a question about what was shown up to a moment of the stream, by default all of it."""
        stream = self.stream_answer(question, at_seconds)
        for _ in stream:
            pass
        return stream.answer

    def stream_answer(
        self,
        question: str,
        at_seconds: float | None = None,
        *,
        newest: Frame | None = None,
        read_again: Sequence[Frame] = (),
        dropped_frames: int = 0,
    ) -> AnswerStream:
        """As `ask`, but the text comes in pieces.

        `newest` is what is on the screen at `at_seconds`, if the caller knows better than the memory; `read_again` are
        frames up to then, in time order, of which the memory holds no detail any more (see `MemoryStore.hole_before`).
        Raises InputError for an empty question, and if there is no frame yet.
        """
        check_question(question)
        started = time.perf_counter()
        latest = self._newest
        if at_seconds is None:
            at_seconds = 0.0 if latest is None else latest.pts_seconds
        if not (math.isfinite(at_seconds) and at_seconds >= 0):
            raise InputError(f"the time of a question must be 0 seconds or more, got {at_seconds}")
        snapshot = self.memory.snapshot(at_seconds)
        if read_again:
            encoded = tuple(self.encode([(frame, False) for frame in read_again]))
            snapshot = replace(snapshot, short_term=encoded, open_chunk=encoded)
        newest = newest or self._shown_at(at_seconds, snapshot)
        if newest is None and latest is None:
            raise InputError("there is no frame yet: start the video before you ask")
        if newest is None:
            raise InputError(f"the memory holds no picture of {at_seconds:g} s or before: ask about a later moment")
        embedding = self._embedder.embed([question])[0]
        context = retrieve(
            snapshot,
            question.strip(),
            embedding,
            newest,
            encode=self.model.encode_frames,
            options=self.options,
            seed=self._seed_of(question, at_seconds),
        )
        return AnswerStream(self, context, started, dropped_frames)

    def record(self, question: str, answer: str, at_seconds: float) -> None:
        """Put a round into the dialogue memory, as if it had just been asked."""
        embedding = self._embedder.embed([f"{question} {answer}"])[0]
        self.memory.dialogue.add(DialogueTurn(question, answer, at_seconds, embedding))

    def counts(self) -> Counts:
        """What was taken in so far."""
        return Counts(
            frames_seen=self._seen,
            frames_kept=self._kept,
            nodes_by_level=self.memory.nodes_by_level(),
            memory_bytes=self.memory.nbytes,
        )

    def _shown_at(self, at_seconds: float, snapshot: Snapshot) -> Frame | None:
        """The newest picture of a moment or before, of those that are still at hand."""
        latest = self._newest
        if latest is not None and latest.pts_seconds <= at_seconds:
            return latest
        if snapshot.short_term:
            return snapshot.short_term[-1].frame
        for root in reversed(snapshot.roots):
            if root.keyframe is not None:
                return Frame(picture(root.keyframe), root.span.start, 0)
        return None

    def _seed_of(self, question: str, at_seconds: float) -> int:
        """A seed of this question's own, so that an answer does not hang on what was asked before."""
        return zlib.crc32(f"{self.options.seed} {at_seconds:.3f} {question}".encode())


class Session(Protocol):
    """What an answer belongs to."""

    model: Model

    def record(self, question: str, answer: str, at_seconds: float) -> None:
        """Put a round into the dialogue memory."""
        ...


def check_question(question: str) -> None:
    """Raise InputError for a question without words."""
    if not question.strip():
        raise InputError("the question is empty: write what you want to know about the video")


class AnswerStream:
    """An answer on its way: iterate for the pieces of its text; afterwards `answer` is the whole.

    The round enters the dialogue memory when the text is complete, or with what was said until then when `close` stops
    it.
    """

    def __init__(self, chat: Session, context: Context, started: float, dropped_frames: int) -> None:
        self._chat = chat
        self._context = context
        self._started = started
        self._retrieval_seconds = time.perf_counter() - started
        self._first_token_seconds: float | None = None
        self._dropped_frames = dropped_frames
        self._texts: list[str] = []
        self._evidence: list[Evidence] = []
        self._answer: Answer | None = None
        self._pieces: Generator[str, None, None] = self._run()

    @property
    def answer(self) -> Answer:
        """The whole answer; RuntimeError while it is still on its way."""
        if self._answer is None:
            raise RuntimeError("the answer is not complete: iterate over it or close it first")
        return self._answer

    @property
    def asked_at_seconds(self) -> float:
        """The moment of the stream at which the question was asked."""
        return self._context.asked_at_seconds

    @property
    def pictures(self) -> int:
        """How many token maps, of frames or averages of them, the question is answered from."""
        return sum(len(visual.tokens) for visual in (*self._context.recent, *self._context.recalled))

    def __iter__(self) -> Iterator[str]:
        return self._pieces

    def close(self) -> None:
        """Stop the answer; what was said so far is kept."""
        self._pieces.close()
        self._finish()

    def _run(self) -> Generator[str, None, None]:
        for piece in self._chat.model.answer(self._context):
            if isinstance(piece, Evidence):
                self._evidence.append(piece)
                continue
            if self._first_token_seconds is None:
                self._first_token_seconds = time.perf_counter() - self._started
            self._texts.append(piece)
            yield piece
        self._finish()

    def _finish(self) -> None:
        if self._answer is not None:
            return
        text = "".join(self._texts).strip()
        total = time.perf_counter() - self._started
        first = total if self._first_token_seconds is None else self._first_token_seconds
        self._answer = Answer(
            text=text,
            asked_at_seconds=self._context.asked_at_seconds,
            evidence=tuple(self._evidence),
            timing=Timing(retrieval_seconds=self._retrieval_seconds, first_token_seconds=first, total_seconds=total),
            dropped_frames=self._dropped_frames,
        )
        if text:
            self._chat.record(self._context.question, text, self._context.asked_at_seconds)
