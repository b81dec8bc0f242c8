"""Short-term memory, the long-term tree, the dialogue, and snapshots of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from conftest import encoded, picture

from streamchat.memory.budget import LEAST_BYTES, MOST_BYTES, SMALLEST_LEAVES, chosen_bytes
from streamchat.memory.forest import every_node, nodes_by_level, subtree_nbytes
from streamchat.memory.long_term import LongTermTree
from streamchat.memory.short_term import draw
from streamchat.memory.store import MemoryStore
from streamchat.options import Options
from streamchat.types import Caption, EncodedFrame, Frame, MemoryNode, Picture, Span


def leaf(start: float, end: float, value: float = 0.0, centroids: int = 3) -> MemoryNode:
    return MemoryNode(
        id=0,
        span=Span(start, end),
        level=0,
        tokens=torch.full((centroids, 2, 3), value),
        weights=(2,) * centroids,
        mass=2 * centroids,
        pictures=tuple(Picture(b"jpeg" * 3, start) for _ in range(centroids)),
    )


def caption(text: str = "a caption") -> Caption:
    return Caption(text, embedding=np.full(64, 0.125, np.float32))


def assert_tiled(nodes: tuple[MemoryNode, ...], start: float, end: float) -> None:
    """The nodes cover start to end without gap or overlap, and so do the children of each."""
    assert nodes[0].span.start == start
    assert nodes[-1].span.end == end
    assert all(a.span.end == b.span.start for a, b in pairwise(nodes))
    for node in nodes:
        if node.children:
            assert_tiled(node.children, node.span.start, node.span.end)


class TestShortTerm:
    frames = tuple(encoded(float(second)) for second in range(20))

    def test_the_draw_is_in_time_order_and_without_repeats(self) -> None:
        for seed in range(50):
            times = [f.pts_seconds for f in draw(self.frames, 5, decay=5.0, rng=np.random.default_rng(seed))]
            assert len(times) == 5
            assert times == sorted(set(times))

    def test_the_newest_is_favoured_as_the_weights_say(self) -> None:
        counts: Counter[float] = Counter()
        for seed in range(4000):
            counts.update(f.pts_seconds for f in draw(self.frames, 1, decay=5.0, rng=np.random.default_rng(seed)))
        weights = np.exp(-np.arange(20)[::-1] / 5.0)
        expected = 4000 * weights / weights.sum()
        assert counts[19.0] == pytest.approx(expected[19], rel=0.15)
        assert counts[14.0] == pytest.approx(expected[14], rel=0.3)
        assert counts[19.0] > 10 * counts[5.0]

    def test_all_are_given_when_there_are_few(self) -> None:
        assert draw(self.frames[:3], 5, decay=5.0, rng=np.random.default_rng(0)) == self.frames[:3]


class TestLongTerm:
    def tree(self, budget: int = 10**9, group: int = 3) -> LongTermTree:
        return LongTermTree(group_nodes=group, clusters=3, budget_bytes=budget)

    def test_groups_fold_into_parents_and_the_rest_stays_a_forest(self) -> None:
        tree = self.tree()
        for start in range(14):
            tree.add(leaf(start, start + 1))
            assert_tiled(tree.roots, 0, start + 1)
        assert [root.level for root in tree.roots] == [2, 1, 0, 0]
        assert nodes_by_level(tree.roots) == (14, 4, 1)
        assert tree.roots[0].mass == 9 * 6
        assert sum(tree.roots[0].weights) == 9 * 6

    def test_a_parents_centroids_are_means_of_its_childrens(self) -> None:
        tree = self.tree()
        for start, value in enumerate((0.0, 10.0, 20.0)):
            tree.add(leaf(start, start + 1, value))
        (parent,) = tree.roots
        assert parent.tokens is not None
        assert parent.tokens.mean((1, 2)).tolist() == pytest.approx([0.0, 10.0, 20.0])

    def test_a_gap_in_the_timeline_is_refused(self) -> None:
        tree = self.tree()
        tree.add(leaf(0, 1))
        with pytest.raises(ValueError, match="cannot follow"):
            tree.add(leaf(2, 3))

    def test_children_are_captioned_before_their_parent(self) -> None:
        tree = self.tree()
        for start in range(9):
            tree.add(leaf(start, start + 1))
        order = []
        while (node := tree.next_uncaptioned()) is not None:
            assert all(child.caption is not None for child in node.children)
            order.append(node.level)
            tree.set_caption(node, caption(f"node {node.id}"))
        assert Counter(order) == {0: 9, 1: 3, 2: 1}
        assert all(
            node.caption is not None and node.caption.text == f"node {node.id}" for node in every_node(tree.roots)
        )

    def test_roots_taken_before_are_not_changed_by_what_comes_after(self) -> None:
        tree = self.tree()
        tree.add(leaf(0, 1))
        before = tree.roots
        node = tree.next_uncaptioned()
        assert node is not None
        tree.set_caption(node, caption())
        tree.add(leaf(1, 2))
        assert len(before) == 1
        assert before[0].caption is None

    @pytest.mark.parametrize("captioned", [True, False])
    @pytest.mark.parametrize("budget", [3000, 8000, 60_000])
    def test_the_budget_is_never_passed_and_nothing_is_left_uncovered(self, budget: int, captioned: bool) -> None:
        tree = self.tree(budget)
        for start in range(200):
            tree.add(leaf(start, start + 1, float(start)))
            assert tree.nbytes <= budget
            node = tree.next_uncaptioned()
            while captioned and node is not None:
                tree.set_caption(node, caption(f"what happened from {node.span.start} to {node.span.end}"))
                assert tree.nbytes <= budget
                node = tree.next_uncaptioned()
            assert_tiled(tree.roots, 0, start + 1)
            assert sum(root.mass for root in tree.roots) == 6 * (start + 1)
            assert all(root.tokens is not None for root in tree.roots)
        assert tree.nbytes == sum(subtree_nbytes(root) for root in tree.roots)

    def test_a_captioner_far_behind_gets_only_what_can_still_be_captioned(self) -> None:
        tree = self.tree(3000)
        for start in range(100):
            tree.add(leaf(start, start + 1))
        while (node := tree.next_uncaptioned()) is not None:
            seen = node.tokens is not None and bool(node.pictures)
            assert seen or any(child.caption is not None for child in node.children)
            tree.set_caption(node, caption())
            assert tree.nbytes <= 3000
        assert tree.roots[-1].caption is not None

    def test_captions_are_not_dropped_before_a_summary_of_them_is_there(self) -> None:
        tree = self.tree(19_600)
        for start in range(30):
            tree.add(leaf(start, start + 1))
            node = tree.next_uncaptioned()
            if node is not None and node.level == 0 and start < 3:
                tree.set_caption(node, caption(f"leaf {start}"))
        captioned = [node.span.start for node in every_node(tree.roots) if node.level == 0 and node.caption is not None]
        assert captioned == [0, 1, 2]

    def test_the_oldest_detail_goes_first_and_captions_last(self) -> None:
        full = self.tree()
        for start in range(27):
            full.add(leaf(start, start + 1))
        while (node := full.next_uncaptioned()) is not None:
            full.set_caption(node, caption())
        tree = self.tree(full.nbytes - 1500)
        for start in range(27):
            tree.add(leaf(start, start + 1))
            while (node := tree.next_uncaptioned()) is not None:
                tree.set_caption(node, caption())
        leaves = [node for node in every_node(tree.roots) if node.level == 0]
        assert len(leaves) == 27
        assert all(node.caption is not None for node in leaves)
        detailed = [node.tokens is not None for node in leaves]
        assert detailed == sorted(detailed)
        assert not detailed[0]
        assert detailed[-1]


class TestRestoring:
    """What another tree had grown is taken up, and grows on as if nothing had been."""

    @pytest.mark.parametrize("budget", [2500, 20_000, 10**9])
    @pytest.mark.parametrize("cut", [1, 9, 40, 77])
    def test_a_tree_grows_on_as_it_would_have(self, budget: int, cut: int) -> None:
        def grown(tree: LongTermTree, seconds: range) -> LongTermTree:
            for start in seconds:
                tree.add(leaf(start, start + 1, float(start)))
                node = tree.next_uncaptioned()
                if node is not None and start % 3:
                    tree.set_caption(node, caption(f"node {node.id}"))
            return tree

        def new() -> LongTermTree:
            return LongTermTree(group_nodes=3, clusters=3, budget_bytes=budget)

        half, rest = grown(new(), range(cut)), new()
        rest.restore(half.roots, half.next_id)
        assert rest.nbytes == half.nbytes
        whole, rest = grown(new(), range(100)), grown(rest, range(cut, 100))
        assert [outline(root) for root in rest.roots] == [outline(root) for root in whole.roots]
        assert (rest.nbytes, rest.next_id) == (whole.nbytes, whole.next_id)

    def test_what_is_over_the_budget_is_folded(self) -> None:
        large = LongTermTree(group_nodes=3, clusters=3, budget_bytes=10**9)
        for start in range(40):
            large.add(leaf(start, start + 1))
        small = LongTermTree(group_nodes=3, clusters=3, budget_bytes=3000)
        small.restore(large.roots, large.next_id)
        assert small.nbytes <= 3000 < large.nbytes
        assert_tiled(small.roots, 0, 40)

    def test_what_no_tree_could_have_grown_is_refused(self) -> None:
        def refusal(roots: list[MemoryNode], next_id: int = 9) -> str:
            with pytest.raises(ValueError) as refused:  # noqa: PT011 - its text is what is tested
                LongTermTree(group_nodes=3, clusters=3, budget_bytes=10**9).restore(roots, next_id)
            return str(refused.value)

        one, two = leaf(0, 1), replace(leaf(1, 2), id=1)
        parent = replace(leaf(0, 2), id=2, level=1, mass=12, weights=(4, 4, 4), children=(one, two))
        assert "gap or overlap between 1 s and 1.5 s" in refusal([one, replace(leaf(1.5, 2), id=1)])
        assert "gap or overlap between 1 s and 0.5 s" in refusal([one, replace(leaf(0.5, 2), id=1)])
        assert "lasts no time" in refusal([leaf(1, 1)])
        assert "distinct, from 0 to below 9" in refusal([one, replace(two, id=0)])
        assert "distinct, from 0 to below 1" in refusal([one, two], next_id=1)
        assert "lost its tokens" in refusal([replace(one, tokens=None, weights=(), pictures=())])
        assert "1 or more, and sum to" in refusal([replace(one, weights=(1, 2, 2))])
        assert "1 or more, and sum to" in refusal([replace(one, weights=(0, 3, 3))])
        assert "no tokens, but weights" in refusal([replace(parent, children=(replace(one, tokens=None), two))])
        strayed = replace(one, pictures=(*one.pictures[:2], Picture(b"jpeg", 1.5)))
        assert "not from its span" in refusal([strayed, two])
        assert "do not cover its span" in refusal([replace(parent, span=Span(0, 3))])
        assert "not below its level 0" in refusal([replace(parent, level=0)])
        assert "do not stand for its 11 frames" in refusal([replace(parent, mass=11, weights=(4, 4, 3))])


def outline(node: MemoryNode) -> tuple[object, ...]:
    """All of a node and of those below it, but for its tokens' values."""
    text = None if node.caption is None else node.caption.text
    below = [outline(child) for child in node.children]
    shown = [(one.jpeg, one.pts_seconds) for one in node.pictures]
    return node.id, node.span, node.level, node.mass, node.weights, shown, node.tokens is None, text, below


