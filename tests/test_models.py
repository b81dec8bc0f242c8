"""What every model must do, and the prompts of those that speak."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from conftest import WordEmbedder, picture

from streamchat import plugin
from streamchat.clock import timestamp
from streamchat.errors import InputError
from streamchat.models import load_model, model_names
from streamchat.models.base import ChatModel, Model, messages_of, prompt_text, visuals_of
from streamchat.models.scheduler import NEVER
from streamchat.types import Caption, Clip, Context, DialogueTurn, Evidence, Frame, RetrievedCaption, Span, Visual


@pytest.fixture(scope="session", params=model_names())
def model(request: pytest.FixtureRequest) -> Model:
    loaded: Model = request.getfixturevalue(f"{request.param}_model")
    return loaded


def frames(count: int) -> list[Frame]:
    return [Frame(picture(40 * number, 120, 160), float(number), number) for number in range(count)]


def clip(model: Model) -> Clip:
    pictures = frames(3)
    return Clip(model.encode(pictures), tuple(pictures), Span(0, 3))


def context(**changes: object) -> Context:
    settings: dict[str, object] = {
        "question": "What is shown?",
        "question_embedding": WordEmbedder().embed(["What is shown?"])[0],
        "asked_at_seconds": 9.0,
        "newest": Frame(picture(9, 120, 160), 9.0, 9),
    }
    return Context(**(settings | changes))  # type: ignore[arg-type]


class TestEveryModel:
    def test_it_has_what_the_engine_needs(self, model: Model) -> None:
        assert isinstance(model, Model)
        assert model.name

    def test_frames_become_tokens_on_the_cpu_each_by_itself(self, model: Model) -> None:
        tokens = model.encode(frames(3))
        assert tokens.shape == (3, tokens.shape[1], model.dim)
        assert 1 <= tokens.shape[1] <= model.tokens_per_frame
        assert tokens.device.type == "cpu"
        alone = model.encode(frames(3)[1:2])
        torch.testing.assert_close(tokens[1:2], alone, rtol=1e-3, atol=1e-3)

    def test_captions_and_summaries_are_texts(self, model: Model) -> None:
        caption = model.caption(clip(model), NEVER)
        assert caption.text
        assert model.summarize([caption, caption], NEVER).text

    def test_one_that_captions_from_tokens_needs_no_pictures_of_a_clip(self, model: Model) -> None:
        whole = clip(model)
        black = tuple(Frame(picture(0, 120, 160), frame.pts_seconds, frame.index) for frame in whole.keyframes[:1])
        if not model.captions_from_pictures:
            assert model.caption(replace(whole, keyframes=black), NEVER).text == model.caption(whole, NEVER).text

    def test_a_question_gets_text_with_nothing_but_the_newest_frame(self, model: Model) -> None:
        pieces = list(model.answer(context(), NEVER))
        assert "".join(piece for piece in pieces if isinstance(piece, str)).strip()
        for moment in (piece for piece in pieces if isinstance(piece, Evidence)):
            assert moment.span.end <= 9.0

    def test_an_alert_gets_a_reason_or_nothing(self, model: Model) -> None:
        shown = clip(model)
        reason = model.check_alert("a dog appears", shown, model.caption(shown, NEVER), NEVER)
        assert reason is None or reason.strip()


class TestLoading:
    def test_an_unknown_model_lists_the_choices(self) -> None:
        with pytest.raises(InputError, match=r"unknown model 'nope'.*embedded.*fake"):
            load_model("nope")

    def test_an_unknown_plugin_lists_the_choices(self) -> None:
        with pytest.raises(InputError, match=r"unknown selector 'nope'.*uniform"):
            plugin.load("streamchat.selectors", "nope")

    def test_a_base_file_is_not_a_plugin(self) -> None:
        assert "base" not in plugin.names("streamchat.models")


class TestPrompt:
    visual = Visual(tokens=torch.zeros(2, 4, 3), span=Span(3, 4))
    now = Visual(tokens=torch.ones(1, 4, 3), span=Span(9, 9))
    caption = RetrievedCaption(span=Span(65, 70), caption=Caption("a dog runs"), level=0, relevance=0.1)
    turn = DialogueTurn("Is it big?", "Yes.", 5.0, WordEmbedder().embed(["x"])[0])

    def whole(self) -> Context:
        return context(recalled=(self.visual,), present=(self.now,), captions=(self.caption,), turns=(self.turn,))

    def parts(self, given: Context) -> list[dict[str, str]]:
        content: list[dict[str, str]] = messages_of(given)[1]["content"]
        return content

    def test_the_order_is_dialogue_captions_pictures_question(self) -> None:
        text = "\n".join(part.get("text", "<picture>") for part in self.parts(self.whole()))
        order = [text.index(piece) for piece in ("Is it big?", "a dog runs", "<picture>", "What is shown?")]
        assert order == sorted(order)
        assert "1:05–1:10" in text

    def test_each_picture_stands_after_its_moment(self) -> None:
        parts = self.parts(self.whole())
        kinds = [part["type"] for part in parts]
        assert kinds == ["text", "text", "image", "text", "image", "text"]
        assert parts[1]["text"].strip() == "[0:03–0:04]"
        assert visuals_of(self.whole()) == [self.visual, self.now]

    def test_the_first_round_without_dialogue_or_captions_works_the_same(self) -> None:
        assert [part["type"] for part in self.parts(context())] == ["text"]

    def test_people_can_read_the_prompt(self) -> None:
        text = prompt_text(self.whole())
        assert text.count("<picture>") == 2
        assert "[0:09] <picture>" in text
        assert text.endswith("What is shown?")

    def test_a_frame_that_was_not_encoded_yet_is_encoded_for_the_prompt(self) -> None:
        model = load_model("fake")
        assert isinstance(model, ChatModel)
        fresh = Visual(span=Span(9, 9), frame=frames(3)[2])
        first, second = model.with_tokens([self.now, fresh])
        assert first is self.now
        torch.testing.assert_close(second.tokens, model.encode([frames(3)[2]]))

    def test_frames_with_fewer_tokens_leave_more_room(self) -> None:
        model = load_model("fake")
        messages = messages_of(self.whole())
        fewer = Visual(tokens=torch.zeros(2, 3, 3), span=Span(3, 4))
        prompts_of = [model.prompt_tokens(messages, [visual]) for visual in (self.visual, fewer)]  # type: ignore[attr-defined]
        assert prompts_of[0] - prompts_of[1] == 2


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (67.9, "1:07"), (3723, "1:02:03")])
def test_times_are_written_as_people_write_them(seconds: float, text: str) -> None:
    assert timestamp(seconds) == text
