"""The online protocol: frames in order, each question at its time, nothing later; the dialogue goes on within a video.

A run that is started again goes on where it was: recorded answers are put back into the dialogue without asking the
model again, and what failed is asked again. What is drawn is keyed by seed, entry and question, so that a resumed run
equals an unbroken one.
"""

from __future__ import annotations

import logging
import time
import uuid
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from evaluation import tracing
from evaluation.methods import Baseline, EncodeCache, begin, check_method
from evaluation.records import BUDGET, Row, RunError, RunFolder, Writer
from evaluation.samples import Benchmark, Question, Sample
from streamchat.embedding import TextEmbedder
from streamchat.errors import InputError, StreamChatError
from streamchat.models.base import Model
from streamchat.options import Options
from streamchat.session.engine import StreamChat, memory_budget
from streamchat.types import Frame
from streamchat.video.sampling import sampled

log = logging.getLogger(__name__)

REPORT_SECONDS = 1.0  # between two positions in a stream
MOST_FAILURES = 3  # of the model in a row: then its server is down, or it cannot answer at all


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One configuration that is run over a benchmark."""

    model: Model
    model_spec: str  # as it was asked for
    method: str
    options: Options
    embedder: TextEmbedder
    show_prompt: Callable[[str], None] | None = None  # gets what the model was given for each question
    budget_bytes: int | None = None  # of each memory, as the processes of a start agreed; None: chosen at the start

    def budget(self, processes: int) -> int | None:
        """The bytes that the memory of a session may take, with so many at once; None for a method without one.

        It is no part of the identity if the options leave it open, so that a run can go on elsewhere. Raises InputError
        if the options ask for less than the model needs.
        """
        if self.method != "memory":
            return None
        return self.budget_bytes or memory_budget(self.model, self.options, processes)

    def identity(self, benchmark: Benchmark) -> dict[str, Any]:
        """What must be the same for a run to be the same."""
        return {
            "benchmark": benchmark.name,
            "data": dict(benchmark.provenance),
            "model": self.model_spec,
            "model_revision": tracing.revision_of(self.model_spec),
            "model_name": self.model.name,
            "method": self.method,
            "preset": self.options.preset_name,
            "as_in_paper": self.method == "memory" and self.options.as_in_paper,
            "options": asdict(self.options),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a run is; comes with every answer, and about once a second while a video is ingested."""

    answered: int
    failed: int  # of those
    questions: int  # of this process's share
    video: str
    seconds: float  # of the stream, ingested
    row: Row | None = None  # the answer that just came, or was recorded


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """Which part of the work is this process's."""

    rank: int = 0
    of: int = 1
    start: str = field(default_factory=lambda: uuid.uuid4().hex)  # the same for all processes of one start