class TestStore:
    options = Options(chunk_frames=4, chunk_seconds=6.0, group_nodes=2, clusters=2, short_term_frames=5)

    def filled(self, times: list[float], cuts: tuple[float, ...] = ()) -> MemoryStore:
        store = MemoryStore(self.options)
        for time in times:
            store.remember(encoded(time, time, cut=time in cuts))
        return store

    def test_a_full_chunk_becomes_a_leaf_that_reaches_to_the_next_frame(self) -> None:
        snapshot = self.filled([0, 1, 2, 3, 4]).snapshot(99)
        assert [root.span for root in snapshot.roots] == [Span(0, 4)]
        assert [frame.pts_seconds for frame in snapshot.open_chunk] == [4]
        assert snapshot.roots[0].mass == 4

    def test_a_chunk_ends_at_a_cut_and_when_it_has_lasted_long_enough(self) -> None:
        assert [r.span for r in self.filled([0, 1, 2], cuts=(2,)).snapshot(99).roots] == [Span(0, 2)]
        assert [r.span for r in self.filled([0, 5.9, 6.5]).snapshot(99).roots] == [Span(0, 6.5)]

    def test_a_snapshot_holds_nothing_later_than_its_moment(self) -> None:
        store = self.filled([float(second) for second in range(23)])
        for until in np.arange(0, 23, 0.5):
            snapshot = store.snapshot(float(until))
            assert all(root.span.end <= until for root in every_node(snapshot.roots))
            assert all(frame.pts_seconds <= until for frame in (*snapshot.short_term, *snapshot.open_chunk))
            if snapshot.roots:
                assert_tiled(snapshot.roots, 0, snapshot.roots[-1].span.end)

    def test_a_snapshot_of_just_before_now_has_no_hole(self) -> None:
        store = self.filled([float(second) for second in range(23)])
        snapshot = store.snapshot(19.5)
        assert snapshot.roots[-1].span.end == 16
        assert [frame.pts_seconds for frame in snapshot.open_chunk] == [16, 17, 18, 19]

    def test_a_hole_before_a_moment_long_past_is_named(self) -> None:
        store = self.filled([float(second) for second in range(60)])
        assert store.hole_before(22.5) == Span(20, 22.5)
        assert store.snapshot(22.5).open_chunk == ()
        assert store.hole_before(24.0) is None
        assert store.hole_before(58.5) is None

    def test_a_hole_may_have_frames_after_it(self) -> None:
        store = self.filled([float(second) for second in range(58)])
        kept = store.state().kept[0].pts_seconds
        covered = store.snapshot(kept).roots[-1].span.end
        assert covered < kept < covered + 4, "the moment lies in the middle of a leaf"
        assert store.hole_before(kept + 0.5) == Span(covered, kept)
        assert [frame.pts_seconds for frame in store.snapshot(kept + 0.5).open_chunk] == [kept]
        assert not store.is_whole_at(kept + 0.5)
        assert store.is_whole_at(covered + 4.5)
        assert not store.is_whole_at(0.0)

    def test_before_its_first_frame_nothing_is_missing(self) -> None:
        assert self.filled([]).hole_before(3.0) is None
        assert self.filled([5.0, 6.0]).hole_before(3.0) is None
        assert self.filled([5.0, 6.0]).hole_before(5.5) is None

    def test_a_snapshot_stays_as_it_was(self) -> None:
        store = self.filled([0, 1, 2, 3, 4])
        snapshot = store.snapshot(99)
        for time in (5, 6, 7, 8, 9):
            store.remember(encoded(time))
        node = store.next_uncaptioned()
        assert node is not None
        store.set_caption(node, caption())
        assert [root.span for root in snapshot.roots] == [Span(0, 4)]
        assert snapshot.roots[0].caption is None
        assert len(snapshot.open_chunk) == 1

    def test_short_term_spans_chunks(self) -> None:
        snapshot = self.filled([float(second) for second in range(9)]).snapshot(99)
        assert [frame.pts_seconds for frame in snapshot.short_term] == [4, 5, 6, 7, 8]

    def test_a_clip_has_real_frames_for_its_centroids_in_time_order(self) -> None:
        store = self.filled([0, 1, 2, 3, 4])
        node = store.next_uncaptioned()
        assert node is not None
        clip = store.clip_of(node)
        times = [frame.pts_seconds for frame in clip.keyframes]
        assert times == sorted(times)
        assert len(times) == len(clip.tokens) == 2
        assert set(times) <= {0, 1, 2, 3}

    def test_frames_out_of_order_are_refused(self) -> None:
        store = self.filled([0, 1])
        with pytest.raises(ValueError, match="time order"):
            store.remember(encoded(1))

    def test_token_maps_that_cannot_be_averaged_are_refused(self) -> None:
        store = self.filled([0, 1])
        longer = replace(encoded(2), tokens=torch.zeros(4, 3))
        with pytest.raises(ValueError, match=r"of one shape: got \[4, 3\] after \[2, 3\]"):
            store.remember(longer)
        store.remember(encoded(2))

    def test_memory_stays_bounded_over_a_long_stream(self) -> None:
        options = Options(chunk_frames=4, group_nodes=3, clusters=2, short_term_frames=5, memory_bytes=20_000)
        store = MemoryStore(options)
        sizes = []
        for second in range(3000):
            store.remember(encoded(float(second), second % 200))
            while (node := store.next_uncaptioned()) is not None:
                store.set_caption(node, caption(f"at {node.span.start}"))
            sizes.append(store.nbytes)
        assert max(sizes[1500:]) <= 1.05 * max(sizes[:1500])


