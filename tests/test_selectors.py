"""Frame selectors: the paper's optical flow, the guards round it, and what every selector must do."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import cv2
import numpy as np
import pytest
import videos

from streamchat import plugin
from streamchat.options import PRESETS, Options
from streamchat.selectors import base, optical_flow
from streamchat.selectors.base import FrameSelector, Selection
from streamchat.types import Frame
from streamchat.video.file import open_video

PACKAGE = "streamchat.selectors"
NAMES = plugin.names(PACKAGE)
GUARDED = ("novelty", "optical_flow")
RATE = 25
NOISE = np.random.default_rng(7)


def build(name: str, options: Options | None = None) -> FrameSelector:
    selector: FrameSelector = plugin.load(PACKAGE, name).build(options or Options())
    return selector


def frames_of(pictures: Iterable[np.ndarray], rate: float = RATE) -> list[Frame]:
    return [Frame(picture, number / rate, number) for number, picture in enumerate(pictures)]


def select(selector: FrameSelector, frames: Iterable[Frame]) -> list[Selection]:
    return [selector.select(frame) for frame in frames]


def kept_times(name: str, frames: list[Frame], options: Options | None = None) -> list[float]:
    selections = select(build(name, options), frames)
    return [frame.pts_seconds for frame, selection in zip(frames, selections, strict=True) if selection.kept]


def texture(seed: int, height: int = 270, width: int = 480) -> np.ndarray:
    """A picture of soft spots, uint8 [H, W, 3], with edges in every direction."""
    noise = np.random.default_rng(seed).random((height // 15, width // 15, 3), np.float32)
    return (cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC).clip(0, 1) * 255).astype(np.uint8)


def still(count: int, seed: int = 0) -> list[np.ndarray]:
    return [texture(seed)] * count


def other_scene(count: int) -> list[np.ndarray]:
    """A picture with nothing in common with the grey-brown `texture`: dark, and blue."""
    return [texture(99) // 4 + np.array([0, 0, 90], np.uint8)] * count


@pytest.fixture(scope="module")
def bikes() -> list[Frame]:
    return list(open_video(videos.bikes()))


@pytest.fixture(scope="module")
def world() -> list[Frame]:
    return list(open_video(videos.world()))


@pytest.fixture(scope="module")
def bigbuckbunny() -> list[Frame]:
    return list(open_video(videos.bigbuckbunny()))


@pytest.fixture(scope="module")
def screen_recording() -> list[Frame]:
    return list(open_video(videos.screen_recording(), max_side=768))


# The scale of the flow


def solved_directly(before: np.ndarray, after: np.ndarray) -> float:
    """The mean flow as the paper's equation says: every window unfolded, its 2 x 2 system solved in float64."""
    wide = np.pad(before.astype(np.float64), 1, mode="reflect")
    smooth, slope = np.array([1, 2, 1]), np.array([-1, 0, 1])
    patches = np.lib.stride_tricks.sliding_window_view(wide, (3, 3))
    along_x = np.einsum("hwij,i,j->hw", patches, smooth, slope)
    along_y = np.einsum("hwij,i,j->hw", patches, slope, smooth)
    over_time = after.astype(np.float64) - before
    windows = [
        np.lib.stride_tricks.sliding_window_view(np.pad(values, 2), (5, 5)).reshape(*before.shape, 25)
        for values in (along_x, along_y, over_time)
    ]
    slopes = np.stack(windows[:2], axis=-1)  # [H, W, 25, 2]
    matrix = np.swapaxes(slopes, -1, -2) @ slopes + 1e-6 * np.eye(2)
    right = -np.swapaxes(slopes, -1, -2) @ windows[2][..., None]
    return float(np.linalg.norm(np.linalg.solve(matrix, right)[..., 0], axis=-1).mean())


def test_box_filters_agree_with_solving_every_window(bikes: list[Frame], bigbuckbunny: list[Frame]) -> None:
    fast, direct = [], []
    for one, other in [*pairwise(bikes[20:36]), *pairwise(bigbuckbunny[30:38])]:
        before, after = optical_flow.grey_of(one.data), optical_flow.grey_of(other.data)
        fast.append(optical_flow.mean_flow(before, after))
        direct.append(solved_directly(before, after))
    assert fast == pytest.approx(direct, abs=3e-3)
    for threshold in (0.13, 0.35, 0.58):
        same = [(a > threshold) == (b > threshold) for a, b in zip(fast, direct, strict=True)]
        assert np.mean(same) >= 0.99