def answers(
    run: Run,
    benchmark: Benchmark,
    folder: RunFolder,
    *,
    share: Share | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> Iterator[Progress]:
    """Answer what is not answered yet; recorded answers come too. Work is done while the next progress is asked for.

    Ends when all is answered, or after `stopped`. Videos of which a question failed before come last, so that they do
    not keep others waiting. Raises InputError if there is nothing to ask, or if the folder holds another run or another
    start writes to it; StreamChatError if the model failed several times in a row, or the disk takes no more.
    """
    check_method(run.method)
    share = share or Share()
    run = replace(run, budget_bytes=run.budget(share.of))
    begin_folder(run, benchmark, folder)
    samples = [sample for number, sample in enumerate(benchmark.samples()) if number % share.of == share.rank]
    total = sum(len(sample.questions) for sample in samples)
    with folder.held(share.start), folder.writer(share.rank) as writer:
        if share.rank == 0:
            folder.add_start({**tracing.start(share.of), BUDGET: run.budget_bytes})
        recorded = {row["id"]: row for row in folder.rows()}
        failed_before = {row["entry"] for row in recorded.values() if row["error"] is not None}
        done = {name: row for name, row in recorded.items() if row["error"] is None}
        player = _Player(run, benchmark, done, writer, stopped)
        answered = failed = 0
        for sample in sorted(samples, key=lambda sample: sample.entry in failed_before):
            for found in player.play(sample):
                if isinstance(found, dict):
                    answered += 1
                    failed += found["error"] is not None
                row, seconds = (found, found["asked_at_seconds"]) if isinstance(found, dict) else (None, found)
                yield Progress(
                    answered=answered, failed=failed, questions=total, video=sample.video, seconds=seconds, row=row
                )
            if stopped():
                return


def begin_folder(run: Run, benchmark: Benchmark, folder: RunFolder) -> None:
    """Make a run's folder, or check that it is this run's; InputError if it is not, or if there is nothing to ask."""
    if not any(sample.questions for sample in benchmark.samples()):
        raise InputError(f"{benchmark.name} has no sound question to ask: `validate` lists what is wrong with its file")
    folder.begin(run.identity(benchmark), tracing.about(benchmark))


def question_id(sample: Sample, question: Question) -> str:
    """What distinguishes a question from all others, repeats included."""
    return f"{sample.entry}-{question.index}"


class _Player:
    """Plays samples one after the other, and writes what comes of them."""

    def __init__(
        self, run: Run, benchmark: Benchmark, done: Mapping[str, Row], writer: Writer, stopped: Callable[[], bool]
    ) -> None:
        self._run = run
        self._benchmark = benchmark
        self._done = done
        self._writer = writer
        self._stopped = stopped
        self._failures = 0  # of the model in a row

    def play(self, sample: Sample) -> Iterator[Row | float]:
        """The rows of a sample in time order, those recorded and those written now; and now and then the position."""
        known = {question.index: self._done.get(question_id(sample, question)) for question in sample.questions}
        if all(known.values()):
            yield from (row for row in known.values() if row)
            return
        left = list(sample.questions)
        try:
            yield from self._played(sample, known, left)
        except RunError:
            raise
        except Exception as error:  # a video that cannot be read, or a frame that the model cannot encode
            _log(sample, error)
            for question in left:
                row = known[question.index] or _row(sample, question, question.time_seconds, error=_message(error))
                if known[question.index] is None:
                    self._writer.write(row)
                yield row
            if isinstance(error, _IngestError):
                self._count(error.__cause__)

    def _played(self, sample: Sample, known: Mapping[int, Row | None], left: list[Question]) -> Iterator[Row | float]:
        """Play a sample's video and ask its questions at their times, or put back the answers that were recorded.

        Gives the rows, and about once a second the position in the stream; takes from `left` what was asked.
        """
        run = self._run
        seed = zlib.crc32(f"{run.options.seed} {sample.entry}".encode())
        options = replace(run.options, seed=seed, memory_bytes=run.budget_bytes)
        model = EncodeCache(run.model) if self._benchmark.repeats_pictures else run.model
        session = begin(run.method, model, options, run.embedder)
        video = self._benchmark.open(sample, max_side=options.max_side)
        meter = _Meter(video.duration_seconds)
        for frame in sampled(video, options.read_per_second):
            while left and left[0].time_seconds < frame.pts_seconds:
                question = left.pop(0)
                yield self._row_of(session, sample, question, question.time_seconds, known[question.index], meter)
            if self._stopped():
                return
            if not left:
                break  # nothing later can matter
            meter.ingest(session, frame)
            if meter.is_time_to_report():
                yield frame.pts_seconds
                meter.pause()
        while left:
            question = left.pop(0)
            at_seconds = min(question.time_seconds, meter.end_seconds)
            yield self._row_of(session, sample, question, at_seconds, known[question.index], meter)

    def _row_of(
        self,
        session: StreamChat | Baseline,
        sample: Sample,
        question: Question,
        at_seconds: float,
        recorded: Row | None,
        meter: _Meter,
    ) -> Row:
        """The recorded row, put back into the dialogue; or a new one, of an answer or of the model's failure."""
        if recorded is not None:
            if recorded["answer"]:
                session.record(question.text, recorded["answer"], recorded["asked_at_seconds"])
            meter.pause()
            return recorded
        failure: Exception | None = None
        try:
            row = _asked(session, sample, question, at_seconds, meter, self._run.show_prompt)
        except Exception as error:  # this question only: the next one may be answered
            _log(sample, error)
            failure = error
            row = _row(sample, question, at_seconds, error=_message(error))
        meter.pause()
        self._writer.write(row)
        if not isinstance(failure, InputError):  # such as a question before the first frame: not the model's fault
            self._count(failure)
        return row

    def _count(self, failure: BaseException | None) -> None:
        """Note whether the model failed or answered; RunError if it failed too often in a row."""
        self._failures = self._failures + 1 if failure else 0
        if failure and self._failures >= MOST_FAILURES:
            raise RunError(
                f"the model failed {MOST_FAILURES} times in a row, lastly: {_message(failure)}. What was answered is "
                "kept; mend that, and the same command goes on from here"
            )


class _IngestError(Exception):
    """The model failed at a frame, by what is the cause of this."""


class _Meter:
    """Counts frames and the time of taking them in, decoding left out of neither."""

    def __init__(self, video_seconds: float | None) -> None:
        self.video_seconds = video_seconds
        self.seen = 0
        self.kept = 0
        self.end_seconds = 0.0
        self.seconds = 0.0
        self._since = self._reported_seconds = time.perf_counter()

    def ingest(self, session: StreamChat | Baseline, frame: Frame) -> None:
        """Show a frame to a session; _TakingInError if it fails."""
        try:
            self.kept += session.push(frame)
        except Exception as error:
            raise _IngestError from error
        self.seen += 1
        self.end_seconds = frame.pts_seconds
        now = time.perf_counter()
        self.seconds += now - self._since
        self._since = now

    def is_time_to_report(self) -> bool:
        """Whether nothing was reported for a while."""
        if self._since - self._reported_seconds < REPORT_SECONDS:
            return False
        self._reported_seconds = self._since
        return True

    def pause(self) -> None:
        """What happened since the last frame was no ingestion."""
        self._since = time.perf_counter()


def _asked(
    session: StreamChat | Baseline,
    sample: Sample,
    question: Question,
    at_seconds: float,
    meter: _Meter,
    show_prompt: Callable[[str], None] | None,
) -> Row:
    """The row of an answer; raises whatever the model raises."""
    stream = session.stream_answer(question.text, at_seconds)
    for _ in stream:
        pass
    if show_prompt is not None:
        show_prompt(stream.shown_prompt)
    answer = stream.answer
    return _row(
        sample,
        question,
        at_seconds,
        answer=answer.text,
        evidence=[[*moment.span, moment.caption] for moment in answer.evidence],
        timing={name: round(value, 4) for name, value in asdict(answer.timing).items()},
        pictures=len(answer.given.pictures),
        given=answer.given.as_json(),
        frames_seen=meter.seen,
        frames_kept=meter.kept,
        ingest_seconds=round(meter.seconds, 3),
        video_seconds=meter.video_seconds,
        past_the_end=question.time_seconds > (meter.video_seconds or meter.end_seconds),
    )


def _log(sample: Sample, error: Exception) -> None:
    """Show where a failure came from that no one has foreseen; the others say what they are in their row."""
    cause = error.__cause__ if isinstance(error, _IngestError) else error
    if not isinstance(cause, StreamChatError):
        log.error("entry %d (%s) failed", sample.entry, sample.video, exc_info=cause)


def _message(error: BaseException) -> str:
    if isinstance(error, _IngestError) and error.__cause__ is not None:
        error = error.__cause__
    return str(error) if isinstance(error, StreamChatError) else f"{type(error).__name__}: {error}"


def _row(sample: Sample, question: Question, at_seconds: float, **more: Any) -> Row:
    """One line of the answers."""
    row: Row = {
        "id": question_id(sample, question),
        "entry": sample.entry,
        "index": question.index,
        "video": sample.video,
        "domain": sample.domain,
        "topic": sample.topic,
        "kind": question.kind,
        "time_seconds": question.time_seconds,
        "asked_at_seconds": at_seconds,
        "past_the_end": False,
        "question": question.text,
        "reference": question.reference,
        "reference_span": None if question.reference_span is None else list(question.reference_span),
        "answer": "",
        "error": None,
    }
    return row | more
