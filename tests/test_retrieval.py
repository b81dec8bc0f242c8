"""Which nodes a question finds, and all that is gathered for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import WordEmbedder, encoded, picture

from streamchat.memory.forest import every_node
from streamchat.memory.store import MemoryStore
from streamchat.memory.text_index import TextIndex
from streamchat.models.base import retrieved_evidence, visuals_of
from streamchat.options import Options
from streamchat.retrieval.gather import gather
from streamchat.retrieval.tree import walk
from streamchat.types import Caption, Context, DialogueTurn, EncodedFrame, Frame, MemoryNode, Span
from streamchat.video.images import picture_of

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


def remembered(texts: Sequence[str | None], options: Options = OPTIONS) -> MemoryStore:
    """A memory whose leaves last two seconds each, with these captions; None is not captioned yet."""
    store = MemoryStore(options)
    for second in range(2 * len(texts) + 1):
        store.remember(encoded(float(second), second))
    missing = [2 * number for number, text in enumerate(texts) if text is None]
    for node in every_node(store.snapshot(1e9).roots):
        text = texts[int(node.span.start // 2)] if node.level == 0 else "a part of the day"
        whole = not any(node.span.start <= start < node.span.end for start in missing)
        if text is not None and whole:
            store.set_caption(node, Caption(text, embedding=WordEmbedder().embed([text])[0]))
    return store


def gathered(
    store: MemoryStore,
    question: str,
    at: float,
    seed: int = 0,
    options: Options = OPTIONS,
    before: Sequence[Frame] = (),
) -> Context:
    return gather(
        store.snapshot(at),
        question,
        WordEmbedder().embed([question])[0],
        Frame(picture(9), at, 10**6),
        embed=WordEmbedder().embed,
        options=options,
        seed=seed,
        before=before,
    )


def best_caption(context: Context) -> str:
    return min(context.captions, key=lambda one: one.rank).caption.text


class TestSearch:
    def test_a_leaf_is_found_whatever_its_summary_says(self) -> None:
        context = gathered(
            remembered([f"thing{number} on the table" for number in range(30)]), "where is thing17", 60.0
        )
        assert best_caption(context) == "thing17 on the table"

    def test_texts_are_found_by_their_letters_where_vectors_say_nothing(self) -> None:
        texts = ["people walk", "a sign says GATE 42B", "people talk", "people wait"] * 3
        texts[1] = "a sign says GATE 17C"
        store = MemoryStore(OPTIONS)
        for second in range(2 * len(texts) + 1):
            store.remember(encoded(float(second), second))
        same = np.full(4, 0.5, np.float32)
        while (node := store.next_uncaptioned()) is not None:
            store.set_caption(node, Caption(texts[int(node.span.start // 2)], embedding=same))
        context = gather(
            store.snapshot(24.0),
            "when was 17C shown",
            same,
            Frame(picture(9), 24.0, 99),
            embed=lambda asked: np.stack([same] * len(asked)),
            options=OPTIONS,
            seed=0,
        )
        assert best_caption(context) == "a sign says GATE 17C"

    def test_captions_that_say_the_same_come_after_those_that_differ(self) -> None:
        texts = ["a dog runs on grass"] * 8 + ["a dog sleeps on a sofa", "a dog eats"]
        context = gathered(remembered(texts), "what did the dog do", 20.0)
        ranked = [one.caption.text for one in sorted(context.captions, key=lambda one: one.rank)]
        leaves = [text for text in ranked if "dog" in text]
        assert set(leaves[:3]) == {"a dog runs on grass", "a dog sleeps on a sofa", "a dog eats"}
        assert len(leaves) == 10

    def test_of_captions_that_are_equal_the_newest_is_first(self) -> None:
        context = gathered(remembered(["a red car", "a dog", "a red car", "a cat", "a red car"]), "red car", 10.0)
        best = min((one for one in context.captions if one.caption.text == "a red car"), key=lambda one: one.rank)
        assert best.span == Span(8, 10)

    @pytest.mark.parametrize("at", [3.0, 7.0, 21.0])
    def test_a_question_as_of_a_past_moment_finds_nothing_later(self, at: float) -> None:
        store = remembered([f"thing{number}" for number in range(30)])
        context = gathered(store, "thing25 thing4", at)
        assert all(one.span.end <= at for one in context.captions)
        leaves = {one.span.start for one in context.captions if one.level == 0}
        assert leaves == {2.0 * number for number in range(int(at // 2))}

    def test_a_snapshot_does_not_change_with_what_is_captioned_after_it(self) -> None:
        store = remembered(["a dog", None, "a cat"])
        before = store.snapshot(6.0)
        leaf = next(node for root in before.roots for node in [root, *root.children] if node.caption is None)
        store.set_caption(leaf, Caption("a zebra", embedding=WordEmbedder().embed(["a zebra"])[0]))
        found = before.captions.search("zebra", WordEmbedder().embed(["zebra"])[0], 9)
        assert len(found) == 2
        assert len(store.snapshot(6.0).captions.search("zebra", WordEmbedder().embed(["zebra"])[0], 9)) == 3

    def test_what_is_captioned_later_does_not_change_what_a_past_question_finds(self) -> None:
        texts = [f"people walk past shop{number}" for number in range(20)]
        texts[3] = "a sign says HOLLOWAY"
        question = "where did it say HOLLOWAY to the people"
        alone = gathered(remembered(texts), question, 40.0)
        later = gathered(remembered([*texts, *["HOLLOWAY people"] * 40]), question, 40.0)
        assert [one.caption.text for one in sorted(alone.captions, key=lambda one: one.rank)][:5] == [
            one.caption.text for one in sorted(later.captions, key=lambda one: one.rank)
        ][:5]
        assert best_caption(later) == "a sign says HOLLOWAY"

    def test_a_view_stays_as_it_was_when_nodes_are_pruned(self) -> None:
        index = TextIndex()
        for number in range(100):
            text = f"text number {number} says word{number}"
            index.add(number, Span(number, number + 1), text, WordEmbedder().embed([text])[0])
        view, question = index.view(), "word7"
        vector = WordEmbedder().embed([question])[0]
        before = view.search(question, vector, 9)
        index.remove(range(50))
        assert view.search(question, vector, 9) == before
        assert all(match.key >= 50 for match in index.view().search(question, vector, 9))

    def test_a_word_that_many_texts_share_does_not_beat_the_meaning(self) -> None:
        index, random = TextIndex(), np.random.default_rng(0)
        question = random.standard_normal(64).astype(np.float32)
        question /= np.linalg.norm(question)
        for number in range(300):
            noise = random.standard_normal(64).astype(np.float32)
            vector = 3 * question + 0.1 * noise if number == 0 else 0.3 * question + noise
            text = "he is correct" if number == 0 else "a man on the corner" if number % 15 == 0 else "a street"
            index.add(number, Span(number, number + 1), text, vector / np.linalg.norm(vector))
        assert index.view().search("is he at the corner?", question, 9)[0].key == 0

    @pytest.mark.parametrize("question", ["出口在哪里", "出口", "where is 出口?"])
    def test_words_of_scripts_without_spaces_are_found(self, question: str) -> None:
        index, same = TextIndex(), np.full(4, 0.5, np.float32)
        for number, text in enumerate(["入口西站", "出口东站", "停车场", "大门"]):
            index.add(number, Span(number, number + 1), text, same)
        assert index.view().search(question, same, 4)[0].key == 1

    @pytest.mark.parametrize("question", ["", '"', "NEAR(", "a OR b*", "😀", "what is it", "x" * 5000, "-1:2^"])
    def test_any_question_can_be_searched_for(self, question: str) -> None:
        index = TextIndex()
        index.add(1, Span(0, 1), "half a character \ud83d here", np.full(4, np.nan, np.float32))
        index.add(2, Span(1, 2), "a dog", np.full(4, 0.5, np.float32))
        found = index.view().search(question, np.full(4, 0.5, np.float32), 9)
        assert [match.key for match in found] == [2, 1]
        assert TextIndex().view().search(question, np.full(4, 0.5, np.float32), 9) == []

    def test_what_is_pruned_is_found_no_more_and_its_summary_is(self) -> None:
        store = MemoryStore(Options(chunk_frames=2, group_nodes=3, clusters=2, memory_bytes=600_000))
        for second in range(200):
            store.remember(encoded(float(second), second))
            while (node := store.next_uncaptioned()) is not None:
                text = f"level{node.level} from {node.span.start:g}"
                store.set_caption(node, Caption(text, embedding=WordEmbedder().embed([text])[0]))
        snapshot = store.snapshot(199.0)
        every = snapshot.captions.search("level0", WordEmbedder().embed(["level0"])[0], 10_000)
        captioned = [node.id for node in every_node(snapshot.roots) if node.caption is not None]
        assert sorted(match.key for match in every) == sorted(captioned)
        assert sum(store.nodes_by_level()) < 80, "something was pruned"
        context = gathered(store, "what was there at 0:05", 199.0)
        assert context.captions[0].span.start == 0

    def test_the_walk_of_the_paper_stays_by_option(self) -> None:
        texts = [f"thing{number}" for number in range(9)]
        tree = gathered(
            remembered(texts), "thing7", 18.0, options=replace(OPTIONS, retrieval="tree", retrieval_paths=1)
        )
        assert 1 <= sum(one.found for one in tree.captions) <= 3


class TestTimes:
    store = remembered([f"thing{number}" for number in range(30)])

    @pytest.mark.parametrize(
        ("question", "seconds"),
        [("what was there at 0:33?", 33), ("what did you see 20 seconds ago?", 40), ("what was at the beginning?", 1)],
    )
    def test_the_stretch_that_a_question_names_comes_first(self, question: str, seconds: float) -> None:
        context = gathered(self.store, question, 60.0)
        best = min(context.captions, key=lambda one: one.rank)
        assert best.span.start <= seconds <= best.span.end
        recalled = min(context.recalled, key=lambda visual: visual.rank)
        assert abs(recalled.span.start - seconds) <= 2

    def test_a_moment_long_ago_is_found_by_time_however_long_ago(self) -> None:
        store = remembered(["a street"] * 290)
        context = gathered(store, "what was there five minutes ago?", 580.0)
        best = sorted(context.captions, key=lambda one: one.rank)[0]
        assert best.span.start <= 280 <= best.span.end
        assert abs(min(context.recalled, key=lambda visual: visual.rank).span.start - 280) <= 2
        assert context.stretch is not None

    def test_a_long_stretch_is_searched_by_what_is_asked(self) -> None:
        store = remembered([f"thing{number}" for number in range(200)])
        context = gathered(store, "where was thing170 in the last 3 minutes?", 400.0)
        assert best_caption(context) == "thing170"

    def test_a_follow_up_is_searched_with_the_question_before_it(self) -> None:
        store = remembered(["a red car", "a kitchen", "a dog on grass", "a kitchen"] * 3)
        store.dialogue.add(DialogueTurn("Where is the dog?", "On grass.", 20.0, WordEmbedder().embed(["dog"])[0]))
        context = gathered(store, "And what is under it?", 24.0)
        assert best_caption(context) == "a dog on grass"

    @pytest.mark.parametrize(
        ("before", "question", "starts"),
        [
            ("What was shown at 0:20?", "And what came after that?", range(22, 53)),
            ("What was shown at 0:20?", "And before that?", range(21)),
            ("What was shown at 0:20?", "How many people were there then?", range(18, 22)),
            ("Where was thing7?", "What came next?", range(16, 47)),
        ],
    )
    def test_a_follow_up_speaks_of_the_time_of_the_question_before_it(
        self, before: str, question: str, starts: range
    ) -> None:
        store = remembered([f"thing{number}" for number in range(60)])
        store.dialogue.add(DialogueTurn(before, "Something.", 110.0, WordEmbedder().embed([before])[0]))
        context = gathered(store, question, 120.0)
        best = min(context.captions, key=lambda one: one.rank)
        assert int(best.span.start) in starts
        assert best.found

    @pytest.mark.parametrize(
        "question", ["How many people are there?", "What is next to thing40?", "Does thing40 have its own box?"]
    )
    def test_a_question_that_stands_alone_is_no_follow_up(self, question: str) -> None:
        store = remembered([f"thing{number}" for number in range(60)])
        alone = gathered(store, question, 120.0)
        store.dialogue.add(DialogueTurn("Where was thing7?", "On it.", 110.0, WordEmbedder().embed(["thing7"])[0]))
        after = gathered(store, question, 120.0)
        assert [one.span for one in after.captions if one.found] == [one.span for one in alone.captions if one.found]
        assert after.stretch is None

    def test_only_what_shares_time_with_the_stretch_is_cited(self) -> None:
        context = gathered(self.store, "what was there at 0:33?", 60.0)
        *cited, now = retrieved_evidence(context)
        assert [moment.span for moment in cited] == [Span(32, 34)]
        assert now.span.end == 60.0

    def test_a_stretch_that_no_leaf_covers_yet_means_the_newest_one(self) -> None:
        store = remembered([f"thing{number}" for number in range(30)])
        best = min(gathered(store, "what is happening right now?", 75.0).captions, key=lambda one: one.rank)
        assert best.span == Span(58, 60)

    @pytest.mark.parametrize("question", ["What happened so far?", "Summarize the video.", "What is the video about?"])
    def test_a_question_about_all_of_it_gets_all_of_it(self, question: str) -> None:
        context = gathered(remembered([f"thing{number}" for number in range(30)]), question, 60.0)
        found = [one for one in context.captions if one.found]
        assert found[0].span.start == 0
        assert max(one.span.end for one in found) == 60
        pictures = sorted(sorted(context.recalled, key=lambda visual: visual.rank)[:4], key=lambda visual: visual.span)
        assert pictures[0].span.start < 20
        assert pictures[-1].span.start > 40

    def test_before_and_after_an_event_are_searched_beside_it(self) -> None:
        store = remembered(["a garden", "a wall", "a bus came", "a tram", "a lamp"] + ["a road"] * 10)
        before = min(gathered(store, "what was there before the bus came?", 30.0).captions, key=lambda one: one.rank)
        after = min(gathered(store, "what was there after the bus came?", 30.0).captions, key=lambda one: one.rank)
        assert before.caption.text == "a wall"
        assert after.caption.text == "a tram"

    def test_a_time_that_has_not_come_yet_restricts_nothing(self) -> None:
        context = gathered(self.store, "what is thing3 at 9:00?", 60.0)
        assert best_caption(context) == "thing3"

    def test_a_leaf_without_a_caption_takes_part_by_its_pictures(self) -> None:
        context = gathered(remembered(["a dog", None, "a cat", "a car"]), "what was there at 0:03?", 8.0)
        best = min(context.recalled, key=lambda visual: visual.rank)
        assert 2 <= best.span.start < 4


class TestGathered:
    def test_all_parts_are_in_time_order_and_none_is_later_than_the_question(self) -> None:
        store = remembered([f"thing{number}" for number in range(30)])
        for at in (0.0, 1.0, 4.5, 11.0, 29.0):
            context = gathered(store, "thing 4", at)
            for spans in (
                [visual.span for visual in context.present],
                [visual.span for visual in context.recent],
                [visual.span for visual in context.recalled],
            ):
                assert spans == sorted(spans)
                assert all(span.end <= at for span in spans)
            order = [(one.span.start, -one.span.end) for one in context.captions]
            assert order == sorted(order), "a summary stands before what it sums up"
            assert all(one.span.end <= at for one in context.captions)
            assert context.open_clip is None or all(f.pts_seconds <= at for f in context.open_clip.keyframes)

    def test_no_moment_has_two_pictures(self) -> None:
        context = gathered(remembered([f"thing{number}" for number in range(30)]), "thing4", 60.0)
        times = [visual.span.start for visual in visuals_of(context)]
        assert len(times) == len(set(times))
        assert len(times) > 10

    def test_the_last_seconds_are_there_kept_or_not(self) -> None:
        before = [Frame(picture(7), seconds, round(seconds * 100)) for seconds in (56.2, 57.2, 58.2)]
        present = gathered(remembered(["a dog"] * 30), "what", 58.7, before=before).present
        assert [visual.span.start for visual in present] == [56.2, 57.2, 58.2, 58.7]
        assert [visual.rank for visual in present] == [3, 2, 1, 0]
        assert all(visual.tokens is None for visual in present), "none of them was kept, so none was encoded"

    def test_a_frame_that_was_kept_is_not_encoded_again(self) -> None:
        present = gathered(remembered(["a dog"] * 3), "what", 6.0).present
        assert present[-1].tokens is not None

    def test_a_node_has_a_picture_for_each_centroid_with_its_moment(self) -> None:
        store = MemoryStore(replace(OPTIONS, chunk_frames=6, clusters=3))
        for second, value in enumerate((10, 10, 90, 90, 200, 200, 0)):
            store.remember(
                EncodedFrame(Frame(picture(value), float(second), second), torch.full((2, 3), float(value)), False)
            )
        (leaf,) = store.snapshot(9.0).roots
        assert [one.pts_seconds // 2 for one in leaf.pictures] == [0, 1, 2]
        context = gathered(store, "what was there at the beginning?", 60.0)
        shown = [visual.span.start for visual in context.recalled]
        assert [time // 2 for time in shown] == [0, 1, 2]
        assert all(picture_of(visual) for visual in context.recalled)

    def test_the_whole_timeline_has_captions_among_the_first(self) -> None:
        for leaves in (10, 20, 40, 60):
            store = remembered([f"thing{number} here" for number in range(leaves)])
            context = gathered(store, "thing4 here", 2.0 * leaves)
            first = sorted(context.captions, key=lambda one: one.rank)[:8]
            assert any(one.level > 0 for one in first)
            assert min(one.span.start for one in context.captions) == 0

    def test_the_open_chunk_is_in_reach_before_any_leaf_is_there(self) -> None:
        store = MemoryStore(OPTIONS)
        store.remember(encoded(0.0, 0))
        context = gathered(store, "what", 0.5)
        assert context.open_clip is not None
        assert context.captions == ()
        assert len(visuals_of(context)) == 2

    def test_leaves_without_a_caption_come_along_the_newest_first(self) -> None:
        context = gathered(remembered([None] * 19), "what", 60.0)
        leaves = sorted({int(visual.span.start // 2) for visual in context.recalled})
        assert leaves == [13, 14, 15, 16, 17, 18]
        assert [clip.span.start for clip in context.pending_clips] == [26, 28, 30, 32, 34, 36]
        assert context.captioned_until_seconds == 0.0
        assert context.captions == ()

    def test_the_draw_follows_the_seed(self) -> None:
        store = remembered(["a dog"] * 30, replace(OPTIONS, chunk_frames=20, short_term_frames=20))
        drawn = {
            tuple(visual.span.start for visual in gathered(store, "what", 60.0, seed).recent)
            for seed in (1, 1, 2, 3, 4, 5)
        }
        assert len(drawn) > 1
        assert len({tuple(v.span.start for v in gathered(store, "what", 60.0, 3).recent) for _ in range(2)}) == 1

    def test_related_turns_and_the_last_one_come_along(self) -> None:
        store = remembered(["a dog", "a car"])
        for question, at in (("is there a dog", 1.0), ("which car", 2.0)):
            embedding = WordEmbedder().embed([question])[0]
            store.dialogue.add(DialogueTurn(question, "yes", at, np.asarray(embedding)))
        context = gathered(store, "the dog", 4.0)
        assert [turn.question for turn in context.turns] == ["is there a dog", "which car"]
        assert context.last_turn is not None
        assert context.last_turn.question == "which car"