@pytest.mark.parametrize(
    ("video", "median", "kept"),
    [("bikes", 0.68, (116, 96, 64)), ("bigbuckbunny", 0.055, (14, 0, 0)), ("world", 0.023, (0, 0, 0))],
)
def test_the_thresholds_belong_to_this_scale(
    video: str, median: float, kept: tuple[int, ...], request: pytest.FixtureRequest
) -> None:
    """Measured with the paper's rule alone on the first 120 frames."""
    meter = optical_flow.FlowMeter()
    motion = np.array([meter.motion(frame.data) for frame in request.getfixturevalue(video)[:120]])
    assert np.median(motion) == pytest.approx(median, rel=0.05, abs=0.002)
    assert [int((motion > threshold).sum()) for threshold in (0.13, 0.35, 0.58)] == pytest.approx(kept, abs=2)


def test_vertical_motion_is_seen_as_well_as_horizontal() -> None:
    square = texture(3, 360, 360)
    lengths = []
    for step in ((0, 1), (1, 0)):
        meter = optical_flow.FlowMeter()
        motion = [meter.motion(np.roll(square, (step[0] * n, step[1] * n), (0, 1))) for n in range(6)]
        lengths.append(np.mean(motion[1:]))
        assert motion[0] == 0
    assert lengths[0] == pytest.approx(lengths[1], rel=0.1)
    assert lengths[0] == pytest.approx(336 / 360 / 8, rel=0.25), "a pixel counts as an eighth"


