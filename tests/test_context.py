"""What of a context fits into a prompt, for models of real sizes: quotas, and what must hold whatever is found."""

from __future__ import annotations

import logging
from collections.abc import Generator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import WordEmbedder, picture

from evaluation.methods import Recent
from streamchat.clock import time_range
from streamchat.errors import InputError, PromptTooLargeError
from streamchat.models import prompts
from streamchat.models.base import ChatModel, Message, messages_of, visuals_of
from streamchat.models.prompts import MEMORY
from streamchat.models.scheduler import CancelToken
from streamchat.options import Options
from streamchat.retrieval.context import compose, in_words
from streamchat.session.answer import AnswerStream
from streamchat.session.engine import StreamChat
from streamchat.types import Caption, Context, DialogueTurn, Evidence, Frame, RetrievedCaption, Span, Visual

SIZES = [(576, 4096), (256, 4096), (144, 4096), (729, 4096), (576, 16384), (144, 32768), (729, 32768)]


class Sized(ChatModel):
    """Takes so many tokens a frame and a context; says what it is given."""

    name = "Sized"
    dim = 3

    def __init__(self, tokens: int, max_context: int, *replies: str, max_pictures: int | None = None) -> None:
        super().__init__()
        self.tokens_per_frame, self.max_context, self.max_pictures = tokens, max_context, max_pictures
        self.replies = list(replies)
        self.prompts: list[str] = []
        self.counted = 0

    def encode(self, frames: Sequence[Frame]) -> torch.Tensor:
        return torch.zeros(len(frames), self.tokens_per_frame, self.dim)

    def picture_tokens(self, visual: Visual) -> int:
        return self.tokens_per_frame  # of which the tests hold none

    def count_tokens(self, text: str) -> int:
        self.counted += 1
        return -(-len(text) // 4)

    def stream(
        self, messages: Sequence[Message], visuals: Sequence[Visual] = (), *, max_new_tokens: int, **_: Any
    ) -> Generator[str, None, None]:
        self.prompts.append(str(messages[-1]["content"]))
        if max_new_tokens < 256:  # a caption
            yield "Something is to be seen."
            return
        yield from (f"{word} " for word in (self.replies.pop(0) if self.replies else "It is so.").split())


def found(random: np.random.Generator, *, captions: int = 60, recalled: int = 40, recent: int = 8) -> Context:
    """What might have been found for a question at 1000 s."""

    def visual(seconds: float, rank: int) -> Visual:
        return Visual(span=Span(seconds, seconds), tokens=torch.zeros(1, 1, 3), rank=rank)

    times = np.sort(random.uniform(0, 900, recalled))
    starts = np.sort(random.uniform(0, 980, captions))
    ranks = random.permutation(max(captions, recalled, 1))
    return Context(
        question="What was written on the sign?",
        question_embedding=np.ones(4, np.float32),
        asked_at_seconds=1000.0,
        newest=Frame(picture(), 1000.0, 10**5),
        present=tuple(visual(1000.0 - rank, rank) for rank in (3, 2, 1, 0)),
        captions=tuple(
            RetrievedCaption(
                span=Span(start, start + 15),
                caption=Caption("words " * int(random.integers(3, 60))),
                level=0,
                relevance=0.5,
                rank=int(rank),
            )
            for start, rank in zip(starts, ranks, strict=False)
        ),
        recalled=tuple(visual(time, int(rank)) for time, rank in zip(times, ranks, strict=False)),
        recent=tuple(visual(990 - rank, rank) for rank in reversed(range(recent))),
        turns=(DialogueTurn("And who came in?", "A man. " * 100, 900.0, np.ones(4, np.float32)),),
    )


def now_in(context: Context) -> bool:
    return any(visual.span.start == context.asked_at_seconds for visual in context.present)


class TestCompose:
    @pytest.mark.parametrize("sizes", SIZES)
    @pytest.mark.parametrize("seed", range(6))
    def test_whatever_is_found_the_prompt_is_full_but_never_over(self, sizes: tuple[int, int], seed: int) -> None:
        random = np.random.default_rng(seed)
        model = Sized(*sizes)
        amount = {name: int(random.integers(0, 120)) for name in ("captions", "recalled", "recent")}
        everything = found(random, **amount)
        context, given = compose(everything, model, Options())
        used = model.prompt_tokens(messages_of(context), visuals_of(context))
        room = model.max_context - context.max_new_tokens
        assert used == given.prompt_tokens
        assert used <= room
        assert now_in(context)
        for times in (
            [visual.span.start for visual in visuals_of(context)],
            [one.span.start for one in context.captions],
        ):
            assert times == sorted(times)
        assert len(given.pictures) <= Options().max_pictures
        if given.pictures_left_out and len(given.pictures) < Options().max_pictures:
            assert room - used < model.tokens_per_frame + 200, "there was room for a picture that was left out"
        total = len(everything.captions), len(visuals_of(everything)), 1
        assert (
            len(given.captions) + given.captions_left_out,
            len(given.pictures) + given.pictures_left_out,
            given.turns + given.turns_left_out,
        ) == total

    @pytest.mark.parametrize("sizes", SIZES)
    def test_captions_and_the_present_reach_the_prompt_at_every_size(self, sizes: tuple[int, int]) -> None:
        everything = found(np.random.default_rng(3))
        context, _ = compose(everything, Sized(*sizes), Options())
        assert len(context.present) == 4
        assert len(context.captions) >= 8
        best = sorted(everything.captions, key=lambda one: one.rank)[:3]
        assert set(best) <= set(context.captions)

    @pytest.mark.parametrize("sizes", [(576, 4096), (256, 4096), (144, 4096)])
    def test_a_recalled_picture_reaches_even_a_small_prompt(self, sizes: tuple[int, int]) -> None:
        everything = found(np.random.default_rng(4))
        context, _ = compose(everything, Sized(*sizes), Options())
        assert min(everything.recalled, key=lambda visual: visual.rank) in context.recalled

    def test_pictures_are_bounded_by_the_options_and_by_the_model(self) -> None:
        everything = found(np.random.default_rng(5), recalled=80)
        assert len(compose(everything, Sized(16, 32768), Options())[1].pictures) == 32
        assert len(compose(everything, Sized(16, 32768), Options(max_pictures=10))[1].pictures) == 10
        context, given = compose(everything, Sized(16, 32768, max_pictures=3), Options())
        assert len(given.pictures) == 3
        assert now_in(context)

    def test_with_few_pictures_left_the_recalled_and_the_recent_share_them(self) -> None:
        context, _ = compose(found(np.random.default_rng(6)), Sized(16, 32768), Options(max_pictures=16))
        assert len(context.present) == 4
        assert len(context.recalled) > len(context.recent) > 0

    def test_the_cost_does_not_hang_on_how_much_is_left_out(self) -> None:
        counted = []
        for captions in (200, 4000):
            model = Sized(576, 4096)
            compose(found(np.random.default_rng(7), captions=captions, recalled=captions), model, Options())
            counted.append(model.counted)
        assert counted[1] <= counted[0] + 60

    def test_a_caption_of_a_megabyte_does_not_push_the_others_out(self) -> None:
        everything = found(np.random.default_rng(8))
        huge = replace(everything.captions[0], caption=Caption("x" * 2**20), rank=-1)
        context, _ = compose(
            replace(everything, captions=(huge, *everything.captions[1:])), Sized(576, 4096), Options()
        )
        assert huge not in context.captions
        assert len(context.captions) >= 8

    def test_captions_that_say_the_same_are_one_line_with_its_times(self) -> None:
        everything = found(np.random.default_rng(12), captions=12)
        said = [replace(one, caption=Caption("A person in black."), found=False) for one in everything.captions]
        context, given = compose(replace(everything, captions=tuple(said)), Sized(576, 4096), Options())
        text = str(messages_of(context))
        assert text.count("A person in black.") == 1
        assert 2 <= len(given.captions) <= 8
        assert all(time_range(one.span) in text for one in given.captions)

    def test_what_is_most_likely_asked_about_stands_apart(self) -> None:
        everything = found(np.random.default_rng(13))
        distinct = [
            replace(one, caption=Caption(f"words of {one.rank}"), found=one.rank < 8) for one in everything.captions
        ]
        context, _ = compose(replace(everything, captions=tuple(distinct)), Sized(144, 32768), Options())
        head = messages_of(context)[1]["content"][0]["text"]
        likely, others = head.split(prompts.OTHER_CAPTIONS)
        best = min(context.captions, key=lambda one: one.rank)
        worst = max(context.captions, key=lambda one: one.rank)
        assert time_range(best.span) in likely
        assert time_range(worst.span) in others

    def test_the_stretch_that_the_question_names_is_in_the_prompt(self) -> None:
        asked = replace(found(np.random.default_rng(14)), stretch=Span(125, 160))
        context, _ = compose(asked, Sized(144, 32768), Options())
        assert "The question speaks of 2:05–2:40." in messages_of(context)[1]["content"][-1]["text"]

    def test_the_moment_that_was_meant_is_in_the_prompt(self) -> None:
        asked = replace(found(np.random.default_rng(14)), stretch=Span(107, 197), moment_seconds=152.0)
        context, _ = compose(asked, Sized(144, 32768), Options())
        assert "speaks of about 2:32 (1:47–3:17)." in messages_of(context)[1]["content"][-1]["text"]

    @pytest.mark.parametrize("name", ["captions", "recalled", "recent"])
    def test_a_share_of_nothing_switches_a_part_off(self, name: str) -> None:
        shares: dict[str, Any] = {f"{name}_share": 0.0}
        options = replace(Options(), **shares)
        context, _ = compose(found(np.random.default_rng(15)), Sized(144, 32768), options)
        assert getattr(context, name) == ()

    def test_what_was_given_and_left_out_is_logged(self, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.INFO):
            _, given = compose(found(np.random.default_rng(9)), Sized(576, 4096), Options())
        assert in_words(given) in caplog.text
        assert f"{len(given.captions)} of 60 captions" in in_words(given)

    @pytest.mark.parametrize("words", [3300, 4000])
    def test_a_question_beside_which_the_screen_does_not_fit_is_refused(self, words: int) -> None:
        asked = replace(found(np.random.default_rng(10)), question="why " * words)
        with pytest.raises(InputError, match=r"question is too long.*4096 tokens.*fewer words"):
            compose(asked, Sized(576, 4096), Options())

    def test_a_prompt_too_small_for_the_present_still_holds_what_is_on_the_screen(self) -> None:
        context, _ = compose(found(np.random.default_rng(11)), Sized(576, 1100), Options())
        assert now_in(context)
        assert len(context.present) == 1


class TestPresent:
    @pytest.mark.parametrize("rate", [2, 5, 30])
    @pytest.mark.parametrize("moving", [True, False])
    def test_memory_never_gives_less_of_the_present_than_the_four_newest_frames(self, rate: int, moving: bool) -> None:
        """The baseline that shames memory systems: four frames, one a second."""
        for tokens, max_context in ((576, 4096), (144, 32768)):
            model = Sized(tokens, max_context)
            chat = StreamChat(model, Options(), WordEmbedder())
            recent = Recent(model, Options(max_pictures=4), WordEmbedder())
            for index in range(31 * rate):
                frame = Frame(picture(index * 7 % 256 if moving else 0), index / rate, index)
                chat.push(frame)
                recent.push(frame)
            at = frame.pts_seconds
            theirs = set(recent.stream_answer("What is it?", at).given.pictures)
            ours = set(chat.stream_answer("What is it?", at).given.pictures)
            assert len(theirs) == 4
            assert theirs <= ours


class Memory:
    """A session that finds the same for every question."""

    def __init__(self, model: ChatModel, options: Options) -> None:
        self.model, self.options = model, options
        self.recorded: list[str] = []

    def record(self, question: str, answer: str, at_seconds: float) -> None:
        self.recorded.append(answer)


def answered(model: ChatModel, options: Options) -> AnswerStream:
    stream = AnswerStream(Memory(model, options), found(np.random.default_rng(1)), 0.0, 0)
    assert "".join(stream).strip() == stream.answer.text
    return stream


class TestTwoSteps:
    options = Options(context="two-step")

    def test_the_present_is_enough_if_the_model_answers_from_it(self) -> None:
        model = Sized(144, 32768, "It is a red sign.")
        stream = answered(model, self.options)
        assert stream.answer.text == "It is a red sign."
        assert len(model.prompts) == 1
        assert MEMORY in model.prompts[0]
        assert stream.answer.given.captions == ()
        assert stream.answer.given.captions_left_out == 60
        assert len(stream.answer.given.pictures) == 4

    @pytest.mark.parametrize("call", [MEMORY, "Memory.", "**MEMORY**", '"memory"'])
    def test_the_memory_is_given_if_the_model_asks_for_it(self, call: str) -> None:
        model = Sized(144, 32768, call, "It said TAXI.")
        stream = answered(model, self.options)
        assert stream.answer.text == "It said TAXI."
        assert len(model.prompts) == 2
        assert MEMORY not in model.prompts[1]
        assert len(stream.answer.given.captions) > 8
        assert stream.answer.evidence

    @pytest.mark.parametrize("reply", ["Memo boards hang there.", "MEM", "ME and you.", "MEMORY foam lies there."])
    def test_an_answer_that_only_begins_like_the_word_is_an_answer(self, reply: str) -> None:
        assert answered(Sized(144, 32768, reply), self.options).answer.text == reply

    def test_the_full_context_asks_once(self) -> None:
        model = Sized(144, 32768, "It is a red sign.")
        assert len(answered(model, Options()).answer.given.captions) > 8
        assert len(model.prompts) == 1

    def test_the_first_piece_comes_before_the_last_is_made(self) -> None:
        stream = AnswerStream(
            Memory(Sized(144, 32768, "One two three."), self.options), found(np.random.default_rng(1)), 0.0, 0
        )
        pieces = iter(stream)
        assert next(pieces).strip() == "One"
        stream.close()
        assert stream.answer.text == "One"


class Refusing(Sized):
    """Learns from its server's refusals how many pictures it takes."""

    def __init__(self, limit: int) -> None:
        super().__init__(144, 32768)
        self.limit = limit

    def answer(self, context: Context, cancel: CancelToken) -> Generator[str | Evidence, None, None]:
        if len(visuals_of(context)) > self.limit:
            self.max_pictures = self.limit
            raise PromptTooLargeError("At most 5 image(s) may be provided in one prompt.")
        yield from super().answer(context, cancel)


class TestRefusals:
    def test_a_prompt_that_the_server_refuses_is_asked_again_smaller(self) -> None:
        stream = answered(Refusing(5), Options())
        assert stream.answer.text == "It is so."
        assert len(stream.answer.given.pictures) == 5

    def test_a_server_that_refuses_everything_is_an_error(self) -> None:
        class Never(Refusing):
            def answer(self, context: Context, cancel: CancelToken) -> Generator[str | Evidence, None, None]:
                raise PromptTooLargeError("too large")

        with pytest.raises(PromptTooLargeError):
            list(AnswerStream(Memory(Never(5), Options()), found(np.random.default_rng(1)), 0.0, 0))
