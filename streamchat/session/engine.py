"""The engine: frames in, answers out. Single-threaded and deterministic; what StreamChat means is defined here.

Its stages (`select`, `encode`, `remember`, `describe_next`, `stream_answer`) are what the live session runs in threads.
"""

from __future__ import annotations

import logging
import math
import time
import zlib
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from streamchat import plugin
from streamchat.checkpoints.machine import free_memory_bytes
from streamchat.embedding import TextEmbedder, minilm
from streamchat.errors import InputError
from streamchat.memory.budget import SMALLEST_LEAVES, chosen_bytes
from streamchat.memory.short_term import OnePerSecond
from streamchat.memory.store import MemoryStore, Snapshot, make_leaf
from streamchat.models.base import Model
from streamchat.models.scheduler import NEVER, CancelToken, Priority
from streamchat.options import MEBIBYTE, Options
from streamchat.retrieval.gather import gather
from streamchat.selectors.base import FrameSelector, Selection
from streamchat.session.alerts import Alerts
from streamchat.session.answer import AnswerStream
from streamchat.session.checked import CheckedEmbedder, checked_caption, checked_tokens
from streamchat.session.questions import check_question
from streamchat.session.state import ChatState, Progress, as_remembered, check_progress
from streamchat.types import Answer, Caption, Clip, Context, DialogueTurn, EncodedFrame, Frame, Span
from streamchat.video.images import letterboxed, picture

log = logging.getLogger(__name__)

