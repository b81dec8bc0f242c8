"""The speed command: what it measures, counted and compared; no wall-clock time is asserted."""

from __future__ import annotations

import json
import math
import re
import threading
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import WordEmbedder
from videos import numbered
from videos import write as write_video

from evaluation.__main__ import main
from evaluation.speed import (
    baselines,
    clustering,
    growing,
    models,
    report,
    retrieving,
    selecting,
    soak,
    videos,
    visitors,
)
from evaluation.speed.measuring import Settings, interleaved, ratio
from streamchat.embedding import WIDTH
from streamchat.models.fake import FakeModel
from streamchat.retrieval.search import MOST_HITS
from streamchat.selectors import optical_flow
from streamchat.types import Frame
from streamchat.video.file import open_video
from streamchat.video.images import picture_of


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return videos.make(tmp_path_factory.mktemp("videos") / "short.mp4", height=180, scene_seconds=0.5)


class NarrowEmbedder(WordEmbedder):
    """As wide as the product's."""

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        narrow = super().embed(texts)[:, :WIDTH]
        return narrow / np.linalg.norm(narrow, axis=1, keepdims=True)


# What is measured against


def test_the_plain_flow_is_that_of_the_fast_one(video: Path) -> None:
    frames = list(open_video(video))[:10]
    fast, slow = optical_flow.FlowMeter(), baselines.PlainFlowMeter()
    motions = [(fast.motion(frame.data), slow.motion(frame.data)) for frame in frames]
    assert motions[0] == (0, 0)
    for one, other in motions:
        assert one == pytest.approx(other, abs=3e-3)
    assert selecting.agreement(frames) >= 0.99


def test_strips_give_what_the_whole_picture_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    before, after = (np.random.default_rng(seed).random((90, 70)) for seed in (0, 1))
    found = []
    for rows in (1000, 31, 30, 7):
        monkeypatch.setattr(optical_flow, "STRIP_ROWS", rows)
        found.append(optical_flow.mean_flow(before, after))
    assert found == pytest.approx([found[0]] * 4, rel=1e-9)


def test_plain_lloyd_finds_what_lies_apart() -> None:
    points = torch.cat([torch.randn(5, 2, 3) + 100 * number for number in range(2)])
    centroids, inertia = baselines.lloyd(points, 2, seed=0)
    expected = sum(float((half - half.mean(0)).square().sum()) for half in points.split(5))
    assert len(centroids) == 2
    assert inertia == pytest.approx(expected, rel=1e-3)


def test_kmeans_is_as_good_as_the_best_of_many_restarts() -> None:
    ratios = clustering.inertia_ratios(range(8))
    assert np.median(ratios) <= 1.001
    assert max(ratios) <= 1.01


# The video


def test_the_video_moves_stands_still_and_cuts(video: Path) -> None:
    frames = list(open_video(video))
    assert len(frames) == len(videos.SCENES) * videos.RATE // 2
    meter = optical_flow.FlowMeter()
    motions = np.array([meter.motion(frame.data) for frame in frames]).reshape(len(videos.SCENES), -1)[:, 2:]
    by_scene = dict(zip(videos.SCENES, np.median(motions, 1), strict=True))
    assert by_scene["still"] < 0.05
    assert min(by_scene["pan"], by_scene["shake"]) > 0.35


def test_a_video_several_times_over_shows_the_same_again(tmp_path: Path) -> None:
    path = videos.make(tmp_path / "long.mp4", height=90, scene_seconds=0.2, loops=3)
    frames = list(open_video(path))
    once = len(videos.SCENES) * round(0.2 * videos.RATE)
    assert len(frames) == 3 * once
    assert all(one.pts_seconds < other.pts_seconds for one, other in pairwise(frames))
    assert np.array_equal(frames[0].data, frames[once].data)


@pytest.mark.parametrize(("size", "shape"), [((96, 54), (90, 160, 3)), ((54, 96), (90, 50, 3))])
def test_a_given_video_is_brought_to_a_height_and_shown_until_it_is_long_enough(
    tmp_path: Path, size: tuple[int, int], shape: tuple[int, ...]
) -> None:
    width, height = size
    shown = [numbered(number, width=width, height=height) for number in range(30)]
    given = write_video(tmp_path / "given.mp4", shown, rate=10)
    settings = Settings(folder=tmp_path, say=print, video=given)
    path = videos.prepared(settings, height=90)
    frames = list(open_video(path))
    assert len(frames) == 30 * math.ceil(videos.EXCERPT_SECONDS * 10 / 30)
    assert {frame.data.shape for frame in frames} == {shape}
    assert frames[-1].pts_seconds == pytest.approx((len(frames) - 1) / 10)
    written = path.stat().st_mtime_ns
    assert videos.prepared(settings, height=90).stat().st_mtime_ns == written, "it is made once"


# Counts that make speed


def test_a_question_visits_as_few_nodes_of_a_large_memory_as_of_a_small_one() -> None:
    """What is found is bounded, whatever the memory holds."""
    random = np.random.default_rng(0)
    sizes, visited = [], []
    for nodes in (50, 600):
        store = growing.grown(nodes)
        context = retrieving.ask(store, growing.vector(random))
        sizes.append(sum(store.nodes_by_level()))
        visited.append(len(context.visited))
    assert sizes[1] >= 10 * sizes[0]
    assert visited[1] <= MOST_HITS


