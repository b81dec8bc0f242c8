"""Reach: the scripted model says only what it is given, and the measure sees what was lost on the way to the prompt."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import WordEmbedder

from evaluation import reach
from evaluation.__main__ import main
from evaluation.benchmarks.needle import Layout, card, clip
from evaluation.reach import moments, needles
from evaluation.reach.needles import Settings
from evaluation.reach.scripted import TOKEN_BYTES, UNKNOWN, Known, ScriptedModel, general, lossy
from evaluation.records import RunFolder
from streamchat.errors import StreamChatError
from streamchat.models.scheduler import NEVER, Priority
from streamchat.types import Caption, Clip, Context, Evidence, Frame, RetrievedCaption, Span, Visual
from streamchat.video.images import jpeg

SHAPE = (180, 320, 3)
ANCHOR = Known(card("ANCHOR", "1234", SHAPE), "A card with the word ANCHOR and the number 1234.")
BASKET = Known(card("BASKET", "5678", SHAPE), "A card with the word BASKET and the number 5678.")
STREET = Known(np.random.default_rng(0).integers(0, 256, SHAPE, np.uint8), "People walk in a street.")
QUESTION = "Which number was shown together with the word ANCHOR?"
NOW = Span(9, 9)
SHORT = Layout(streams=1, seconds=180.0, each=2, distances={"0 s": 0.0, "10 s": 10.0, "1 min": 60.0})


def model(tokens: int = 144, **more: Any) -> ScriptedModel:
    return ScriptedModel([ANCHOR, BASKET], [STREET], tokens=tokens, max_context=4096, **more)


def frame(picture: np.ndarray, seconds: float = 9.0) -> Frame:
    return Frame(picture, seconds, int(2 * seconds))


def tokens_of(one: ScriptedModel, *pictures: np.ndarray) -> torch.Tensor:
    return one.encode([frame(picture) for picture in pictures])


def described(one: ScriptedModel, tokens: torch.Tensor, picture: np.ndarray = STREET.picture) -> str:
    return one.caption(Clip(tokens, (frame(picture),), Span(3, 9)), NEVER).text


def answered(one: ScriptedModel, *visuals: Visual, captions: Sequence[str] = (), question: str = QUESTION) -> str:
    context = Context(
        question=question,
        question_embedding=np.zeros(3, np.float32),
        asked_at_seconds=9.0,
        newest=frame(STREET.picture),
        present=visuals,
        captions=tuple(
            RetrievedCaption(span=Span(3, 6), caption=Caption(text), level=0, relevance=0.5) for text in captions
        ),
    )
    return "".join(piece for piece in one.answer(context, NEVER) if not isinstance(piece, Evidence)).strip()


class TestScriptedModel:
    @pytest.mark.parametrize("tokens", [1, 7, 144, 256, 576, 577])
    def test_its_frames_have_the_size_that_was_asked_for(self, tokens: int) -> None:
        assert tokens_of(model(tokens), ANCHOR.picture, STREET.picture).shape[:2] == (2, tokens)

    @pytest.mark.parametrize("tokens", [64, 144, 256, 577])
    def test_a_card_is_read_from_its_tokens(self, tokens: int) -> None:
        one = model(tokens)
        assert described(one, tokens_of(one, STREET.picture, ANCHOR.picture)) == ANCHOR.text

    def test_an_average_of_different_pictures_is_not_read(self) -> None:
        one = model()
        anchor, basket, street = tokens_of(one, ANCHOR.picture, BASKET.picture, STREET.picture)
        assert described(one, (anchor + basket)[None] / 2) == STREET.text
        assert described(one, (anchor + street)[None] / 2) == STREET.text
        assert described(one, (99 * anchor + street)[None] / 100) == ANCHOR.text

    def test_neighboring_pictures_of_a_clip_are_known_also_together(self) -> None:
        pictures = clip("ORCHARD", "77", SHAPE)
        scene = [Known(picture, "A scene of the movie ORCHARD, part 77.") for picture in pictures]
        one = ScriptedModel([*scene, ANCHOR], [STREET], tokens=144, max_context=4096)
        tokens = tokens_of(one, *pictures[:2]).mean(0, keepdim=True)
        assert described(one, tokens) == scene[0].text

    def test_a_model_that_takes_pictures_reads_jpegs_and_nothing_else(self) -> None:
        one = model(takes_pictures=True)
        assert tokens_of(one, ANCHOR.picture).shape[:2] == (1, 1)
        assert described(one, tokens_of(one, ANCHOR.picture), STREET.picture) == STREET.text
        assert described(one, tokens_of(one, STREET.picture), ANCHOR.picture) == ANCHOR.text
        assert answered(one, Visual(span=NOW, keyframe=jpeg(ANCHOR.picture))) == "ANCHOR 1234"
        assert answered(one, Visual(span=NOW, tokens=tokens_of(one, ANCHOR.picture))) == UNKNOWN

    def test_a_picture_takes_its_tokens_in_the_prompt(self) -> None:
        jpegs, maps = model(600, takes_pictures=True), model(600)
        assert jpegs.picture_tokens(Visual(span=NOW, keyframe=jpeg(ANCHOR.picture))) == 600
        assert jpegs.picture_tokens(Visual(span=NOW, tokens=tokens_of(jpegs, ANCHOR.picture))) == 0
        assert maps.picture_tokens(Visual(span=NOW, frame=frame(ANCHOR.picture))) == 600
        assert maps.count_tokens("x" * 400) == 100

    def test_it_answers_from_captions_and_visuals_and_knows_nothing_without(self) -> None:
        one = model()
        seen = Visual(span=NOW, tokens=tokens_of(one, ANCHOR.picture))
        not_encoded = Visual(span=NOW, frame=frame(ANCHOR.picture))
        assert answered(one, captions=[ANCHOR.text]) == "ANCHOR 1234"
        assert answered(one, seen) == "ANCHOR 1234"
        assert answered(one, not_encoded) == "ANCHOR 1234"
        assert answered(one, captions=[BASKET.text, STREET.text]) == UNKNOWN
        assert answered(one, captions=["A card with the word ANCHOR and", ANCHOR.text]) == "ANCHOR 1234"
        assert answered(one) == UNKNOWN
        assert answered(one, seen, question="What is there?") == UNKNOWN

    def test_a_summary_loses_what_it_does_not_name(self) -> None:
        texts = [Caption(f"Thing {number} is seen.") for number in range(10)]
        assert (
            model(summarize=lossy).summarize(texts, NEVER).text == "Thing 0 is seen. Thing 1 is seen. Thing 2 is seen."
        )
        assert "Thing" not in model(summarize=general).summarize(texts, NEVER).text

    def test_a_reply_is_no_longer_than_allowed(self) -> None:
        messages = [{"role": "user", "content": [{"type": "text", "text": part} for part in (ANCHOR.text, QUESTION)]}]
        pieces = model().stream(
            messages, max_new_tokens=2, temperature=0.0, seed=0, priority=Priority.QUESTION, cancel=NEVER
        )
        assert "".join(pieces).strip() == "ANCHOR"  # half a number would be another one


class TestNeedles:
    def results(self, settings: Settings, out: Path) -> dict[str, needles.Result]:
        return {one.name: one for one in needles.measure(settings, out, WordEmbedder(), lambda *_: None)}

    @pytest.mark.parametrize("pictures", [None, 32])
    def test_what_the_memory_holds_reaches_the_prompt_and_the_newest_frames_do_not(
        self, pictures: int | None, tmp_path: Path
    ) -> None:
        settings = Settings(layout=SHORT, pictures=pictures, context=4096 if pictures is None else 32768)
        found = self.results(settings, tmp_path)
        everything = {"0": 1.0, "10": 1.0, "60": 1.0}
        assert found["memory"].reached == found["memory"].right == everything
        assert found["memory_clips"].reached == found["memory_clips"].right == everything
        for name in ("recent", "recent_clips"):
            assert found[name].reached == found[name].right
            assert found[name].reached["0"] == 1.0
            assert found[name].reached["60"] == 0.0

    @pytest.mark.parametrize("tokens", [144, 256, 576])
    def test_an_hour_does_not_fit_into_the_memory_unfolded_as_it_does_not_with_a_real_model(self, tokens: int) -> None:
        options = Settings(tokens=tokens).options
        leaves = 3600 / options.chunk_seconds
        assert 0 < (options.memory_bytes or 0) < leaves * options.clusters * tokens * TOKEN_BYTES

    def test_the_runs_stay_and_go_on(self, tmp_path: Path) -> None:
        settings = Settings(layout=replace(SHORT, each=1), frames=4)
        first = self.results(settings, tmp_path)
        assert {path.name for path in tmp_path.iterdir()} == {
            "memory-cards",
            "memory-clips",
            "recent-cards",
            "recent-clips",
        }
        options = RunFolder(tmp_path / "recent-cards").described()["identity"]["options"]
        assert options["max_pictures"] == 4
        assert self.results(settings, tmp_path) == first

    def test_a_context_that_holds_no_question_ends_it(self, tmp_path: Path) -> None:
        with pytest.raises(StreamChatError, match=r"the question is too long: Scripted.* takes 100 tokens"):
            self.results(Settings(layout=SHORT, context=100), tmp_path)


class TestMoments:
    def test_no_two_share_two_of_their_parts(self) -> None:
        found = moments.moments(0)
        assert len({one.caption for one in found}) == len({one.question for one in found}) == moments.COUNT == 480
        assert [one.caption for one in moments.moments(0)] == [one.caption for one in found]
        assert [one.caption for one in moments.moments(1)] != [one.caption for one in found]

    def test_the_caption_asked_about_is_found_in_the_prompt(self) -> None:
        found = moments.measure(Settings(moments=24), WordEmbedder(), lambda *_: None)
        assert found == {"lossy": 6, "general": 6, "of": 6}

    def test_what_does_not_fit_is_not_given(self) -> None:
        found = moments.measure(Settings(context=1450, tokens=1000, moments=120), WordEmbedder(), lambda *_: None)
        assert found["of"] == 30
        assert found["general"] < 30


class TestCommand:
    NAMES = ("memory", "recent", "memory_clips", "recent_clips")
    FIGURES: dict[str, Any] = {  # noqa: RUF012
        "tokens": 576,
        "context": 4096,
        "pictures": None,
        "frames": 4,
        "seed": 0,
        **{name: {"0": 1.0, "60": 0.25} for name in NAMES},
        "answered_right": {name: {"0": 1.0, "60": 0.5} for name in NAMES},
        "captions_480": {"lossy": 118, "general": 117, "of": 120},
    }

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["--frames", "0"], "--frames must be 1 or more, got 0"),
            (["--tokens", "0"], "--tokens must be 1 or more, got 0"),
            (["--context", "0"], "--context must be 1 or more, got 0"),
            (["--pictures", "-1"], "--pictures must be 1 or more, got -1"),
            (["--seed", "-1"], "--seed must be 0 or more, got -1"),
        ],
    )
    def test_bad_sizes_are_explained(self, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["reach", *arguments]) == 2
        assert said in capsys.readouterr().err

    def test_json_is_one_object_whatever_is_printed_meanwhile(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        asked: list[Settings] = []

        def measured(settings: Settings, _: Path) -> dict[str, Any]:
            asked.append(settings)
            print("a library says something")
            return self.FIGURES

        monkeypatch.setattr(reach, "measured", measured)
        assert main(["reach", "--json", "--tokens", "256"]) == 0
        assert json.loads(capsys.readouterr().out) == self.FIGURES
        assert main(["reach", "--pictures", "32"]) == 0
        assert [(one.tokens, one.context, one.pictures) for one in asked] == [(256, 4096, None), (576, 32768, 32)]

    def test_the_table_names_how_many_frames_the_baseline_takes(self) -> None:
        reached, right, captions = reach.tables_of(self.FIGURES)
        assert [row[0] for row in reached.rows] == ["memory", "recent-4", "memory, clips", "recent-4, clips"]
        assert [str(cell) for cell in reached.rows[0][1:]] == ["100", "25"]
        assert [str(cell) for cell in right.rows[0][1:]] == ["100", "50"]
        assert captions.rows[0] == ["lossy", "118 of 120"]

    def test_everything_is_measured(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setattr("streamchat.embedding.minilm", WordEmbedder)
        figures = reach.measured(Settings(layout=replace(SHORT, each=1), moments=24), tmp_path)
        assert figures.keys() == self.FIGURES.keys()
        assert figures["memory"].keys() == {"0", "10", "60"}
        assert json.loads(json.dumps(figures)) == figures