UNCHECKED_CLIPS = 16  # that wait for a model that fails to check them; the oldest goes first
SECONDS_AHEAD = 4  # that a reader may be ahead of the moment that is asked about


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What was ingested so far."""

    frames_seen: int
    frames_kept: int
    position_seconds: float  # of the newest frame
    nodes_by_level: tuple[int, ...]  # of the tree, the leaves at index 0
    memory_bytes: int  # of the whole memory


def memory_budget(model: Model, options: Options, sessions: int = 1) -> int:
    """The bytes that the memory of a chat may take: as the options say, or chosen for this machine and the model.

    So many `sessions` are to have room on the machine at once. Raises InputError if the model needs more than is asked.
    """
    leaf_bytes = options.clusters * model.tokens_per_frame * model.dim * model.number_bytes
    if options.memory_bytes is None:
        return chosen_bytes(free_memory_bytes(), sessions=sessions, leaf_bytes=leaf_bytes)
    if options.memory_bytes < SMALLEST_LEAVES * leaf_bytes:
        least_mib = math.ceil(SMALLEST_LEAVES * leaf_bytes / MEBIBYTE)
        raise InputError(
            f"option memory_bytes must be at least {SMALLEST_LEAVES * leaf_bytes} ({least_mib} MiB) for the model "
            f"{model.name!r}, got {options.memory_bytes}"
        )
    return options.memory_bytes


class StreamChat:
    """Chat with one stream: push its frames in order, ask at any time.

    `embedder` defaults to all-MiniLM-L6-v2; `sessions` is how many chats share the machine's memory, if the options
    leave its budget open. Raises InputError if an option does not suit the model.
    """

    def __init__(
        self,
        model: Model,
        options: Options | None = None,
        embedder: TextEmbedder | None = None,
        *,
        sessions: int = 1,
    ) -> None:
        self.model = model
        self.options = options or Options()
        self._embedder = CheckedEmbedder(embedder or minilm())
        self._selector: FrameSelector = plugin.load("streamchat.selectors", self.options.selector).build(self.options)
        self.memory_budget_bytes = memory_budget(model, self.options, sessions)
        log.info("the memory of a stream may take %d MiB", self.memory_budget_bytes // MEBIBYTE)
        self.memory = MemoryStore(self.options, self.memory_budget_bytes, keeps_pictures=model.captions_from_pictures)
        self.alerts = Alerts()
        self._progress = Progress()
        self._shown = OnePerSecond(self.options.present_frames + SECONDS_AHEAD)
        self._postponed: set[int] = set()  # ids of nodes whose captioning failed
        self._unchecked: deque[tuple[Clip, Caption, bytes | None]] = deque(maxlen=UNCHECKED_CLIPS)

    @property
    def newest(self) -> Frame | None:
        """The newest frame ingested, kept or not."""
        return self._progress.newest

    def shown_before(self, seconds: float) -> list[Frame]:
        """What was on the screen in the seconds before a moment, one frame a second; [] if it is gone."""
        since = seconds - self.options.present_frames - 1
        return [frame for frame in self._shown.frames if since <= frame.pts_seconds < seconds]

    def push(self, frame: Frame) -> bool:
        """Ingest the next frame, and caption what it completed; True if the frame was kept."""
        frame = self.in_one_size(frame)
        selection = self.select(frame)
        if selection.kept:
            self.remember(self.encode([(frame, selection.cut)]))
            while self.describe_next():
                self.check_alerts()
        return selection.kept

    def in_one_size(self, frame: Frame) -> Frame:
        """The next frame, letterboxed if need be to the size of the one before it, as when a camera was turned.

        All frames of a stream have one size, and so token maps that can be averaged.
        """
        before = self.newest
        if before is None or before.data.shape == frame.data.shape:
            return frame
        return Frame(letterboxed(frame.data, before.data.shape[:2]), frame.pts_seconds, frame.index)

    def select(self, frame: Frame) -> Selection:
        """Decide whether a frame shows something new (paper section 3.2); ValueError if it is not the next in time."""
        before = self._progress
        if before.newest is not None and frame.pts_seconds <= before.newest.pts_seconds:
            raise ValueError(
                f"frames must come in time order: got {frame.pts_seconds} s after {before.newest.pts_seconds} s"
            )
        selection = self._selector.select(frame)
        self._shown.add(frame)
        self._progress = Progress(
            newest=frame, frames_seen=before.frames_seen + 1, frames_kept=before.frames_kept + selection.kept
        )
        return selection

    def limit_kept(self, per_second: int) -> None:
        """Keep at most so many frames in any second of the stream, fewer than the options allow: a model is behind."""
        self._selector.limit(min(per_second, self.options.max_kept_per_second))

    def encode(self, kept: Sequence[tuple[Frame, bool]]) -> list[EncodedFrame]:
        """Encode kept frames, each with whether it begins a new scene, once and for all.

        Frames whose tokens are infinite, or no numbers, are left out. Raises StreamChatError if the model gives
        something else than tokens.
        """
        tokens = checked_tokens(self.model.encode([frame for frame, _ in kept]), self.model, len(kept))
        encoded = [
            EncodedFrame(frame, token, cut)
            for (frame, cut), token in zip(kept, tokens, strict=True)
            if token is not None
        ]
        if len(encoded) < len(kept):
            log.warning("%d of %d frames are left out: their tokens are unsound", len(kept) - len(encoded), len(kept))
        return encoded

    def remember(self, encoded: Sequence[EncodedFrame]) -> None:
        """Put encoded frames into the memory (paper section 3.3)."""
        for frame in encoded:
            self.memory.remember(frame)

    def describe_next(self, cancel: CancelToken = NEVER) -> bool:
        """Caption the next node of the tree that has none; False if there is none.

        A node whose captioning fails, with whatever the model raises, is tried again after all others. Raises
        CancelledError if `cancel` ends it.
        """
        node = self.memory.next_uncaptioned(self._postponed)
        if node is None and self._postponed:
            self._postponed.clear()
            node = self.memory.next_uncaptioned()
        if node is None:
            return False
        captions = [child.caption for child in node.children if child.caption is not None]
        clip = None if captions else self.memory.clip_of(node)
        try:
            with self.model.scheduler(Priority.CAPTION).slot(Priority.CAPTION, cancel) as token:
                caption = self.model.summarize(captions, token) if clip is None else self.model.caption(clip, token)
            caption = self._with_vector(checked_caption(caption, self.model))
        except Exception:
            self._postponed.add(node.id)
            raise
        self.memory.set_caption(node, caption)
        if clip is not None:
            self._unchecked.append((clip, caption, node.keyframe))
        return True

    def _with_vector(self, caption: Caption) -> Caption:
        """A caption with a sound vector, its own if it has one."""
        if caption.embedding is None:
            return replace(caption, embedding=self._embedder.embed([caption.text])[0])
        return replace(caption, embedding=self._embedder.checked(caption.embedding))

    def check_alerts(self, cancel: CancelToken = NEVER) -> bool:
        """Check what was captioned against the alerts; False if nothing was to be checked.

        What fails is checked again with the next call.
        """
        checked = bool(self._unchecked)
        while self._unchecked:
            self.alerts.check(self.model, *self._unchecked[0], cancel)
            self._unchecked.popleft()
        return checked

    def idle(self, cancel: CancelToken = NEVER) -> bool:
        """Let the model do one unit of background work; False if it has none, or is busy with other things."""
        with self.model.scheduler(Priority.BACKGROUND).free_slot(Priority.BACKGROUND, cancel) as token:
            return token is not None and self.model.idle(token)

    def check_rest(self, cancel: CancelToken = NEVER) -> None:
        """At the end of a stream, check what is no leaf yet against the alerts: no more will come of it."""
        chunk = self.memory.snapshot(math.inf).open_chunk
        if not chunk or not self.alerts.questions:
            return
        span = Span(chunk[0].pts_seconds, chunk[-1].pts_seconds)
        leaf, clip = make_leaf(chunk, span, clusters=self.options.clusters, seed=self.options.seed)
        with self.model.scheduler(Priority.CAPTION).slot(Priority.CAPTION, cancel) as token:
            caption = checked_caption(self.model.caption(clip, token), self.model)
        self.alerts.check(self.model, clip, caption, leaf.keyframe, cancel)

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
        before: Sequence[Frame] = (),
        read_again: Sequence[Frame] = (),
        dropped_frames: int = 0,
        time_budget_seconds: float | None = None,
        on_first_piece: Callable[[], None] | None = None,
        cancel: CancelToken = NEVER,
    ) -> AnswerStream:
        """As `ask`, but the text comes in pieces.

        `newest` is what is on the screen at `at_seconds`, and `before` what was there in the seconds before, one frame
        a second, if the caller knows better than the memory; `read_again` are frames of a stretch before, in time
        order, of which the memory has nothing left (see `MemoryStore.hole_before`).
        With `time_budget_seconds` a model may spend so long on work that it could leave out; the answer is then
        quicker, and not the same every time. `on_first_piece` is called when the first piece comes, or the answer ends
        without one; `cancel` ends the answer with what was said until then. Raises InputError for an empty question,
        and if there is no frame yet.
        """
        check_question(question)
        started = time.perf_counter()
        if at_seconds is None:
            at_seconds = 0.0 if self.newest is None else self.newest.pts_seconds
        if not (math.isfinite(at_seconds) and at_seconds >= 0):
            raise InputError(f"the time of a question must be 0 seconds or more, got {at_seconds}")
        snapshot = self._with(read_again, self.memory.snapshot(at_seconds))
        newest = newest or self._shown_at(at_seconds, snapshot)
        before = before or self.shown_before(newest.pts_seconds)
        context = self._context(question, snapshot, newest, before)
        if not read_again:  # those frames are new to the model, whatever time it takes
            context = replace(context, time_budget_seconds=time_budget_seconds)
        return AnswerStream(self, context, started, dropped_frames, on_first_piece, cancel)

    def _with(self, read_again: Sequence[Frame], snapshot: Snapshot) -> Snapshot:
        """A snapshot with frames that the memory has no more."""
        if not read_again:
            return snapshot
        encoded = tuple(self.encode([(frame, False) for frame in read_again]))
        return replace(
            snapshot, short_term=(*encoded, *snapshot.short_term), open_chunk=(*encoded, *snapshot.open_chunk)
        )

    def _context(self, question: str, snapshot: Snapshot, newest: Frame, before: Sequence[Frame]) -> Context:
        """What is found for a question."""
        return gather(
            snapshot,
            question.strip(),
            self._embedder.embed([question])[0],
            newest,
            embed=self._embedder.embed,
            options=self.options,
            seed=self._seed_of(question, snapshot.until_seconds),
            before=before,
        )

    def record(self, question: str, answer: str, at_seconds: float) -> None:
        """Put a round into the dialogue memory, as if it had just been asked.

        One that cannot be embedded is left out, with a word in the log: the answer has been given.
        """
        try:
            embedding = self._embedder.embed([f"{question} {answer}"])[0]
        except Exception as error:
            log.warning("a round of the dialogue is not remembered: %s: %s", type(error).__name__, error)
            return
        self.memory.dialogue.add(DialogueTurn(question, answer, at_seconds, embedding))

    def forget_last_round(self, question: str | None = None) -> DialogueTurn | None:
        """Take the newest round out of the dialogue, to ask it anew or otherwise; None if nothing was taken out.

        With `question`, only if that is what was asked in it: an answer that failed or said nothing is no round.
        """
        return self.memory.dialogue.forget_last(None if question is None else question.strip())

    def state(self) -> ChatState:
        """All of this chat; also while other threads ingest and caption.

        Frames that are still on their way into the memory are left out, as if they had not come yet.
        """
        memory = self.memory.state()
        progress = self._progress
        if progress.frames_kept != memory.frames:
            progress = as_remembered(memory, progress)
        return ChatState(memory=memory, progress=progress)

    def restore(self, state: ChatState) -> None:
        """Take up another chat with the same model and options; the selector begins anew.

        Raises ValueError if the state does not hold together, or if this chat has begun already.
        """
        if self._progress.newest is not None or self.memory.state().kept:
            raise ValueError("this chat has begun: restore a new one")
        check_progress(state)
        self.memory.restore(state.memory)
        self._progress = state.progress

    def counts(self) -> Counts:
        """What was ingested so far."""
        progress = self._progress
        return Counts(
            frames_seen=progress.frames_seen,
            frames_kept=progress.frames_kept,
            position_seconds=0.0 if progress.newest is None else progress.newest.pts_seconds,
            nodes_by_level=self.memory.nodes_by_level(),
            memory_bytes=self.memory.nbytes,
        )

    def _shown_at(self, at_seconds: float, snapshot: Snapshot) -> Frame:
        """The newest picture of a moment or before, of those that are still at hand; raises InputError without one."""
        latest = self.newest
        if latest is not None and latest.pts_seconds <= at_seconds:
            return latest
        if snapshot.short_term:
            return snapshot.short_term[-1].frame
        for root in reversed(snapshot.roots):
            if root.pictures:
                newest = max(root.pictures, key=lambda one: one.pts_seconds)
                return Frame(picture(newest.jpeg), newest.pts_seconds, 0)
        if latest is None:
            raise InputError("there is no frame yet: start the video before you ask")
        raise InputError(f"the memory holds no picture of {at_seconds:g} s or before: ask about a later moment")

    def _seed_of(self, question: str, at_seconds: float) -> int:
        """A seed of this question's own, so that an answer does not hang on what was asked before."""
        return zlib.crc32(f"{self.options.seed} {at_seconds:.3f} {question}".encode())
