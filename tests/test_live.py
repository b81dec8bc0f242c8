"""The live session: overlap, pacing, errors of every stage, and no thread left behind."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Generator, Iterator, Sequence

import numpy as np
import pytest
import torch
import videos
from conftest import WordEmbedder, picture

from streamchat.models.base import visuals_of
from streamchat.models.fake import FakeModel
from streamchat.models.scheduler import CancelToken
from streamchat.options import Options
from streamchat.session import live
from streamchat.session.engine import StreamChat
from streamchat.session.live import LiveSession
from streamchat.types import Caption, Clip, Context, Evidence, Frame
from streamchat.video.camera import PushSource
from streamchat.video.file import VideoFile, open_video

OPTIONS = Options(chunk_frames=5, group_nodes=3, clusters=2)
WAIT_SECONDS = 60.0


@pytest.fixture
def video() -> VideoFile:
    return open_video(videos.bikes())


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    yield
    assert [t.name for t in threading.enumerate() if t.name.startswith("streamchat")] == []


def session_of(source: VideoFile | PushSource, model: FakeModel | None = None) -> LiveSession:
    return LiveSession(StreamChat(model or FakeModel(), OPTIONS, WordEmbedder()), source)


def test_a_video_is_ingested_whole_and_a_question_means_its_end(video: VideoFile) -> None:
    session = session_of(video)
    session.start()
    session.play_until(math.inf)
    assert session.wait_until(lambda stats: stats.finished and not stats.captions_pending, WAIT_SECONDS)
    stats = session.stats()
    assert stats.frames_seen == 250
    assert 5 <= stats.frames_kept <= 50
    assert stats.nodes_by_level[0] >= 2
    stream = session.ask("What is shown?")
    assert "What is shown?" in "".join(stream)
    assert stream.answer.asked_at_seconds == pytest.approx(9.96, abs=0.05)
    session.close()


def test_the_live_session_remembers_what_the_engine_remembers(video: VideoFile) -> None:
    session = session_of(video)
    session.start()
    session.play_until(math.inf)
    assert session.wait_until(lambda stats: stats.finished and not stats.captions_pending, WAIT_SECONDS)
    chat = StreamChat(FakeModel(), OPTIONS, WordEmbedder())
    for frame in video:
        chat.push(frame)
    assert session.stats().nodes_by_level == chat.counts().nodes_by_level
    assert "".join(session.ask("What?")) == "".join(chat.stream_answer("What?"))
    session.close()


def test_every_kept_frame_is_encoded_once_and_handed_on_without_a_copy(video: VideoFile) -> None:
    class Counting(FakeModel):
        encoded: list[Frame] = []  # noqa: RUF012 - of one test

        def encode(self, frames: Sequence[Frame]) -> torch.Tensor:
            self.encoded += frames
            return super().encode(frames)

    session = session_of(video, Counting())
    session.start()
    session.play_until(math.inf)
    assert session.wait_until(lambda stats: stats.finished and not stats.captions_pending, WAIT_SECONDS)
    assert len(Counting.encoded) == session.stats().frames_kept
    kept = session.snapshot().short_term
    assert kept
    assert all(any(frame.frame is seen for seen in Counting.encoded) for frame in kept)
    session.close()


def test_while_a_video_is_paused_the_model_does_its_own_work_until_there_is_no_more(video: VideoFile) -> None:
    class Idler(FakeModel):
        left = 5

        def idle(self, cancel: CancelToken) -> bool:
            cancel.check()
            self.left -= self.left > 0
            return self.left > 0

    model = Idler()
    session = session_of(video, model)
    session.start()
    session.play_until(0.8)
    assert session.wait_until(lambda stats: stats.position_seconds > 0.7 and not model.left, WAIT_SECONDS)
    session.close()


def test_the_reader_waits_for_the_player(video: VideoFile) -> None:
    session = session_of(video)
    session.start()
    assert session.wait_until(lambda stats: stats.frames_seen == 1, WAIT_SECONDS)
    session.play_until(2.0)
    assert session.wait_until(lambda stats: stats.position_seconds >= 1.95, WAIT_SECONDS)
    assert session.stats().position_seconds <= 2.0
    assert not session.stats().finished
    session.close()


def test_asking_before_anything_was_played_is_about_the_first_frame(video: VideoFile) -> None:
    session = session_of(video)
    stream = session.ask("What is shown?")
    assert "".join(stream)
    assert stream.answer.asked_at_seconds == 0.0
    session.close()


def test_a_question_about_earlier_uses_nothing_later(video: VideoFile) -> None:
    contexts: list[Context] = []

    class Recorder(FakeModel):
        def answer(self, context: Context, cancel: CancelToken) -> Generator[str | Evidence, None, None]:
            contexts.append(context)
            return super().answer(context, cancel)

    session = session_of(video, Recorder())
    session.start()
    session.play_until(math.inf)
    assert session.wait_until(lambda stats: stats.finished, WAIT_SECONDS)
    assert list(session.ask("What is shown?", 4.0))
    (context,) = contexts
    assert 3.9 < context.newest.pts_seconds <= 4.0
    assert all(visual.span.end <= 4.0 for visual in visuals_of(context))
    assert all(one.span.end <= 4.0 for one in context.captions)
    session.close()


def test_what_the_memory_of_a_past_moment_lacks_is_read_again(video: VideoFile) -> None:
    contexts: list[Context] = []

    class Recorder(FakeModel):
        def answer(self, context: Context, cancel: CancelToken) -> Generator[str | Evidence, None, None]:
            contexts.append(context)
            return super().answer(context, cancel)

    options = Options(chunk_frames=2, short_term_frames=2, short_term_samples=2, clusters=2, selector="uniform")
    session = LiveSession(StreamChat(Recorder(), options, WordEmbedder()), video)
    session.start()
    session.play_until(math.inf)
    assert session.wait_until(lambda stats: stats.finished, WAIT_SECONDS)
    assert list(session.ask("What is shown?", 1.5))
    (context,) = contexts
    assert context.open_clip is not None
    assert context.open_clip.span.start == 0.0
    assert all(visual.span.end <= 1.5 for visual in visuals_of(context))
    assert len(visuals_of(context)) >= 3
    session.close()


def test_a_question_is_answered_while_a_caption_is_being_made(video: VideoFile) -> None:
    captioning, go_on = threading.Event(), threading.Event()

    class Slow(FakeModel):
        def caption(self, clip: Clip, cancel: CancelToken) -> Caption:
            captioning.set()
            while not go_on.wait(0.01):  # one token after the other
                cancel.check()
            return super().caption(clip, cancel)

    session = session_of(video, Slow())
    session.start()
    session.play_until(math.inf)
    assert captioning.wait(WAIT_SECONDS)
    assert "".join(session.ask("What is shown?"))
    assert session.wait_until(lambda stats: stats.finished, WAIT_SECONDS)  # frames went on being ingested
    assert session.stats().captions_pending
    go_on.set()
    session.close()


class TestClosing:
    def test_before_the_start(self, video: VideoFile) -> None:
        session_of(video).close()

    def test_while_the_reader_waits_for_the_player_and_twice(self, video: VideoFile) -> None:
        session = session_of(video)
        session.start()
        session.close()
        session.close()

    def test_in_the_middle_of_ingesting(self, video: VideoFile) -> None:
        session = session_of(video)
        session.start()
        session.play_until(math.inf)
        assert session.wait_until(lambda stats: stats.frames_seen > 20, WAIT_SECONDS)
        session.close()

    def test_a_camera_that_sends_nothing(self) -> None:
        session = session_of(PushSource())
        session.start()
        session.close()


class TestMakingWay:
    """Ingestion pauses while a question waits for its first word."""

    def test_no_frame_is_ingested_before_the_first_word(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(live, "INGEST_PAUSE_SECONDS", WAIT_SECONDS)
        order: list[str] = []

        class Noting(FakeModel):
            def answer(self, context: Context, cancel: CancelToken) -> Generator[str | Evidence, None, None]:
                threading.Event().wait(0.05)  # time for a frame to come in between, if it could
                order.append("answer")
                yield from super().answer(context, cancel)

        source = PushSource()
        session = session_of(source, Noting())
        session.history.add = lambda frame, **_: order.append(f"frame {frame.index}")  # type: ignore[method-assign]
        session.start()
        source.push(picture(0), 0.0)
        assert session.wait_until(lambda stats: stats.frames_seen == 1, WAIT_SECONDS)
        stream = session.ask("What is shown?")
        source.push(picture(200), 1.0)
        assert "".join(stream)
        assert session.wait_until(lambda stats: stats.frames_seen == 2, WAIT_SECONDS)
        session.close()
        assert order == ["frame 0", "answer", "frame 1"]

    def test_an_answer_that_nobody_reads_holds_up_nothing_for_long(self) -> None:
        source = PushSource()
        session = session_of(source)
        session.start()
        source.push(picture(0), 0.0)
        assert session.wait_until(lambda stats: stats.frames_seen == 1, WAIT_SECONDS)
        session.ask("What is shown?")
        source.push(picture(200), 1.0)
        assert session.wait_until(lambda stats: stats.frames_seen == 2, WAIT_SECONDS)
        session.close()


def test_a_live_stream_that_is_too_fast_drops_and_counts() -> None:
    entered, go_on = threading.Event(), threading.Event()

    class Stuck(FakeModel):
        def encode(self, frames: Sequence[Frame]) -> torch.Tensor:
            entered.set()
            go_on.wait(WAIT_SECONDS)
            return super().encode(frames)

    source = PushSource(capacity=4)
    session = LiveSession(
        StreamChat(Stuck(), Options(max_kept_per_second=100, motion_threshold=0.0), WordEmbedder()), source
    )
    session.start()
    rng = np.random.default_rng(0)
    for index in range(200):
        source.push(rng.integers(0, 255, (48, 64, 3), dtype=np.uint8), index / 10)
    assert entered.wait(WAIT_SECONDS)
    assert session.stats().frames_dropped > 0
    go_on.set()
    session.close()


def test_one_question_does_not_end_the_rest_that_another_waits_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "INGEST_PAUSE_SECONDS", WAIT_SECONDS)
    source = PushSource()
    session = session_of(source)
    session.start()
    source.push(picture(0), 0.0)
    assert session.wait_until(lambda stats: stats.frames_seen == 1, WAIT_SECONDS)
    first, second = session.ask("What is shown?"), session.ask("What was shown?")
    assert "".join(first)
    source.push(picture(200), 1.0)
    assert not session.wait_until(lambda stats: stats.frames_seen == 2, 0.2)
    assert "".join(second)
    assert session.wait_until(lambda stats: stats.frames_seen == 2, WAIT_SECONDS)
    session.close()


class BlockedModel(FakeModel):
    """Encodes only while it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.may = threading.Event()

    def encode(self, frames: Sequence[Frame]) -> torch.Tensor:
        assert self.may.wait(WAIT_SECONDS)
        return super().encode(frames)


