"""The walk down the tree, and what a question is given."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from conftest import WordEmbedder, encoded, picture

from streamchat.config import Options
from streamchat.memory.store import MemoryStore
from streamchat.retrieval import NOW, retrieve, walk
from streamchat.types import Caption, Context, DialogueTurn, Frame, MemoryNode, Span

OPTIONS = Options(chunk_frames=2, group_nodes=3, clusters=2, short_term_frames=6, short_term_samples=2)


def node(start: float, end: float, text: str | None, children: tuple[MemoryNode, ...] = ()) -> MemoryNode:
    described = None if text is None else Caption(text, embedding=WordEmbedder().embed([text])[0])
    return MemoryNode(
        id=int(start * 100 + end + 10_000 * len(children)),
        span=Span(start, end),
        level=1 if children else 0,
        tokens=torch.zeros(2, 2, 3),
        weights=(1, 1),
        mass=2,
        caption=described,
        children=children,
    )


def texts(visited: list[tuple[MemoryNode, float]]) -> list[str | None]:
    return [found.caption.text if found.caption else None for found, _ in visited]


FOREST = (
    node(0, 20, "animals a dog a cat", (node(0, 10, "a dog runs"), node(10, 20, "a cat sleeps"))),
    node(20, 40, "a street with cars", (node(20, 30, "a red car"), node(30, 40, "a blue bus"))),
    node(40, 50, "a kitchen"),
)


class TestWalk:
    def test_one_path_goes_greedily_down_from_the_best_root_and_takes_the_root_too(self) -> None:
        assert texts(walk(FOREST, WordEmbedder().embed(["dog"])[0], 1)) == ["animals a dog a cat", "a dog runs"]

    def test_several_paths_reach_several_moments(self) -> None:
        visited = texts(walk(FOREST, WordEmbedder().embed(["a dog and a street"])[0], 2))
        assert set(visited[:2]) == {"animals a dog a cat", "a street with cars"}
        assert "a dog runs" in visited[2:]
        assert len(visited) == 4

    def test_negative_cosines_are_ordinary_numbers(self) -> None:
        visited = walk(FOREST, -WordEmbedder().embed(["dog"])[0], 1)
        assert len(visited) >= 1
        assert visited[0][1] < 0

    def test_nodes_without_a_caption_come_last_and_newest_first(self) -> None:
        forest = (node(0, 1, None), node(1, 2, None), node(2, 3, "a dog"))
        assert [found.span.start for found, _ in walk(forest, WordEmbedder().embed(["cat"])[0], 3)] == [2, 1, 0]

    def test_an_empty_forest_is_no_error(self) -> None:
        assert walk((), WordEmbedder().embed(["dog"])[0], 3) == []

    def test_the_nodes_visited_grow_with_the_depth_and_not_with_the_stream(self) -> None:
        nodes = [node(start, start + 1, f"thing {start}") for start in range(1000)]
        while len(nodes) > 1:
            groups = [tuple(nodes[at : at + 10]) for at in range(0, len(nodes), 10)]
            nodes = [node(group[0].span.start, group[-1].span.end, "things", group) for group in groups]
        assert len(walk(nodes, WordEmbedder().embed(["thing 77"])[0], 1)) == 4


class TestRetrieve:
    def store(self, seconds: int) -> MemoryStore:
        store = MemoryStore(OPTIONS)
        for second in range(seconds):
            store.remember(encoded(float(second), second))
            while (waiting := store.next_uncaptioned()) is not None:
                text = f"thing {waiting.span.start:g}"
                store.set_caption(waiting, Caption(text, embedding=WordEmbedder().embed([text])[0]))
        return store

    def context(self, store: MemoryStore, question: str, at: float, seed: int = 0) -> Context:
        def encode(frames: Sequence[Frame]) -> torch.Tensor:
            return torch.full((len(frames), 2, 3), -1.0)

        return retrieve(
            store.snapshot(at),
            question,
            WordEmbedder().embed([question])[0],
            Frame(picture(9), at, 10**6),
            encode=encode,
            options=OPTIONS,
            seed=seed,
        )

    @pytest.mark.parametrize("at", [0.0, 1.0, 4.5, 11.0, 29.0])
    def test_nothing_is_later_than_the_question_and_all_is_in_time_order(self, at: float) -> None:
        context = self.context(self.store(30), "thing 4", at)
        for spans in (
            [visual.span for visual in context.recent],
            [visual.span for visual in context.recalled],
            [clue.span for clue in context.clues],
        ):
            assert spans == sorted(spans)
            assert all(span.end <= at for span in spans)
        assert context.open_clip is None or all(f.pts_seconds <= at for f in context.open_clip.keyframes)

    def test_what_is_on_the_screen_is_encoded_and_is_the_last_to_be_dropped(self) -> None:
        now = self.context(self.store(9), "what", 8.5).recent[-1]
        assert now.tokens.unique().tolist() == [-1.0]
        assert now.span == Span(8.5, 8.5)
        assert now.relevance == NOW

    def test_the_timeline_is_told_whole_and_the_best_moment_is_recalled(self) -> None:
        context = self.context(self.store(30), "thing 4", 29.0)
        assert min(clue.span.start for clue in context.clues) == 0
        assert any(visual.span.start <= 4 < visual.span.end for visual in context.recalled)
        best = max(context.clues, key=lambda clue: clue.relevance)
        assert best.caption.text == "thing 4"
        assert best.visited

    def test_the_open_chunk_is_in_reach_before_any_leaf_is_there(self) -> None:
        context = self.context(self.store(1), "what", 0.5)
        assert context.open_clip is not None
        assert context.clues == ()
        assert len(context.recent) >= 2

    def test_leaves_without_a_caption_come_along_the_newest_first(self) -> None:
        store = MemoryStore(OPTIONS)
        for second in range(40):
            store.remember(encoded(float(second), second))
        context = self.context(store, "what", 39.0)
        starts = [visual.span.start for visual in context.recalled if visual.span.end - visual.span.start == 2]
        assert starts[-6:] == [26, 28, 30, 32, 34, 36]
        assert [clip.span.start for clip in context.waiting] == starts[-6:]
        leaves = sum(root.mass for root in store.snapshot(39.0).roots) // OPTIONS.chunk_frames
        assert context.untold == leaves - 6
        assert context.clues == ()

    def test_the_draw_follows_the_seed(self) -> None:
        store = self.store(30)
        drawn = {
            tuple(visual.span.start for visual in self.context(store, "what", 29.0, seed).recent)
            for seed in (1, 1, 2, 3, 4, 5)
        }
        assert len(drawn) > 1
        again = [self.context(store, "what", 29.0, 3).recent[0].span for _ in range(2)]
        assert again[0] == again[1]

    def test_related_turns_and_the_last_one_come_along(self) -> None:
        store = self.store(5)
        for question, at in (("is there a dog", 1.0), ("which car", 2.0)):
            embedding = WordEmbedder().embed([question])[0]
            store.dialogue.add(DialogueTurn(question, "yes", at, np.asarray(embedding)))
        context = self.context(store, "the dog", 4.0)
        assert [turn.question for turn in context.turns] == ["is there a dog"]
        assert context.last_turn is not None
        assert context.last_turn.question == "which car"