class TestBudget:
    GIB = 2**30
    WIDE = 32 * 2**20  # of a leaf, as of Qwen3-VL-8B

    @pytest.mark.parametrize(
        ("free", "sessions", "leaf_bytes", "chosen"),
        [
            (24 * GIB, 1, WIDE, 4 * GIB),
            (23 * GIB, 1, WIDE, 4 * GIB),  # it does not change with every gigabyte
            (24 * GIB, 8, WIDE, GIB // 2),
            (2048 * GIB, 1, WIDE, MOST_BYTES),
            (2048 * GIB, 1, 240, GIB // 2),  # ten thousand small leaves are enough
            (GIB, 8, WIDE, SMALLEST_LEAVES * WIDE),
            (GIB, 8, 240, LEAST_BYTES),
            (0, 1, 240, LEAST_BYTES),
        ],
    )
    def test_it_suits_machine_sessions_and_model(self, free: int, sessions: int, leaf_bytes: int, chosen: int) -> None:
        assert chosen_bytes(free, sessions=sessions, leaf_bytes=leaf_bytes) == chosen

    def frame(self, number: int) -> EncodedFrame:
        shown = Frame(picture(number % 256), number * 0.4, number)
        return EncodedFrame(shown, torch.full((64, 64), float(number % 7)), cut=number % 60 == 0)

    @pytest.mark.parametrize("keeps_pictures", [False, True])
    @pytest.mark.parametrize("captioned_every", [1, 7, 1000])
    def test_the_smallest_that_a_model_allows_holds_all_of_the_memory(
        self, captioned_every: int, keeps_pictures: bool
    ) -> None:
        budget = SMALLEST_LEAVES * Options().clusters * 64 * 64 * 4
        store = MemoryStore(Options(group_nodes=3), budget, keeps_pictures=keeps_pictures)
        for number in range(400):
            store.remember(self.frame(number))
            assert store.nbytes <= budget
            while number % captioned_every == 0 and (node := store.next_uncaptioned()) is not None:
                store.set_caption(node, caption(f"at {node.span.start}"))
                assert store.nbytes <= budget
        snapshot = store.snapshot(999)
        assert_tiled(snapshot.roots, 0.0, snapshot.open_chunk[0].pts_seconds)
        assert len(store.nodes_by_level()) > 1

    def test_the_tree_has_what_the_frames_leave(self) -> None:
        """Two memories that differ in the size of their pictures alone, which take up to half of the budget."""
        sizes = []
        for height in (24, 300):
            store = MemoryStore(Options(chunk_frames=4, group_nodes=3), 2_000_000)
            for number in range(600):
                frame = self.frame(number)
                shown = Frame(picture(number % 256, height), frame.pts_seconds, number)
                store.remember(replace(frame, frame=shown))
                while (node := store.next_uncaptioned()) is not None:
                    store.set_caption(node, caption())
            assert store.nbytes <= 2_000_000
            sizes.append(store.tree_nbytes)
        assert 1_000_000 < sizes[1] < sizes[0]

    def test_a_chunk_ends_early_when_its_frames_fill_half_of_the_budget(self) -> None:
        store = MemoryStore(Options(chunk_seconds=99.0), 40_000)
        for second in range(30):
            store.remember(encoded(float(second), second))
            assert store.nbytes <= 40_000
        assert {root.mass for root in store.snapshot(99).roots} == {8}, "2,352 bytes a frame"

    def test_what_is_oldest_gives_way_first_and_the_newest_clips_keep_their_pictures(self) -> None:
        store = MemoryStore(replace(TestStore.options, short_term_frames=40), 80_000)
        for second in range(80):
            store.remember(encoded(float(second), second))
        snapshot = store.snapshot(99)
        pending, short_term = snapshot.pending_clips, snapshot.short_term
        assert 2 <= len(pending) < 19, "of nineteen leaves"
        assert pending[-1].span == Span(72, 76)
        assert abs(pending[0].span.start - short_term[0].pts_seconds) <= 4, "both reach as far back"
        node = store.next_uncaptioned()
        assert node is not None
        shown = [frame.pts_seconds for frame in store.clip_of(node).keyframes]
        assert shown == sorted(one.pts_seconds for one in node.pictures), "the node's own small pictures are left"

    def test_a_model_that_captions_from_tokens_has_no_pending_clips(self) -> None:
        store, pictured = (MemoryStore(TestStore.options, keeps_pictures=keeps) for keeps in (False, True))
        for second in range(20):
            for one in (store, pictured):
                one.remember(encoded(float(second), second))
        assert pictured.snapshot(99).pending_clips
        assert not store.snapshot(99).pending_clips
        assert store.nbytes < pictured.nbytes
        node, same = store.next_uncaptioned(), pictured.next_uncaptioned()
        assert node is not None
        assert same is not None
        torch.testing.assert_close(store.clip_of(node).tokens, pictured.clip_of(same).tokens)
        again = MemoryStore(TestStore.options, keeps_pictures=False)
        again.restore(pictured.state())
        assert not again.snapshot(99).pending_clips


class TestStateOfAStore:
    options = TestStore.options

    def test_every_state_begins_the_open_chunk_where_the_tree_ends(self) -> None:
        store = MemoryStore(self.options)
        for second in range(30):
            store.remember(encoded(float(second)))
            state = store.state()
            assert state.frames == second + 1
            if state.roots:
                assert state.roots[-1].span.end == state.kept[-state.open_frames].pts_seconds

    @pytest.mark.parametrize("cut", [1, 4, 5, 17])
    def test_another_store_goes_on_from_it(self, cut: int) -> None:
        whole, half, rest = (MemoryStore(self.options) for _ in range(3))
        for second in range(40):
            whole.remember(encoded(float(second), second))
            if second == cut:
                rest.restore(half.state())
            (half if second < cut else rest).remember(encoded(float(second), second))
        one, other = whole.snapshot(99), rest.snapshot(99)
        assert [outline(root) for root in one.roots] == [outline(root) for root in other.roots]
        assert [frame.pts_seconds for frame in one.short_term] == [frame.pts_seconds for frame in other.short_term]
        assert [frame.pts_seconds for frame in one.open_chunk] == [frame.pts_seconds for frame in other.open_chunk]
        assert [clip.span for clip in one.pending_clips] == [clip.span for clip in other.pending_clips]

    def test_a_state_that_does_not_hold_together_is_refused(self) -> None:
        store = MemoryStore(self.options)
        for second in range(11):
            store.remember(encoded(float(second)))
        state = store.state()
        for change, said in (
            ({"kept": state.kept[::-1]}, "not in time order"),
            ({"open_frames": 0}, "said to be in the open chunk"),
            ({"open_frames": 2}, "where the open chunk does not begin"),
            ({"kept": (), "open_frames": 0}, "where the open chunk does not begin"),
            ({"clips": state.clips[::-1]}, "not whole or in order"),
            ({"clips": (replace(state.clips[0], keyframes=()),)}, "not whole or in order"),
            ({"clips": (replace(state.clips[1], span=Span(0, 99)),)}, "until 99 s, which no node covers"),
        ):
            with pytest.raises(ValueError, match=said):
                MemoryStore(self.options).restore(replace(state, **change))  # type: ignore[arg-type]