def test_fewer_frames_are_kept_while_the_model_is_behind_a_camera_and_more_again_after(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("streamchat.session.live.CEILING_STEP_SECONDS", 0.0)
    model, source = BlockedModel(), PushSource(capacity=10_000)
    session = session_of(source, model)
    session.start()
    rng = np.random.default_rng(0)

    def video(start: int, count: int) -> None:
        for number in range(start, start + count):
            source.push(rng.integers(0, 255, (36, 64, 3), np.uint8), number / 10)

    video(0, 400)
    assert session.wait_until(lambda stats: stats.kept_ceiling == 1, WAIT_SECONDS)
    model.may.set()
    video(400, 4000)
    assert session.wait_until(lambda stats: stats.kept_ceiling == OPTIONS.max_kept_per_second, WAIT_SECONDS)
    session.close()


def test_a_video_at_full_speed_waits_for_the_model_and_loses_nothing(
    video: VideoFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "QUEUED_FRAMES", 4)
    monkeypatch.setattr(live, "CEILING_STEP_SECONDS", 0.0)
    alone = StreamChat(FakeModel(), OPTIONS, WordEmbedder())
    kept = sum(alone.push(frame) for frame in video)
    model = BlockedModel()
    session = session_of(video, model)
    session.start()
    session.play_until(math.inf)
    assert session.wait_until(lambda stats: stats.frames_queued == 4, WAIT_SECONDS)
    assert session.stats().kept_ceiling == OPTIONS.max_kept_per_second, "nothing is left out while it waits"
    model.may.set()
    assert session.wait_until(lambda stats: stats.finished, WAIT_SECONDS)
    assert session.stats().frames_seen == 250
    assert session.stats().frames_kept == kept
    session.close()


class SlowCaptioner(FakeModel):
    """Captions from pictures, and only while it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.captions_from_pictures = True
        self.may = threading.Event()

    def caption(self, clip: Clip, cancel: CancelToken) -> Caption:
        assert self.may.wait(WAIT_SECONDS)
        return super().caption(clip, cancel)


def test_a_video_at_full_speed_waits_for_captions_that_are_made_from_pictures(
    video: VideoFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "MOST_PENDING_CAPTIONS", 2)
    model = SlowCaptioner()
    model.captions_from_pictures = False
    free = session_of(video, model)  # which shows how long it takes when nothing waits
    started = time.monotonic()
    free.start()
    free.play_until(math.inf)
    assert free.wait_until(lambda stats: stats.finished, WAIT_SECONDS)
    seconds = time.monotonic() - started
    model.may.set()
    free.close()
    model = SlowCaptioner()
    session = session_of(video, model)
    session.start()
    session.play_until(math.inf)
    assert session.wait_until(lambda stats: stats.captions_pending > 2, WAIT_SECONDS)
    assert not session.wait_until(lambda stats: stats.finished, 3 * seconds)
    assert session.stats().frames_seen < 250
    model.may.set()
    assert session.wait_until(lambda stats: stats.finished and not stats.captions_pending, WAIT_SECONDS)
    assert session.stats().frames_seen == 250
    session.close()