def test_straight_edges_do_not_break_the_solution() -> None:
    """All windows of such a picture have one direction only: the matrix alone could not be inverted."""
    down, along = np.mgrid[:336, :336]
    for slope in (1, 1.5, 3):
        greys = [np.where((along + slope * down + step) // 16 % 2, 220, 20) for step in range(3)]
        before, after = (optical_flow.grey_of(np.dstack([grey.astype(np.uint8)] * 3)) for grey in greys[:2])
        assert optical_flow.mean_flow(before, after) == pytest.approx(solved_directly(before, after), abs=3e-3)


def test_flat_pictures_do_not_move() -> None:
    meter = optical_flow.FlowMeter()
    assert [meter.motion(np.full((50, 80, 3), 90, np.uint8)) for _ in range(3)] == [0, 0, 0]


# Cuts


def test_the_cuts_of_a_real_video_are_kept(bikes: list[Frame]) -> None:
    for name in GUARDED:
        selections = select(build(name), bikes)
        cuts = [index for index, selection in enumerate(selections) if selection.cut]
        assert len(cuts) == 5, name
        assert all(selections[cut].kept for cut in cuts)
        assert all(0 <= cut - true <= 5 for cut, true in zip(cuts, (30, 76, 137, 187, 242), strict=True)), cuts


def test_a_cut_between_still_scenes_is_kept_at_once() -> None:
    video = frames_of([*still(20, 1), *other_scene(20)])
    for name in GUARDED:
        selections = select(build(name), video)
        assert [index for index, selection in enumerate(selections) if selection.kept] == [0, 20]
        assert [selection.cut for selection in selections].index(True) == 20


def test_the_first_frame_is_no_cut() -> None:
    for name in NAMES:
        assert not build(name).select(frames_of(still(1))[0]).cut


def test_a_flash_ends_no_scene() -> None:
    white = np.full((270, 480, 3), 255, np.uint8)
    detector = base.CutDetector()
    cuts = [detector.is_cut(frame) for frame in frames_of([*still(20), white, white, *still(20)])]
    assert not any(cuts[22:]), "what comes back was there before"
    assert sum(cuts) <= 1


def test_a_strobe_is_one_cut_at_most() -> None:
    detector = base.CutDetector()
    white = np.full((270, 480, 3), 255, np.uint8)
    video = frames_of([white if number // 2 % 2 else texture(0) for number in range(240)], rate=60)
    assert sum(detector.is_cut(frame) for frame in video) <= 1


@pytest.mark.parametrize("fade_frames", [5, 12, 25, 75])
def test_a_fade_does_not_fire_every_frame(fade_frames: int) -> None:
    steps = np.linspace(1, 0, fade_frames)
    detector = base.CutDetector()
    video = [*still(10), *[(texture(0) * step).astype(np.uint8) for step in steps]]
    video += [(texture(5) * step).astype(np.uint8) for step in steps[::-1]]
    assert sum(detector.is_cut(frame) for frame in frames_of(video)) <= 2


def test_a_pan_is_no_cut() -> None:
    wide = texture(2, 270, 1400)
    detector = base.CutDetector()
    video = frames_of([wide[:, 8 * number :][:, :480] for number in range(100)])
    assert not any(detector.is_cut(frame) for frame in video)


# Guards


@pytest.mark.parametrize("name", GUARDED)
def test_the_heartbeat_keeps_a_still_video_alive(name: str) -> None:
    video = frames_of(still(RATE * 9))
    assert kept_times(name, video) == [0, 2, 4, 6, 8]
    assert kept_times(name, video, Options(heartbeat_seconds=3)) == [0, 3, 6]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("ceiling", [1, 3, 5])
def test_no_second_keeps_more_than_the_ceiling(name: str, ceiling: int) -> None:
    """A video at 60 frames a second in which every frame is another picture, and every option asks for all."""
    pictures = [texture(seed) for seed in range(12)]
    video = frames_of([pictures[n] for n in NOISE.integers(0, 12, 300)], rate=60)
    options = Options(motion_threshold=0, heartbeat_seconds=0.01, max_kept_per_second=ceiling)
    times = kept_times(name, video, options)
    assert times[0] == 0
    for start in times:
        assert sum(start <= time <= start + 1 for time in times) <= ceiling
    assert len(times) >= 4 * ceiling, "the ceiling is reached, though not passed"


def test_the_threshold_rises_as_the_bucket_empties() -> None:
    still_frame = texture(0)
    shaken = [np.roll(still_frame, 9 * (number % 2), axis=1) for number in range(20)]
    selections = select(build("optical_flow"), frames_of(shaken))
    seen = [selection.threshold for selection in selections]
    assert seen[0] == pytest.approx(0.35)
    assert seen == sorted(seen)
    for selection in selections[1:]:
        assert selection.kept == (selection.motion > selection.threshold)


def test_a_cut_at_the_ceiling_is_kept_as_soon_as_may_be() -> None:
    """The bucket is empty when the scene changes: a second after the first frame there is a token again."""
    options = Options(motion_threshold=0, max_kept_per_second=2)
    video = frames_of([*[np.roll(texture(0), 4 * n, axis=1) for n in range(10)], *other_scene(40)])
    selections = select(build("optical_flow", options), video)
    assert [index for index, selection in enumerate(selections) if selection.kept][:2] == [0, 1]
    cuts = [index for index, selection in enumerate(selections) if selection.cut]
    assert cuts == [26]
    assert selections[26].kept
    assert selections[10].threshold == float("inf")


# Novelty


def walking(width: int, height: int, contrast: float) -> list[np.ndarray]:
    """A dark figure crosses a fixed picture in six seconds."""
    video = []
    for number in range(RATE * 6):
        picture = texture(4).astype(np.float32)
        left = number * (480 - width) // (RATE * 6)
        picture[120 : 120 + height, left : left + width] *= 1 - contrast
        video.append(picture.astype(np.uint8))
    return video


def test_novelty_keeps_someone_walking_through() -> None:
    video = frames_of(walking(24, 70, 0.6))
    bare = Options(heartbeat_seconds=1000)
    assert len(kept_times("novelty", video, bare)) >= 6
    assert len(kept_times("optical_flow", video, bare)) <= 2, "too few pixels for the mean flow"


def test_novelty_adds_up_slow_change(world: list[Frame]) -> None:
    times = kept_times("novelty", world, Options(heartbeat_seconds=1000))
    assert 8 <= len(times) <= 30, "a frame every few seconds of a globe that turns in thirty"
    assert max(later - earlier for earlier, later in pairwise(times)) < 8


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("disturbance", ["noise", "flicker", "compression"])
def test_novelty_ignores_what_is_not_news(disturbance: str, preset: str) -> None:
    picture = texture(6).astype(np.float32)
    video = []
    for number in range(RATE * 4):
        disturbed: np.ndarray = picture
        if disturbance == "noise":
            disturbed = picture + NOISE.normal(0, 15, picture.shape)
        elif disturbance == "flicker":
            disturbed = picture * (1 + 0.05 * np.sin(number))
        rgb = disturbed.clip(0, 255).astype(np.uint8)
        if disturbance == "compression":
            quality = [cv2.IMWRITE_JPEG_QUALITY, 20 + number % 10 * 7]
            rgb = np.asarray(cv2.imdecode(cv2.imencode(".jpg", rgb, quality)[1], cv2.IMREAD_COLOR))
        video.append(rgb)
    assert kept_times("novelty", frames_of(video), Options.preset(preset, heartbeat_seconds=1000)) == [0]


@pytest.mark.parametrize(
    ("video", "kept"),
    [
        ("bikes", (38, 32, 26)),
        ("bigbuckbunny", (18, 14, 10)),
        ("world", (38, 21, 16)),
        ("screen_recording", (11, 8, 5)),
    ],
)
def test_novelty_keeps_as_much_as_its_preset_promises(
    video: str, kept: tuple[int, ...], request: pytest.FixtureRequest
) -> None:
    """Measured on whole real videos; `fast` is all but the heartbeat alone on the last two."""
    frames = request.getfixturevalue(video)
    assert tuple(len(kept_times("novelty", frames, Options.preset(name))) for name in PRESETS) == pytest.approx(
        kept, abs=2
    )


@pytest.mark.parametrize(("preset", "black_frames"), [("slow", 20), ("base", 20), ("fast", 30)])
def test_novelty_keeps_text_that_appears_on_black(preset: str, black_frames: int) -> None:
    """With `fast` a faint line waits until all tokens of the ceiling are back, a second after the first frame."""
    titled = np.zeros((270, 480, 3), np.uint8)
    cv2.putText(titled, "Chapter 2", (180, 140), cv2.FONT_HERSHEY_SIMPLEX, 0.7, (255, 255, 255), 1, cv2.LINE_AA)
    video = frames_of([np.zeros_like(titled)] * black_frames + [titled] * 20)
    assert kept_times("novelty", video, Options.preset(preset)) == [0, black_frames / RATE]


# Uniform


def test_uniform_keeps_by_time_alone_and_does_not_drift() -> None:
    video = frames_of(still(900), rate=30000 / 1001)
    times = kept_times("uniform", video, Options(heartbeat_seconds=1.5))
    assert len(times) == 20  # 900 frames end just before 30 s
    assert all(0 <= time - number * 1.5 < 0.034 for number, time in enumerate(times))


def test_uniform_reports_a_cut_with_the_next_kept_frame() -> None:
    video = frames_of([*still(60, 1), *other_scene(60)])  # the scene changes at 2.4 s
    selections = select(build("uniform"), video)
    assert [index for index, selection in enumerate(selections) if selection.kept] == [0, 50, 100]
    assert [index for index, selection in enumerate(selections) if selection.cut] == [100]


def test_uniform_takes_up_after_a_gap() -> None:
    video = [Frame(texture(0), seconds, index) for index, seconds in enumerate((0, 1, 7, 7.5, 8, 9))]
    assert kept_times("uniform", video) == [0, 7, 8]


# What every selector must do


every_selector = pytest.mark.parametrize("name", NAMES)


@every_selector
def test_the_first_frame_is_kept(name: str) -> None:
    for picture in (np.zeros((270, 480, 3), np.uint8), texture(0), texture(0, 60, 45)):
        first = build(name).select(Frame(picture, 12.5, 40))
        assert first.kept
        assert first.motion >= 0


@every_selector
def test_selection_repeats(name: str, bikes: list[Frame]) -> None:
    assert select(build(name), bikes[:60]) == select(build(name), bikes[:60])


@every_selector
def test_selection_is_causal(name: str, bikes: list[Frame]) -> None:
    assert select(build(name), bikes[:60])[:40] == select(build(name), bikes[:40])


@every_selector
def test_frames_are_not_written_to(name: str) -> None:
    video = frames_of([texture(0), texture(1), texture(2)])
    for frame in video:
        frame.data.flags.writeable = False
    select(build(name), video)


@every_selector
def test_the_size_may_change_in_mid_stream(name: str) -> None:
    sizes = [(270, 480), (480, 270), (36, 64), (540, 960), (33, 47)]
    video = frames_of([texture(0, *sizes[number // 10]) for number in range(50)])
    selections = select(build(name), video)
    assert selections[0].kept
    assert all(np.isfinite(selection.motion) for selection in selections)


@every_selector
def test_a_selector_keeps_part_of_a_real_video(name: str, bikes: list[Frame]) -> None:
    times = kept_times(name, bikes)
    assert 5 <= len(times) <= 50
    assert max(later - earlier for earlier, later in pairwise(times)) <= 2.05


@every_selector
@pytest.mark.parametrize("video", ["bikes", "bigbuckbunny", "world", "screen_recording"])
def test_slow_keeps_most_of_a_real_video_and_fast_fewest(name: str, video: str, request: pytest.FixtureRequest) -> None:
    frames = request.getfixturevalue(video)[:250]
    slow, normal, fast = (len(kept_times(name, frames, Options.preset(preset))) for preset in PRESETS)
    assert slow >= normal >= fast >= 2
    assert slow > fast or video == "world", "what hardly moves may be left to the heartbeat"


@every_selector
def test_only_kept_frames_are_cuts(name: str, bikes: list[Frame]) -> None:
    assert all(selection.kept for selection in select(build(name), bikes) if selection.cut)


def test_the_names_of_the_selectors() -> None:
    assert set(NAMES) >= {"novelty", "optical_flow", "uniform"}
    assert "base" not in NAMES
