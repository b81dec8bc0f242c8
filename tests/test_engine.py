"""The engine: push frames, ask, and the same answers every time."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import videos
from conftest import WordEmbedder, picture

from streamchat import StreamChat, open_video, plugin
from streamchat.errors import InputError
from streamchat.models.base import Model, messages_of, visuals_of
from streamchat.models.fake import FakeModel
from streamchat.models.scheduler import CancelToken
from streamchat.options import AS_IN_PAPER, PRESETS, Options
from streamchat.session import engine
from streamchat.types import Answer, Caption, Clip, Context, Evidence, Frame, Span

OPTIONS = Options(selector="uniform", heartbeat_seconds=1.0, chunk_frames=3, group_nodes=3, clusters=2)


def stream(seconds: float, rate: float = 4.0) -> Iterator[Frame]:
    for index in range(int(seconds * rate)):
        yield Frame(picture(index % 256), index / rate, index)


def watched(model: Model, embedder: WordEmbedder, seconds: float, options: Options = OPTIONS) -> StreamChat:
    chat = StreamChat(model, options, embedder)
    for frame in stream(seconds):
        chat.push(frame)
    return chat


class Recorder(FakeModel):
    """Remembers what it was asked with."""

    def __init__(self) -> None:
        super().__init__()
        self.contexts: list[Context] = []
        self.clips: list[Clip] = []

    def caption(self, clip: Clip, cancel: CancelToken) -> Caption:
        self.clips.append(clip)
        return super().caption(clip, cancel)

    def answer(self, context: Context, cancel: CancelToken) -> Generator[str | Evidence, None, None]:
        self.contexts.append(context)
        return super().answer(context, cancel)


def test_an_answer_counts_the_tokens_that_there_are(embedder: WordEmbedder) -> None:
    chat = watched(FakeModel(), embedder, 12)
    given = chat.stream_answer("What is shown?").given
    bare = chat.model.prompt_tokens(messages_of(chat.stream_answer("What is shown?").context), [])  # type: ignore[attr-defined]
    assert len(given.pictures) > 3
    assert given.prompt_tokens == bare + 4 * len(given.pictures)


def test_frames_of_another_shape_are_letterboxed_into_that_of_the_stream(embedder: WordEmbedder) -> None:
    model = Recorder()
    chat = StreamChat(model, OPTIONS, embedder)
    for second, (height, width) in enumerate([(24, 32), (24, 32), (32, 24), (12, 16)]):
        chat.push(Frame(picture(200, height, width), float(second), second))
        assert chat.newest is not None
        assert chat.newest.data.shape == (24, 32, 3)
        assert chat.newest.data[12, 16].tolist() == [200] * 3
        assert (chat.newest.data[12, 0, 0] == 0) == (height > width)
    chat.ask("What is shown?")
    assert {visual.size for visual in visuals_of(model.contexts[0])} == {(24, 32)}


def test_push_says_whether_the_frame_was_kept(fake_model: Model, embedder: WordEmbedder) -> None:
    chat = StreamChat(fake_model, OPTIONS, embedder)
    assert [chat.push(frame) for frame in stream(2.25)] == [True, *[False] * 3, True, *[False] * 3, True]
    counts = chat.counts()
    assert (counts.frames_seen, counts.frames_kept) == (9, 3)


def test_all_nodes_are_captioned_before_a_question_and_each_once(embedder: WordEmbedder) -> None:
    model = Recorder()
    chat = watched(model, embedder, 30)
    assert chat.memory.next_uncaptioned() is None
    assert chat.counts().nodes_by_level == (9, 3, 1)
    assert len(model.clips) == 9
    assert embedder.texts.count("") == 0
    assert len(embedder.texts) == 9 + 3 + 1  # one embedding a caption, however many questions follow
    before = len(embedder.texts)
    chat.ask("What is shown?")
    assert len(embedder.texts) == before + 2  # the question, and the round for the dialogue


def test_an_answer_has_text_evidence_and_timing(fake_model: Model, embedder: WordEmbedder) -> None:
    answer = watched(fake_model, embedder, 20).ask("  What is shown?  ")
    assert "What is shown?" in answer.text
    assert answer.asked_at_seconds == 19.75
    assert answer.evidence
    assert all(moment.keyframe for moment in answer.evidence)
    assert answer.timing.retrieval_seconds <= answer.timing.first_token_seconds <= answer.timing.total_seconds


@pytest.mark.parametrize("at", [0.0, 0.3, 7.0, 12.6, 19.75])
def test_an_answer_uses_nothing_after_its_question(embedder: WordEmbedder, at: float) -> None:
    model = Recorder()
    chat = watched(model, embedder, 20)
    answer = chat.ask("What is shown?", at)
    (context,) = model.contexts
    assert context.newest.pts_seconds <= at
    assert all(visual.span.end <= at for visual in visuals_of(context))
    assert all(one.span.end <= at for one in context.captions)
    assert all(moment.span.end <= at for moment in answer.evidence)


def test_the_same_seed_gives_the_same_answers(embedder: WordEmbedder) -> None:
    def texts(options: Options) -> list[Answer]:
        chat = watched(FakeModel(), embedder, 20, options)
        return [chat.ask(f"What is shown at round {number}?") for number in range(3)]

    first, second = texts(OPTIONS), texts(OPTIONS)
    assert [a.text for a in first] == [a.text for a in second]
    assert [a.evidence for a in first] == [a.evidence for a in second]


def test_an_earlier_round_comes_back_in_a_later_one(embedder: WordEmbedder) -> None:
    model = Recorder()
    chat = watched(model, embedder, 5)
    chat.ask("Is there a dog?")
    chat.ask("Which car is it?")
    chat.ask("What about the dog?")
    assert [turn.question for turn in model.contexts[2].turns] == ["Is there a dog?", "Which car is it?"]
    assert model.contexts[2].last_turn is not None
    assert model.contexts[2].last_turn.question == "Which car is it?"


def test_a_stopped_answer_keeps_what_was_said(fake_model: Model, embedder: WordEmbedder) -> None:
    chat = watched(fake_model, embedder, 5)
    stream = chat.stream_answer("What is shown?")
    first = next(iter(stream))
    with pytest.raises(RuntimeError, match="not complete"):
        _ = stream.answer
    stream.close()
    assert stream.answer.text == first.strip()
    assert list(stream) == []
    assert len(chat.memory.dialogue) == 1
    assert chat.ask("And now?").text  # the model's slot was released


def test_an_answer_that_nobody_reads_on_holds_up_neither_frames_nor_questions(embedder: WordEmbedder) -> None:
    chat = watched(FakeModel(), embedder, 5)
    unread = chat.stream_answer("What is shown?")
    next(iter(unread))
    for index in range(60):
        chat.push(Frame(picture(index), 5 + index / 4, 100 + index))
    assert chat.ask("And now?").text
    assert "What is shown?" in "".join(unread)


def test_a_model_that_cites_is_believed(embedder: WordEmbedder) -> None:
    cited = Evidence(span=Span(1, 2), caption="a red car")

    class Citing(FakeModel):
        def answer(self, context: Context, cancel: CancelToken) -> Generator[str | Evidence, None, None]:
            yield "Red."
            yield cited

    assert watched(Citing(), embedder, 5).ask("Which color?").evidence == (cited,)


def test_an_error_of_the_model_comes_through_and_is_no_round(embedder: WordEmbedder) -> None:
    class Broken(FakeModel):
        def answer(self, context: Context, cancel: CancelToken) -> Generator[str | Evidence, None, None]:
            yield "I think"
            raise OSError("out of memory")

    chat = watched(Broken(), embedder, 5)
    with pytest.raises(OSError, match="out of memory"):
        chat.ask("What is shown?")
    assert len(chat.memory.dialogue) == 0


class TestOnRealVideos:
    """Whatever selects the frames, the memory of a real video is whole, in order and bounded."""

    @pytest.mark.parametrize("selector", plugin.names("streamchat.selectors"))
    @pytest.mark.parametrize("video", [videos.bikes, videos.bigbuckbunny])
    def test_the_tree_tiles_what_was_shown_and_the_ceiling_holds(
        self, embedder: WordEmbedder, selector: str, video: Callable[[], Path]
    ) -> None:
        options = Options(selector=selector, chunk_frames=2, group_nodes=3)
        chat = StreamChat(FakeModel(), options, embedder)
        kept = [frame.pts_seconds for frame in open_video(video()) if chat.push(frame)]
        snapshot = chat.memory.snapshot(99.0)
        spans = [root.span for root in snapshot.roots]
        assert spans[0].start == kept[0] == 0.0
        assert all(a.end == b.start for a, b in pairwise(spans))
        assert spans[-1].end == snapshot.open_chunk[0].pts_seconds
        assert sum(root.mass for root in snapshot.roots) + len(snapshot.open_chunk) == len(kept)
        assert all(later - earlier >= 1.0 for earlier, later in zip(kept, kept[5:], strict=False))

    @pytest.mark.parametrize("from_pictures", [False, True])
    def test_a_small_budget_holds_on_a_real_video(self, embedder: WordEmbedder, from_pictures: bool) -> None:
        """A frame takes half a megabyte; all of the memory counts, also while nothing is captioned."""

        def memory(budget: int) -> StreamChat:
            options = Options(chunk_frames=2, group_nodes=3, clusters=2, memory_bytes=budget)
            model = FakeModel()
            model.captions_from_pictures = from_pictures
            chat = StreamChat(model, options, embedder)
            for number, frame in enumerate(open_video(videos.bikes())):
                if number < 125:
                    chat.push(frame)
                elif chat.select(frame).kept:
                    chat.remember(chat.encode([(frame, False)]))
                assert chat.memory.nbytes <= budget
            return chat

        free, bound = memory(10**9), memory(4_000_000)
        assert free.memory.nbytes > 4_000_000
        ends = [chat.memory.snapshot(99.0).roots[-1].span.end for chat in (free, bound)]
        assert ends[0] == ends[1]
        assert bound.memory.snapshot(99.0).roots[0].span.start == 0.0
        while bound.describe_next():
            assert bound.memory.nbytes <= 4_000_000
        assert bound.ask("What is shown?").text

    def test_evidence_is_never_later_than_the_question(self, embedder: WordEmbedder) -> None:
        chat = StreamChat(FakeModel(), Options(chunk_frames=4), embedder)
        for frame in open_video(videos.bikes()):
            chat.push(frame)
        for at in (2.0, 3.25, 5.5, 9.9):
            assert all(moment.span.end <= at for moment in chat.ask("What is shown?", at).evidence)


class TestBudget:
    def test_it_is_chosen_for_machine_model_and_sessions(
        self, embedder: WordEmbedder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Wide(FakeModel):
            tokens_per_frame, dim = 196, 8192  # a leaf of 30.6 MiB

        monkeypatch.setattr(engine, "free_memory_bytes", lambda: 32 * 2**30)
        assert StreamChat(FakeModel(), embedder=embedder).memory_budget_bytes == 2**29
        assert StreamChat(Wide(), embedder=embedder).memory_budget_bytes == 2**33
        assert StreamChat(Wide(), embedder=embedder, sessions=8).memory_budget_bytes == 2**30
        chat = StreamChat(Wide(), Options(memory_bytes=300_000_000), embedder, sessions=8)
        assert chat.memory_budget_bytes == 300_000_000, "what is asked for is taken as it is"

    def test_only_a_model_that_captions_from_pictures_has_them_kept(self, embedder: WordEmbedder) -> None:
        for keeps in (True, False):
            model = FakeModel()
            model.captions_from_pictures = keeps
            chat = StreamChat(model, OPTIONS, embedder)
            chat.remember(chat.encode([(frame, False) for frame in stream(5.0) if chat.select(frame).kept]))
            assert bool(chat.memory.snapshot(99.0).pending_clips) == keeps


class TestBadInput:
    def test_a_question_before_any_frame(self, fake_model: Model, embedder: WordEmbedder) -> None:
        with pytest.raises(InputError, match="no frame yet"):
            StreamChat(fake_model, OPTIONS, embedder).ask("What is shown?")

    def test_half_a_character(self, fake_model: Model, embedder: WordEmbedder) -> None:
        with pytest.raises(InputError, match="half a character"):
            StreamChat(fake_model, embedder=embedder).ask("Is that \ud83d?")

    @pytest.mark.parametrize("question", ["", "  \n"])
    def test_an_empty_question(self, fake_model: Model, embedder: WordEmbedder, question: str) -> None:
        with pytest.raises(InputError, match="question is empty"):
            watched(fake_model, embedder, 1).ask(question)

    def test_an_unknown_preset_or_selector(self, fake_model: Model, embedder: WordEmbedder) -> None:
        with pytest.raises(InputError, match=r"unknown preset 'huge'.*slow, base, fast"):
            Options.preset("huge")
        with pytest.raises(InputError, match=r"unknown selector 'nope'.*optical_flow"):
            StreamChat(fake_model, Options(selector="nope"), embedder)

    @pytest.mark.parametrize("at", [float("nan"), float("inf"), -1.0])
    def test_a_time_that_is_none(self, fake_model: Model, embedder: WordEmbedder, at: float) -> None:
        with pytest.raises(InputError, match="time of a question must be 0 seconds or more"):
            watched(fake_model, embedder, 2).ask("What is shown?", at)

    def test_a_question_longer_than_the_model_takes(self, fake_model: Model, embedder: WordEmbedder) -> None:
        with pytest.raises(InputError, match="question is too long"):
            watched(fake_model, embedder, 2).ask("why " * 5000)

    def test_a_moment_before_all_that_is_remembered(self, fake_model: Model, embedder: WordEmbedder) -> None:
        chat = watched(fake_model, embedder, 60)
        with pytest.raises(InputError, match="no picture of 0 s or before"):
            chat.ask("What is shown?", 0.0)
        assert chat.ask("What is shown?", 4.0).text

    def test_options_out_of_range(self) -> None:
        with pytest.raises(InputError, match="clusters must be 1 or more, got 0"):
            Options(clusters=0)
        with pytest.raises(InputError, match="heartbeat_seconds must be more than 0"):
            Options(heartbeat_seconds=0)

    def test_a_budget_too_small_for_the_model(self, embedder: WordEmbedder) -> None:
        with pytest.raises(InputError, match="memory_bytes must be at least"):
            StreamChat(FakeModel(), Options(memory_bytes=100), embedder)

    def test_frames_out_of_order(self, fake_model: Model, embedder: WordEmbedder) -> None:
        chat = watched(fake_model, embedder, 2)
        with pytest.raises(ValueError, match="time order"):
            chat.push(Frame(picture(), 1.0, 99))

    def test_pictures_of_the_wrong_kind(self) -> None:
        with pytest.raises(ValueError, match="uint8"):
            Frame(picture().astype("float32"), 0.0, 0)


def test_the_presets_are_those_of_the_paper() -> None:
    rows: Sequence[tuple[str, float, int, int, int]] = [
        ("slow", 0.13, 35, 15, 5),
        ("base", 0.35, 25, 10, 5),
        ("fast", 0.58, 30, 15, 5),
    ]
    assert list(PRESETS) == [row[0] for row in rows]
    for name, threshold, chunk, group, clusters in rows:
        options = Options.preset(name)
        assert (options.motion_threshold, options.chunk_frames) == (threshold, chunk)
        assert (options.group_nodes, options.clusters) == (group, clusters)
    assert Options() == Options.preset("base")


@pytest.mark.parametrize("preset", PRESETS)
def test_as_in_the_paper_is_all_of_its_rules(preset: str) -> None:
    paper = Options.preset(preset, **AS_IN_PAPER)
    assert paper.as_in_paper
    assert paper.read_per_second is None, "flow is between neighbouring frames"
    assert replace(paper, seed=7, memory_bytes=2**30).as_in_paper
    changes: dict[str, Any] = {
        "selector": "novelty",
        "retrieval": "search",
        "retrieval_paths": 3,
        "motion_threshold": 0.2,
    }
    assert not any(replace(paper, **{name: value}).as_in_paper for name, value in changes.items())
