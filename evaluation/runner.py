"""The online protocol: frames in order, each question at its time, nothing later; the dialogue goes on within a video.

A run that is started again goes on where it was: recorded answers are put back into the dialogue without asking the
model again. What is drawn is keyed by seed, entry and question, so that a resumed run equals an unbroken one.
"""

from __future__ import annotations

import logging
import platform
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from evaluation.methods import Baseline, SeenOnce, begin, check_method
from evaluation.records import Row, RunFolder, Writer
from evaluation.samples import Benchmark, Question, Sample
from streamchat.checkpoints.stored import cached
from streamchat.config import Options
from streamchat.embedding import TextEmbedder
from streamchat.engine import StreamChat
from streamchat.errors import StreamChatError
from streamchat.models import HUB_NAME
from streamchat.models.base import Model

log = logging.getLogger(__name__)

TELL_SECONDS = 1.0  # between two positions in a stream
PACKAGES = {"torch", "transformers", "gradio", "av", "decord", "decord2", "opencv-python-headless", "onnxruntime"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One configuration that is run over a benchmark."""

    model: Model
    model_spec: str  # as it was asked for
    method: str
    preset: str
    options: Options
    embedder: TextEmbedder

    def identity(self, benchmark: Benchmark) -> dict[str, Any]:
        """What must be the same for a run to be the same."""
        return {
            "benchmark": benchmark.name,
            "data": dict(benchmark.provenance),
            "model": self.model_spec,
            "model_revision": revision_of(self.model_spec),
            "model_name": self.model.name,
            "method": self.method,
            "preset": self.preset,
            "options": asdict(self.options),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a run is; comes with every answer, and about once a second while a video is taken in."""

    answered: int
    failed: int  # of those
    questions: int  # of this process's share
    video: str
    seconds: float  # of the stream, taken in
    row: Row | None = None  # the answer that just came, or was recorded


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """Which part of the work is this process's."""

    rank: int = 0
    of: int = 1


def answers(
    run: Run,
    benchmark: Benchmark,
    folder: RunFolder,
    *,
    share: Share = Share(),
    stopped: Callable[[], bool] = lambda: False,
) -> Iterator[Progress]:
    """Answer what is not answered yet; recorded answers come too. Work is done while the next progress is asked for.

    Ends when all is answered, or after `stopped`. Raises InputError if the folder holds another run, or another process
    writes to it.
    """
    check_method(run.method)
    folder.begin(run.identity(benchmark), about(benchmark))
    samples = [sample for number, sample in enumerate(benchmark.samples()) if number % share.of == share.rank]
    total = sum(len(sample.questions) for sample in samples)
    with folder.writer(share.rank) as writer:
        done = {row["id"]: row for row in folder.rows()}
        answered = failed = 0
        for sample in samples:
            for found in _answers(run, benchmark, sample, done, writer, stopped):
                if isinstance(found, dict):
                    answered += 1
                    failed += found["error"] is not None
                row, seconds = (found, found["asked_at_seconds"]) if isinstance(found, dict) else (None, found)
                yield Progress(
                    answered=answered, failed=failed, questions=total, video=sample.video, seconds=seconds, row=row
                )
            if stopped():
                return


def revision_of(spec: str) -> str | None:
    """The commit of a model that was downloaded from the Hub; None for every other one."""
    folder = None if Path(spec).is_dir() or not HUB_NAME.fullmatch(spec) else cached(spec)
    return folder.name if folder else None


def about(benchmark: Benchmark) -> dict[str, Any]:
    """Where and with what a run was made."""
    return {
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "python": platform.python_version(),
        "machine": {"system": platform.platform(), "processor": platform.processor() or platform.machine()},
        "versions": {one.name: one.version for one in distributions() if one.name in PACKAGES},
        "questions": sum(len(sample.questions) for sample in benchmark.samples()),
    }


def question_id(sample: Sample, question: Question) -> str:
    """What tells a question from all others, repeats included."""
    return f"{sample.entry}-{question.index}"


def _answers(
    run: Run,
    benchmark: Benchmark,
    sample: Sample,
    done: Mapping[str, Row],
    writer: Writer,
    stopped: Callable[[], bool],
) -> Iterator[Row | float]:
    """The rows of a sample in time order, those recorded and those written now; and now and then the position."""
    recorded = {question.index: done.get(question_id(sample, question)) for question in sample.questions}
    if all(recorded.values()):
        yield from (row for row in recorded.values() if row)
        return
    try:
        for found in _played(run, benchmark, sample, recorded, stopped):
            if isinstance(found, dict) and recorded[found["index"]] is None:
                writer.write(found)
                recorded[found["index"]] = found
            yield found
    except Exception as error:  # a video that cannot be read, or a model that fails, must not end the run
        if not isinstance(error, StreamChatError):
            log.error("entry %d (%s) failed", sample.entry, sample.video, exc_info=True)
        for question in sample.questions:
            if recorded[question.index] is None:
                row = _row(sample, question, question.time_seconds, error=_said(error))
                writer.write(row)
                yield row


def _played(
    run: Run,
    benchmark: Benchmark,
    sample: Sample,
    recorded: Mapping[int, Row | None],
    stopped: Callable[[], bool],
) -> Iterator[Row | float]:
    """Play a sample's video and ask its questions at their times, or put back the answers that were recorded.

    Gives the rows, and about once a second the position in the stream.
    """
    options = replace(run.options, seed=zlib.crc32(f"{run.options.seed} {sample.entry}".encode()))
    model = SeenOnce(run.model) if benchmark.repeats_pictures else run.model
    session = begin(run.method, model, options, run.embedder)
    waiting = list(sample.questions)
    video = benchmark.open(sample, max_side=options.max_side)
    meter = _Meter(video.duration_seconds)
    for frame in video:
        while waiting and waiting[0].time_seconds < frame.pts_seconds:
            question = waiting.pop(0)
            yield _asked(session, sample, question, question.time_seconds, recorded[question.index], meter)
        if stopped():
            return
        if not waiting:
            break  # nothing later can matter
        meter.take_in(session, frame)
        if meter.is_time_to_tell():
            yield frame.pts_seconds
            meter.skip()
    for question in waiting:
        at_seconds = min(question.time_seconds, meter.end_seconds)
        yield _asked(session, sample, question, at_seconds, recorded[question.index], meter)


class _Meter:
    """Counts frames and the time of taking them in, decoding left out of neither."""

    def __init__(self, video_seconds: float | None) -> None:
        self.video_seconds = video_seconds
        self.seen = 0
        self.kept = 0
        self.end_seconds = 0.0
        self.seconds = 0.0
        self._since = self._told = time.perf_counter()

    def take_in(self, session: StreamChat | Baseline, frame: Any) -> None:
        """Show a frame to a session."""
        self.kept += session.push(frame)
        self.seen += 1
        self.end_seconds = frame.pts_seconds
        now = time.perf_counter()
        self.seconds += now - self._since
        self._since = now

    def is_time_to_tell(self) -> bool:
        """Whether nothing was told for a while."""
        if self._since - self._told < TELL_SECONDS:
            return False
        self._told = self._since
        return True

    def skip(self) -> None:
        """What happened since the last frame was no taking in."""
        self._since = time.perf_counter()


def _asked(
    session: StreamChat | Baseline,
    sample: Sample,
    question: Question,
    at_seconds: float,
    recorded: Row | None,
    meter: _Meter,
) -> Row:
    if recorded is not None:
        if recorded["answer"]:
            session.record(question.text, recorded["answer"], recorded["asked_at_seconds"])
        meter.skip()
        return recorded
    stream = session.stream_answer(question.text, at_seconds)
    for _ in stream:
        pass
    answer = stream.answer
    meter.skip()
    return _row(
        sample,
        question,
        at_seconds,
        answer=answer.text,
        evidence=[[*moment.span, moment.caption] for moment in answer.evidence],
        timing={name: round(value, 4) for name, value in asdict(answer.timing).items()},
        pictures=stream.pictures,
        frames_seen=meter.seen,
        frames_kept=meter.kept,
        take_in_seconds=round(meter.seconds, 3),
        video_seconds=meter.video_seconds,
    )


def _said(error: Exception) -> str:
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
        "past_the_end": at_seconds < question.time_seconds,
        "question": question.text,
        "reference": question.reference,
        "answer": "",
        "error": None,
    }
    return row | more
