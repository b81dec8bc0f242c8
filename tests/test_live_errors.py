"""What fails in a live session: a source ends it, and all else is tried again while the stream goes on."""

from __future__ import annotations

import math
import threading
from collections.abc import Generator, Sequence
from typing import ClassVar

import pytest
import torch
from conftest import WordEmbedder, encoded, picture
from test_live import OPTIONS, WAIT_SECONDS, session_of, video

from streamchat.errors import InputError, StreamChatError
from streamchat.memory.forest import every_node
from streamchat.models.fake import FakeModel
from streamchat.models.scheduler import CancelToken
from streamchat.session import backoff, live
from streamchat.session.engine import StreamChat
from streamchat.types import Caption, Clip, Context, EncodedFrame, Evidence, Frame
from streamchat.video.camera import PushSource
from streamchat.video.file import VideoFile

__all__ = ["video"]  # a fixture


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(backoff, "MOST_PAUSE_SECONDS", 0.05)


class TestErrors:
    def test_of_reading_surface_and_what_was_seen_can_be_asked_about(self) -> None:
        source = PushSource()
        session = session_of(source)
        session.start()
        source.push(picture(100, 48, 64), 0.0)
        assert session.wait_until(lambda stats: stats.frames_seen == 1, WAIT_SECONDS)
        source.close(OSError("the camera is gone"))
        assert not session.wait_until(lambda stats: stats.finished, WAIT_SECONDS)
        assert "the camera is gone" in str(session.error)
        assert "".join(session.ask("What is shown?"))
        session.close()

    def test_of_encoding_are_tried_again_until_it_works(self, video: VideoFile) -> None:
        class Failing(FakeModel):
            failures = 3

            def encode(self, frames: Sequence[Frame]) -> torch.Tensor:
                if self.failures:
                    self.failures -= 1
                    raise RuntimeError("the device is gone")
                return super().encode(frames)

        session = session_of(video, Failing())
        session.start()
        session.play_until(math.inf)
        assert session.wait_until(lambda stats: stats.degraded is not None, WAIT_SECONDS)
        assert session.wait_until(lambda stats: stats.finished and not stats.captions_pending, WAIT_SECONDS)
        stats = session.stats()
        assert stats.degraded is None
        assert stats.frames_dropped == 0
        assert session.engine.memory.state().frames == stats.frames_kept
        session.close()

    def test_half_way_through_a_batch_remember_nothing_twice(
        self, video: VideoFile, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        session = session_of(video)
        memory = session.engine.memory
        remember, times = memory.remember, list[float]()

        def failing(frame: EncodedFrame) -> None:
            if len(times) == 2:
                times.append(-1.0)
                raise RuntimeError("no room for it")
            times.append(frame.pts_seconds)
            remember(frame)

        monkeypatch.setattr(memory, "remember", failing)
        frames = [(frame, False) for frame, _ in zip(video, range(5), strict=False)]
        session._remember(frames)
        times.remove(-1.0)
        assert times == [frame.pts_seconds for frame, _ in frames]
        assert session.stats().degraded is None

    def test_of_captions_from_pictures_do_not_hold_up_a_video_for_ever(
        self, video: VideoFile, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Never(FakeModel):
            captions_from_pictures = True

            def caption(self, clip: Clip, cancel: CancelToken) -> Caption:
                raise RuntimeError("no words")

        monkeypatch.setattr(live, "MOST_PENDING_CAPTIONS", 2)
        session = session_of(video, Never())
        session.start()
        session.play_until(math.inf)
        assert session.wait_until(lambda stats: stats.frames_seen == 250, WAIT_SECONDS)
        session.close()

    def test_are_followed_by_pauses_that_grow_up_to_a_limit(self) -> None:
        failures = backoff.Failures()
        pauses = [failures.failed("Captioning", RuntimeError("no")) for _ in range(2000)]
        assert pauses == [0.01, 0.02, 0.04, *[0.05] * 1997], "nor does a night of failures end it"
        assert failures.failed("Encoding", RuntimeError("no")) == 0.01, "each kind of work has its own"
        failures.worked("Captioning")
        assert failures.failed("Captioning", RuntimeError("no")) == 0.01

    def test_when_memory_runs_out_fewer_frames_are_encoded_at_once(self, video: VideoFile) -> None:
        class Small(FakeModel):
            batches: ClassVar[list[int]] = []

            def encode(self, frames: Sequence[Frame]) -> torch.Tensor:
                self.batches.append(len(frames))
                if len(frames) > 2:
                    raise MemoryError("no room to encode")
                return super().encode(frames)

        model = Small()
        session = session_of(video, model)
        frames = [(frame, False) for frame, _ in zip(video, range(8), strict=False)]
        session._remember(frames)
        assert model.batches == [8, 4, 2, 2, 4, 2, 2]
        assert session.engine.memory.state().frames == 8
        assert session.stats().degraded is None

    def test_frames_that_can_never_be_encoded_are_given_up_and_the_stream_goes_on(self, video: VideoFile) -> None:
        class Never(FakeModel):
            def encode(self, frames: Sequence[Frame]) -> torch.Tensor:
                if any(frame.pts_seconds < 1 for frame in frames):
                    raise RuntimeError("this picture breaks the model")
                return super().encode(frames)

        session = session_of(video, Never())
        session.start()
        session.play_until(math.inf)
        assert session.wait_until(lambda stats: stats.finished and not stats.captions_pending, WAIT_SECONDS)
        stats = session.stats()
        assert 0 < stats.frames_dropped < stats.frames_kept
        assert stats.degraded is None
        assert session.error is None
        session.close()

    def test_of_captioning_are_tried_again_and_a_live_stream_goes_on(self) -> None:
        class Failing(FakeModel):
            def __init__(self) -> None:
                super().__init__()
                self.works = threading.Event()

            def caption(self, clip: Clip, cancel: CancelToken) -> Caption:
                if not self.works.is_set():
                    raise StreamChatError("429: too many requests")
                return super().caption(clip, cancel)

        model, source = Failing(), PushSource()
        session = session_of(source, model)
        session.start()
        for second in range(12):
            source.push(picture(20 * second, 48, 64), float(second))
        assert session.wait_until(lambda stats: "429" in (stats.degraded or ""), WAIT_SECONDS)
        source.push(picture(255, 48, 64), 20.0)
        assert session.wait_until(lambda stats: stats.position_seconds == 20.0, WAIT_SECONDS)
        assert session.error is None
        model.works.set()
        source.close()
        assert session.wait_until(lambda stats: stats.finished and not stats.captions_pending, WAIT_SECONDS)
        assert session.stats().degraded is None
        session.close()

    def test_a_clip_that_cannot_be_captioned_holds_up_no_other(self) -> None:
        class Choosy(FakeModel):
            def caption(self, clip: Clip, cancel: CancelToken) -> Caption:
                if clip.span.start == 0:
                    raise RuntimeError("never this one")
                return super().caption(clip, cancel)

        chat = StreamChat(Choosy(), OPTIONS, WordEmbedder())
        for second in range(20):
            chat.select(Frame(picture(10 * second, 48, 64), float(second), second))
            chat.remember([encoded(float(second), 10.0 * second)])
        failures = 0
        while chat.memory.uncaptioned > 1 and failures < 9:
            try:
                chat.describe_next()
            except RuntimeError:
                failures += 1
        leaves = [node for node in every_node(chat.memory.snapshot(99).roots) if node.level == 0]
        assert [node.caption is None for node in leaves] == [True] + [False] * (len(leaves) - 1)
        assert failures < 9

    def test_of_alerts_are_tried_again(self, video: VideoFile) -> None:
        class Failing(FakeModel):
            failures = 2

            def check_alert(self, question: str, clip: Clip, caption: Caption, cancel: CancelToken) -> str | None:
                if self.failures:
                    self.failures -= 1
                    raise RuntimeError("no answer")
                return "it is there"

        session = session_of(video, Failing())
        session.engine.alerts.set(["something moves"])
        session.start()
        session.play_until(math.inf)
        assert session.wait_until(lambda stats: stats.finished and not stats.captions_pending, WAIT_SECONDS)
        (hit,) = session.engine.alerts.take_hits()
        assert hit.evidence.span.start == 0, "the first leaf was checked again"
        session.close()

    def test_closing_does_not_wait_for_the_next_try(self, video: VideoFile, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(backoff, "FIRST_PAUSE_SECONDS", 10 * WAIT_SECONDS)
        monkeypatch.setattr(backoff, "MOST_PAUSE_SECONDS", 10 * WAIT_SECONDS)

        class Never(FakeModel):
            def caption(self, clip: Clip, cancel: CancelToken) -> Caption:
                raise RuntimeError("no words")

        session = session_of(video, Never())
        session.start()
        session.play_until(math.inf)
        assert session.wait_until(lambda stats: stats.degraded is not None, WAIT_SECONDS)
        session.close()
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("streamchat-")]

    def test_of_answering_reach_the_one_who_asked_and_the_session_goes_on(self, video: VideoFile) -> None:
        class Broken(FakeModel):
            def answer(self, context: Context, cancel: CancelToken) -> Generator[str | Evidence, None, None]:
                raise RuntimeError("no answer")

        session = session_of(video, Broken())
        session.start()
        session.play_until(math.inf)
        with pytest.raises(RuntimeError, match="no answer"):
            list(session.ask("What is shown?"))
        assert session.wait_until(lambda stats: stats.finished, WAIT_SECONDS)
        session.close()

    def test_a_camera_without_a_frame_cannot_be_asked(self) -> None:
        session = session_of(PushSource())
        session.start()
        with pytest.raises(InputError, match="no frame yet"):
            session.ask("What is shown?")
        session.close()
