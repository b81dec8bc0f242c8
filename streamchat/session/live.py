"""The live session: ingestion, remembering and answering overlap. The only file that starts threads.

Three threads work on one engine (paper section 3.5): stacking decodes and selects, formation encodes and remembers,
summarization captions what became a node. A question is answered in the caller's own thread, at once, from the memory
as it stands.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence

import torch

from streamchat.channel import Channel
from streamchat.errors import StreamChatError
from streamchat.memory.store import Snapshot
from streamchat.models.scheduler import CancelledError, CancelToken
from streamchat.session.answer import AnswerStream
from streamchat.session.backoff import Failures
from streamchat.session.engine import StreamChat
from streamchat.session.history import History
from streamchat.session.screen import Screen
from streamchat.session.stats import Stats
from streamchat.threads import give_way
from streamchat.types import EncodedFrame, Frame
from streamchat.video.source import LiveSource, RecordedSource, Source

log = logging.getLogger(__name__)

QUEUED_FRAMES = 32  # kept frames that may wait to be encoded before ingestion is held up
MOST_PENDING_CAPTIONS = 24  # nodes without a caption; with more the model is behind
BEHIND_SECONDS = 5.0  # that a reader may lag behind its player
CEILING_STEP_SECONDS = 1.0  # between two changes of how many frames are kept
IDLE_SECONDS = 1.0  # after the last work; then the model is asked once more whether it has any of its own
ENCODE_BATCH = 8  # frames encoded at once when several wait
MOST_ENCODE_TRIES = 6  # with growing pauses, some 15 s in all
JOIN_SECONDS = 60.0  # a thread ends at its next frame, token or keyframe; more than this is a fault
INGEST_PAUSE_SECONDS = 0.5  # that ingestion pauses at most for the first word of an answer
ANSWER_BUDGET_SECONDS = 0.1  # that an answer may spend on work that it could leave out
RATE_FRAMES = 64  # frames that the frame rate is taken over


class LiveSession:
    """One viewer's stream and conversation. `start` it, pace it with `play_until`, `ask` at any time, `close` it.

    An engine that has seen the beginning of the video goes on after it, and so does the history given with it.
    """

    def __init__(self, engine: StreamChat, source: Source, history: History | None = None) -> None:
        self._engine = engine
        self._source = source
        self.history = history or History()
        self._kept: Channel[tuple[Frame, bool]] = Channel(QUEUED_FRAMES)
        self._changed = threading.Condition()  # guards what follows
        self._limit_seconds = 0.0 if isinstance(source, RecordedSource) else math.inf
        self._pauses_begun = 0  # given to questions
        self._paused_until: dict[int, float] = {}  # on the monotonic clock: ingestion pauses until then, for a question
        self._cancel = CancelToken()  # cancelled when the session is closed
        self._remembered = 0  # frames; by it the summarizing thread sees that there may be work
        self._all_encoded = False
        self._error: Exception | None = None
        self._failures = Failures()
        self._given_up = 0  # frames that could not be encoded
        self._times: deque[float] = deque(maxlen=RATE_FRAMES)
        self._ceiling = engine.options.max_kept_per_second
        engine.limit_kept(self._ceiling)  # a session before may have lowered it
        self._ceiling_set = -math.inf  # when, on the monotonic clock
        self._screen = Screen(engine)
        self._threads = [
            threading.Thread(target=self._guarded, args=(work,), name=f"streamchat-{name}", daemon=True)
            for name, work in (
                ("stacking", self._ingest),
                ("formation", self._encode),
                ("summarization", self._caption),
            )
        ]

    def start(self) -> None:
        """Begin to ingest the stream."""
        for thread in self._threads:
            thread.start()

    @property
    def error(self) -> Exception | None:
        """The first error of any thread; the session ingests nothing more after it, but still answers."""
        return self._error

    @property
    def engine(self) -> StreamChat:
        """What the session works on; its memory and its dialogue may be read at any time."""
        return self._engine

    @property
    def duration_seconds(self) -> float | None:
        """How long the video is; None for what does not say it, or has no end."""
        return self._source.duration_seconds if isinstance(self._source, RecordedSource) else None

    def snapshot(self) -> Snapshot:
        """The memory as it stands now."""
        return self._engine.memory.snapshot(math.inf)

    def play_until(self, seconds: float) -> None:
        """Let a video be ingested up to this time of the stream; `math.inf` is all of it, as fast as it can be."""
        with self._changed:
            self._limit_seconds = seconds
            self._changed.notify_all()

    def ask(self, question: str, at_seconds: float | None = None) -> AnswerStream:
        """Answer from the memory as it stood at a moment of the stream, by default now; nothing later is used.

        Ingestion pauses until the first piece comes, or for a moment. May be called from any thread. Raises InputError
        for an empty question, and if a camera sent no frame yet.
        """
        pause = self._pause_ingest()
        try:
            return self._ask(question, at_seconds, on_first_piece=lambda: self._resume_ingest(pause))
        except BaseException:
            self._resume_ingest(pause)
            raise

    def _ask(self, question: str, at_seconds: float | None, on_first_piece: Callable[[], None]) -> AnswerStream:
        newest: Frame | None = None
        before: list[Frame] = []
        read_again: list[Frame] = []
        if at_seconds is None:
            newest = self._engine.newest
            at_seconds = None if newest is None else newest.pts_seconds
        if isinstance(self._source, RecordedSource):
            at_seconds = at_seconds or 0.0
            newest = newest or self._screen.at(self._source, at_seconds)
            before = self._screen.before(self._source, newest.pts_seconds)
            read_again = self._screen.read_again(self._source, at_seconds)
        return self._engine.stream_answer(
            question,
            at_seconds,
            newest=newest,
            before=before,
            read_again=read_again,
            dropped_frames=self._dropped,
            time_budget_seconds=ANSWER_BUDGET_SECONDS,
            on_first_piece=on_first_piece,
            cancel=self._cancel,
        )

    def _pause_ingest(self) -> int:
        """Let ingestion rest for a moment, for the sake of a question; `_resume_ingest` with the number ends that."""
        with self._changed:
            self._pauses_begun += 1
            self._paused_until[self._pauses_begun] = time.monotonic() + INGEST_PAUSE_SECONDS
            return self._pauses_begun

    def _resume_ingest(self, pause: int) -> None:
        """Let ingestion go on, if no other question wants it to rest."""
        with self._changed:
            self._paused_until.pop(pause, None)
            self._changed.notify_all()

    def _wait_for_questions(self) -> None:
        """Wait while a question waits for its first word: on few cores ingestion would double that wait."""
        with self._changed:
            while not self._cancel.cancelled and self._paused_until:
                left = max(self._paused_until.values()) - time.monotonic()
                if left > 0:
                    self._changed.wait(left)
                else:
                    self._paused_until.clear()

    def stats(self) -> Stats:
        """How the session stands now."""
        counts = self._engine.counts()
        with self._changed:
            times, finished = (
                tuple(self._times),
                self._all_encoded and self._error is None and not self._cancel.cancelled,
            )
        elapsed = times[-1] - times[0] if len(times) > 1 else 0.0
        return Stats(
            frames_seen=counts.frames_seen,
            frames_kept=counts.frames_kept,
            frames_dropped=self._dropped,
            frames_queued=len(self._kept),
            frames_per_second=(len(times) - 1) / elapsed if elapsed > 0 else 0.0,
            position_seconds=counts.position_seconds,
            nodes_by_level=counts.nodes_by_level,
            memory_bytes=counts.memory_bytes,
            captions_pending=self._engine.memory.uncaptioned,
            kept_ceiling=self._ceiling,
            degraded=self._failures.reason,
            finished=finished,
            notes=tuple(self._source.notes) if isinstance(self._source, RecordedSource) else (),
        )

    def wait_until(self, reached: Callable[[Stats], bool], timeout_seconds: float) -> bool:
        """Wait until the session stands as wanted; False if that took too long, or an error came first."""
        with self._changed:
            stands = self._changed.wait_for(lambda: self._error is not None or reached(self.stats()), timeout_seconds)
            return stands and self._error is None

    def stop(self) -> None:
        """End the session and its answers, without waiting for its threads."""
        self._cancel.cancel()
        self._notify()
        self._kept.close(discard=True)
        if isinstance(self._source, LiveSource):
            self._source.close()

    def close(self, within_seconds: float = JOIN_SECONDS) -> None:
        """End the session and its answers; no thread of it is left. Raises StreamChatError if one does not end."""
        self.stop()
        deadline = time.monotonic() + within_seconds
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                raise StreamChatError(f"the thread {thread.name} did not end within {within_seconds:.0f} s")

    @property
    def _ending(self) -> bool:
        """Whether nothing more will be remembered."""
        return self._cancel.cancelled or self._all_encoded or self._error is not None

    @property
    def _dropped(self) -> int:
        return self._given_up + (self._source.dropped if isinstance(self._source, LiveSource) else 0)

    def _guarded(self, work: Callable[[], None]) -> None:
        """Run a thread's work; an error of the source is kept for the session to show, and ends the stream."""
        try:
            work()
        except Exception as error:
            log.warning(
                "%s: %s", threading.current_thread().name, error, exc_info=not isinstance(error, StreamChatError)
            )
            with self._changed:
                self._error = self._error or error
            self._kept.close()
        finally:
            with self._changed:
                self._changed.notify_all()

    def _ingest(self) -> None:
        """Decode and select; hand over what is kept."""
        for frame in map(self._engine.in_one_size, self._frames()):
            if not self._allowed(frame.pts_seconds):
                break
            selection = self._engine.select(frame)
            self._times.append(time.monotonic())
            self._screen.add(frame)
            self.history.add(frame, kept=selection.kept, motion=selection.motion, threshold=selection.threshold)
            if selection.kept:
                self._keep_up(frame.pts_seconds)
                if not self._kept.put((frame, selection.cut)):
                    break
            self._notify()
        self._kept.close()  # after an error `_guarded` does it, once the error is there to be seen

    def _keep_up(self, seconds: float) -> None:
        """Keep fewer frames while the model is behind a camera or a player, and more again once it has caught up.

        A video that is ingested at full speed waits for the model instead (see `_captions_lag`).
        """
        now = time.monotonic()
        if now - self._ceiling_set < CEILING_STEP_SECONDS:
            return
        queued, captions = len(self._kept), self._engine.memory.uncaptioned
        late = isinstance(self._source, LiveSource) or BEHIND_SECONDS < self._limit_seconds - seconds < math.inf
        most = self._engine.options.max_kept_per_second
        if late and (queued > QUEUED_FRAMES // 2 or captions > MOST_PENDING_CAPTIONS):
            ceiling = max(1, self._ceiling - 1)
        elif not queued and captions < MOST_PENDING_CAPTIONS // 2:
            ceiling = min(most, self._ceiling + 1)
        else:
            return
        if ceiling != self._ceiling:
            self._ceiling, self._ceiling_set = ceiling, now
            self._engine.limit_kept(ceiling)

    def _frames(self) -> Iterable[Frame]:
        """What the engine has not seen yet: it may have come out of a saved session, in the middle of a video."""
        newest = self._engine.newest
        return self._source.after(newest) if isinstance(self._source, RecordedSource) and newest else self._source

    def _allowed(self, seconds: float) -> bool:
        """Wait until the player has come this far and captions do not lag; False if the session is closing."""
        self._wait_for_questions()
        with self._changed:
            self._changed.wait_for(
                lambda: (
                    self._cancel.cancelled
                    or self._error
                    or (seconds <= self._limit_seconds and not self._captions_lag())
                )
            )
            return not self._cancel.cancelled and self._error is None

    def _captions_lag(self) -> bool:
        """Whether a video that is ingested at full speed must wait for its captions.

        A model that captions from pictures needs those of what has no caption yet, of which few are kept.
        """
        at_full_speed = isinstance(self._source, RecordedSource) and self._limit_seconds == math.inf
        from_pictures = self._engine.model.captions_from_pictures
        lag = self._engine.memory.uncaptioned > MOST_PENDING_CAPTIONS
        return at_full_speed and from_pictures and lag and self._failures.reason is None

    def _encode(self) -> None:
        """Encode what was kept, in batches, and put it into the memory."""
        while kept := self._kept.take(ENCODE_BATCH):
            self._wait_for_questions()
            self._remember(kept)
            with self._changed:
                self._remembered += len(kept)
                self._changed.notify_all()
        with self._changed:
            self._all_encoded = True
            self._changed.notify_all()

    def _remember(self, kept: Sequence[tuple[Frame, bool]]) -> None:
        """Encode and remember frames; those that fail again and again are given up, and the stream goes on."""
        for _ in range(MOST_ENCODE_TRIES):
            if self._tried("Encoding", lambda frames=kept: self._encode_and_remember(frames)):  # type: ignore[misc]
                return
            newest = self._engine.memory.newest_kept
            kept = [one for one in kept if newest is None or one[0].pts_seconds > newest.pts_seconds]
            if self._cancel.cancelled or not kept:
                return
        self._given_up += len(kept)

    def _encode_and_remember(self, kept: Sequence[tuple[Frame, bool]]) -> None:
        encoded = self._encode_in_halves(kept)
        self._engine.remember(encoded)
        self._given_up += len(kept) - len(encoded)

    def _encode_in_halves(self, kept: Sequence[tuple[Frame, bool]]) -> list[EncodedFrame]:
        """Encoded frames; in halves if the memory runs out."""
        try:
            return self._engine.encode(kept)
        except (MemoryError, torch.OutOfMemoryError):
            if len(kept) == 1:
                raise
            half = len(kept) // 2
            return [*self._encode_in_halves(kept[:half]), *self._encode_in_halves(kept[half:])]

    def _tried(self, work: str, do: Callable[[], object]) -> bool:
        """Do something; if it fails, say so, wait for longer than the last time, and return False."""
        try:
            do()
        except CancelledError:
            return False
        except Exception as error:
            pause = self._failures.failed(work, error)
            self._notify()
            self._cancel.wait(pause)
            return False
        self._failures.worked(work)
        return True

    def _caption_one(self) -> bool:
        """One caption, and what is to be checked with it; False if there is nothing to do."""
        more: list[bool] = []
        if not self._tried("Captioning", lambda: more.append(self._engine.describe_next(self._cancel))):
            return True
        if not self._tried("Checking alerts", lambda: more.append(self._engine.check_alerts(self._cancel))):
            return True
        return any(more)

    def _idle(self) -> bool:
        """One unit of the model's background work; False if there is none, or it failed."""
        more: list[bool] = []
        self._tried("Background work", lambda: more.append(self._engine.idle(self._cancel)))
        return any(more)

    def _caption(self) -> None:
        """Caption what became a node, for as long as the stream runs and until all is captioned."""
        give_way()  # captions can wait, frames cannot
        done = -1  # an engine out of a saved session may have nodes without a caption
        rest: float | None = None
        last = False
        while not (self._cancel.cancelled or last):
            with self._changed:
                more = self._changed.wait_for(lambda done=done: self._ending or self._remembered > done, rest)  # type: ignore[misc]
                done, last = self._remembered, self._ending
            while more and not self._cancel.cancelled and self._caption_one():
                self._notify()
            waited = not more and rest == IDLE_SECONDS
            rest = 0.0 if self._idle() else None if waited else IDLE_SECONDS
            self._notify()
        if not self._cancel.cancelled and self._error is None:
            self._tried("Checking alerts", lambda: self._engine.check_rest(self._cancel))
            self._cancel.wait(IDLE_SECONDS)
            while not self._cancel.cancelled and self._idle():
                pass

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()