def test_a_question_makes_no_jpeg(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only engines that send pictures want one: of frames, one is made when it is asked for."""
    store = growing.grown(50)
    made = []
    for module in ("video.images", "memory.store"):
        monkeypatch.setattr(f"streamchat.{module}.jpeg", lambda data: made.append(data) or b"jpeg")
    assert store.snapshot(retrieving.AFTER_ALL_SECONDS).open_chunk
    context = retrieving.ask(store, growing.vector(np.random.default_rng(0)))
    assert not made
    assert picture_of(context.present[-1]) == b"jpeg"
    assert len(made) == 1


def test_visitors_who_ask_together_all_get_their_first_word(video: Path) -> None:
    watched = visitors.watch_together(FakeModel(), video, 3, played_seconds=0.5, rounds=2)
    assert len(watched.first_word) == 6
    assert min(watched.first_word) > 0
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("streamchat-")]


# The soak


def test_a_short_soak_stays_within_its_budget_and_covers_the_timeline() -> None:
    budget = 2**20
    running = soak.Soak(NarrowEmbedder(), budget_bytes=budget)
    measurements = []
    for _ in range(6):
        running.play(600)
        measurements.append(running.measured())
    assert all(one.parts["tree"] <= budget for one in measurements)
    assert measurements[-1].parts["tree"] <= 1.01 * measurements[-2].parts["tree"]
    roots = running.roots()
    assert roots[0].span.start == 0
    assert all(one.span.end == other.span.start for one, other in pairwise(roots))
    assert len(running.chat.counts().nodes_by_level) >= 3
    oldest, newest = (
        sum(node.tokens is not None for node in half) / len(half) for half in (_leaves(roots[:1]), _leaves(roots[-5:]))
    )
    assert oldest <= newest, "detail thins with age"


def _leaves(nodes: tuple) -> list:
    return [leaf for node in nodes for leaf in (_leaves(node.children) if node.children else [node])]


def test_a_question_embeds_one_text_however_old_the_stream_is() -> None:
    embedder = NarrowEmbedder()
    running = soak.Soak(embedder)
    made = []
    for seconds in (60, 1800):
        running.play(seconds)
        before = len(embedder.texts)
        running.ask(0)
        made.append(len(embedder.texts) - before)
    assert made == [2, 2], "the question, and the round that is remembered"


@pytest.mark.skipif(torch.cuda.is_available(), reason="the models would be measured, which takes minutes")
def test_models_of_full_size_are_measured_on_a_gpu_only(tmp_path: Path) -> None:
    said: list[str] = []
    assert models.measure(Settings(folder=tmp_path, say=said.append)).figures == {}
    assert "no GPU here" in said[0]


# The command


def test_the_json_is_one_flat_object_and_alone_on_stdout(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, less in (("REPEATS", 1), ("CHUNKS", 2), ("SIZES", (10,))):
        monkeypatch.setattr(clustering, name, less)
    assert main(["speed", "--json", "--only", "clustering", "--runs", "2", "--out", str(tmp_path)]) == 0
    said = json.loads(capfd.readouterr().out)
    assert said["kmeans_inertia_ratio"] <= 1.03
    assert {type(value) for value in said.values()} <= {str, float, int}
    assert said["machine_cores"] >= 1
    assert json.loads((tmp_path / "speed.json").read_text()) == said
    assert "<svg" in (tmp_path / "report.html").read_text()
    assert re.search(r"k-means.*\| [\d.]+ \([\d.]+ to [\d.]+\) \| >= 10", (tmp_path / "report.md").read_text())


def test_a_missing_video_is_said_at_once(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["speed", "--video", str(tmp_path / "none.mp4"), "--out", str(tmp_path)]) == 2
    assert "there is no file" in capfd.readouterr().err
    assert main(["speed", "--runs", "0", "--out", str(tmp_path)]) == 2
    assert "--runs must be 1 or more, got 0" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--soak", "0"], "--soak must be 1 hour or more, got 0"),
        (["--soak", "2", "--only", "clustering"], "leave out --only clustering"),
        (["--only", "clustering", "--out", __file__], "give --out another one"),
        (["--only", "clustering", "--model", "nope"], "unknown model 'nope'"),
    ],
)
def test_what_cannot_be_measured_is_said_at_once(
    arguments: list[str], said: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["speed", "--out", str(tmp_path), *arguments]) == 2
    shown = capfd.readouterr()
    assert said in shown.err
    assert "[" not in shown.err + shown.out, "nothing was measured"


def test_every_promised_figure_has_its_line() -> None:
    promised = {
        "ingest_fps_720p",
        "selection_of_decode",
        "selection_speedup",
        "selection_agreement",
        "kmeans_speedup",
        "kmeans_inertia_ratio",
        "retrieval_ms_10000",
        "rpd_seconds_p95",
        "first_token_busy_over_idle",
        "soak_last_hour_growth",
        "question_24h_over_10min",
    }
    lines = {line.key: line for line in report.LINES}
    assert promised <= set(lines)
    assert report.met(lines["kmeans_speedup"], [10.0, 12.0]) == "yes"
    assert report.met(lines["kmeans_speedup"], [9.0, 12.0, 14.0]) == "in 2 of 3 runs"
    assert report.met(lines["kmeans_inertia_ratio"], [1.02]) == "no"


def test_works_are_timed_in_turn() -> None:
    order: list[str] = []
    times = interleaved({name: lambda name=name: order.append(name) for name in "ab"}, 3)  # type: ignore[misc]
    assert order == ["a", "b"] * 3
    assert {name: len(found) for name, found in times.items()} == {"a": 3, "b": 3}
    assert ratio({"a": [2.0, 2.0], "b": [1.0, 4.0]}, "a", "b") == pytest.approx(1.25)


def test_frames_of_the_plot_keep_their_times() -> None:
    frames = [Frame(np.zeros((9, 16, 3), np.uint8), number / 30, number) for number in range(3)]
    assert len(selecting._by_size("novelty", frames).points) == len(selecting.LONG_SIDES)
