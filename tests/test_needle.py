"""The needle benchmark: what its streams hold, and that a card can be read."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import videos

from evaluation.benchmarks.needle import (
    CARD_SECONDS,
    DISTANCES,
    FPS,
    STREAM_SECONDS,
    Layout,
    Needle,
    Stream,
    card,
)
from evaluation.methods import EncodeCache
from evaluation.samples import Choice
from streamchat.errors import InputError
from streamchat.models.base import Model
from streamchat.models.scheduler import NEVER
from streamchat.types import Clip, Context, Evidence, Frame, Span


@pytest.fixture(scope="module")
def needle() -> Needle:
    return Needle(Choice())


def test_there_are_twenty_of_every_distance_and_none_twice_in_a_stream(needle: Needle) -> None:
    samples = needle.samples()
    assert Counter(question.kind for sample in samples for question in sample.questions) == dict.fromkeys(DISTANCES, 20)
    for sample in samples:
        assert len({question.text for question in sample.questions}) == len(sample.questions)
        assert [question.time_seconds for question in sample.questions] == sorted(
            q.time_seconds for q in sample.questions
        )
        assert all(question.time_seconds < STREAM_SECONDS for question in sample.questions)


def test_it_is_the_same_every_time_and_another_with_another_seed(needle: Needle) -> None:
    assert Needle(Choice()).samples() == needle.samples()
    assert Needle(Choice(seed=1)).samples() != needle.samples()


@pytest.mark.parametrize(("subset", "questions"), [(24, 24), (47, 24), (144, 144)])
def test_a_subset_has_as_many_of_every_distance_as_there_is_room_for(subset: int, questions: int) -> None:
    samples = Needle(Choice(subset=subset)).samples()
    counts = Counter(question.kind for sample in samples for question in sample.questions)
    assert set(counts.values()) == {questions // len(DISTANCES)}
    assert counts.total() == questions


@pytest.mark.parametrize("subset", [-1, 0, 1, 23, 145, 3000])
def test_a_subset_that_cannot_be_is_refused_with_the_range(subset: int) -> None:
    with pytest.raises(InputError, match=f"from 24 to 144, got {subset}"):
        Needle(Choice(subset=subset))


def test_a_card_is_shown_once_and_asked_about_after_its_distance(needle: Needle) -> None:
    sample = needle.samples()[0]
    ends = {}
    for question in sample.questions:
        word = question.text.removesuffix("?").split()[-1]
        ends[word] = question.time_seconds - DISTANCES[question.kind]
    begins = {end - CARD_SECONDS + 1 / FPS for end in ends.values()}
    plain = {}
    for frame in needle.open(sample, max_side=768):
        if frame.pts_seconds in begins:
            plain[frame.pts_seconds] = frame.data
    assert len(plain) == len(begins)
    assert all((picture[2, 2] == (236, 233, 224)).all() for picture in plain.values())


def test_it_is_known_where_a_needle_is_to_be_seen(needle: Needle) -> None:
    for question in needle.samples()[0].questions:
        span = question.reference_span
        assert span is not None
        assert span.end - span.start == CARD_SECONDS - 1 / FPS
        assert question.time_seconds - span.end == DISTANCES[question.kind]


def test_a_clip_is_shown_once_each_like_no_other_and_moves() -> None:
    layout = Layout(streams=1, seconds=180.0, each=2, distances={"0 s": 0.0, "1 min": 60.0})
    needle = Needle(Choice(), kind="clip", layout=layout)
    (sample,) = needle.samples()
    assert [question.kind for question in sample.questions].count("1 min") == 2
    words = {question.reference_span: question.text.split()[5] for question in sample.questions}
    assert words == {one.span: one.word for one in needle.hidden(0)}
    frames = {frame.pts_seconds: frame.data for frame in needle.open(sample, max_side=768)}
    assert max(frames) == 179.5
    shown = [[frames[one.span.start + number / FPS] for number in range(10)] for one in needle.hidden(0)]
    for one, seen in zip(needle.hidden(0), shown, strict=True):
        assert all((ours == its).all() for ours, its in zip(seen, needle.pictures(one), strict=True))
    assert len({picture.tobytes() for pictures in shown for picture in pictures}) == 40


def test_pictures_come_again_as_the_same_arrays() -> None:
    videos_of_two = [[np.full((4, 6, 3), value, np.uint8) for value in (1, 2)]]
    needle = [card("ANCHOR", "1234", (4, 6, 3))] * 6
    stream = Stream(videos_of_two, {10.0: needle}, np.random.default_rng(0))
    frames = list(stream)
    assert len(frames) == int(STREAM_SECONDS * FPS)
    assert len({id(frame.data) for frame in frames}) == 3
    shown = [frame.pts_seconds for frame in frames if frame.data.max() > 2]
    assert shown == [10.0, 10.5, 11.0, 11.5, 12.0, 12.5]


def test_a_folder_of_videos_can_be_given_and_an_empty_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no videos"):
        Needle(Choice(root=tmp_path))
    (tmp_path / "bikes.mp4").write_bytes(videos.bikes().read_bytes())
    assert list(Needle(Choice(root=tmp_path)).provenance["videos"]) == ["bikes.mp4"]


def test_videos_of_different_shapes_make_a_stream_of_one(tmp_path: Path) -> None:
    videos.write(tmp_path / "a.mp4", [videos.numbered(5)] * 30)
    videos.write(tmp_path / "b.mp4", [videos.numbered(5, width=176, height=176)] * 30)
    needle = Needle(Choice(root=tmp_path))
    stream = needle.open(needle.samples()[0], max_side=768)
    shown = {id(frame.data): frame.data for frame in stream}.values()
    assert {picture.shape for picture in shown} == {(176, 320, 3)}
    assert any(not picture[:, :70].any() for picture in shown), "the square video stands between black bars"


def test_the_built_in_model_reads_a_card(embedded_model: Model) -> None:
    frame = Frame(card("HARBOUR", "4827", (180, 320, 3)), 3.0, 6)
    context = Context(
        question="Which number was shown together with the word HARBOUR?",
        question_embedding=np.zeros(384, np.float32),
        asked_at_seconds=3.0,
        newest=frame,
        open_clip=Clip(embedded_model.encode([frame]), (frame,), Span(3, 3)),
    )
    said = "".join(piece for piece in embedded_model.answer(context, NEVER) if not isinstance(piece, Evidence))
    assert "HARBOUR 4827" in said


def test_a_picture_that_is_seen_again_is_not_encoded_again(fake_model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[int] = []
    encode = fake_model.encode
    monkeypatch.setattr(fake_model, "encode", lambda frames: counted.append(len(frames)) or encode(frames))
    once = EncodeCache(fake_model)
    pictures = [np.full((8, 8, 3), value, np.uint8) for value in (10, 20)]
    frames = [Frame(pictures[number % 2], float(number), number) for number in range(4)]
    first, again = once.encode(frames[:2]), once.encode(frames[1:])
    assert counted == [2]
    assert (again[0] == first[1]).all()
    assert (again[1] == first[0]).all()
    del pictures, frames
    other = Frame(np.full((8, 8, 3), 30, np.uint8), 9.0, 9)
    once.encode([other])
    assert counted == [2, 1]
    assert len(once._seen) == 1
