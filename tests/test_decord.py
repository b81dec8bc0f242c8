"""Reading with decord, by option: the same as PyAV where it is used, and PyAV where it cannot be."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import videos

from streamchat.errors import InputError
from streamchat.types import Frame
from streamchat.video import decord_reader
from streamchat.video.file import VideoFile, open_video
from streamchat.video.probe import Facts

decord = pytest.importorskip("decord")
COUNT = 60


def numbers(frames: list[Frame]) -> list[int]:
    return [videos.number_of(frame.data) for frame in frames]


def read(path: Path) -> tuple[VideoFile, list[Frame]]:
    opened = open_video(path, reader="decord")
    return opened, list(opened)


def pictures(count: int = COUNT) -> list[np.ndarray]:
    return [videos.numbered(number) for number in range(count)]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """H.264 in groups of 20 frames, 25 a second."""
    return videos.write(tmp_path_factory.mktemp("videos") / "plain.mp4", pictures(), options={"g": "20"})


@pytest.mark.parametrize("real", [videos.bikes, videos.world])
def test_it_agrees_with_pyav_on_real_videos(real: object) -> None:
    path = real()  # type: ignore[operator]
    by_pyav = list(open_video(path))
    opened, by_decord = read(path)
    assert opened.reader == "decord"
    assert len(by_decord) == len(by_pyav)
    for one, other in zip(by_decord, by_pyav, strict=True):
        assert one.pts_seconds == pytest.approx(other.pts_seconds, abs=1e-3)
    for one, other in zip(by_decord[::10], by_pyav[::10], strict=True):
        assert one.data.shape == other.data.shape
        assert np.abs(one.data.astype(int) - other.data).mean() < 2


@pytest.mark.parametrize("group", [5, 20, 45])
def test_it_loses_nothing_where_its_chunks_meet(group: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decord_reader, "CHUNK_BYTES", 0)  # as few frames a chunk as allowed
    opened, frames = read(videos.write(tmp_path / "groups.mp4", pictures(100), options={"g": str(group), "bf": "3"}))
    assert opened.reader == "decord"
    assert numbers(frames) == list(range(100))


def test_pyav_reads_what_it_cannot(tmp_path: Path, plain: Path) -> None:
    open_gop = {"x264-params": "open-gop=1:keyint=20:min-keyint=20:bframes=3:scenecut=0"}
    for path in (
        videos.write(tmp_path / "open.mp4", pictures(), options=open_gop),
        videos.write(tmp_path / "old.avi", pictures(), codec="mpeg4"),
        videos.remuxed(plain, tmp_path / "late.mp4", shift_seconds=2.0),
        videos.write(tmp_path / "turned.mp4", pictures(), rotation=90),
    ):
        opened, frames = read(path)
        assert opened.reader == "pyav", path.name
        assert len(frames) == COUNT


def test_pyav_goes_on_where_it_fails(
    plain: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    whole = decord_reader.pictures

    def fails_midway(facts: Facts) -> object:
        for count, picture in enumerate(whole(facts)):
            if count == 33:
                raise decord.DECORDError("cannot decode")
            yield picture

    monkeypatch.setattr(decord_reader, "pictures", fails_midway)
    with caplog.at_level(logging.WARNING):
        _, frames = read(plain)
    assert numbers(frames) == list(range(COUNT))
    assert [frame.index for frame in frames] == list(range(COUNT))
    assert "PyAV goes on: cannot decode" in caplog.text


def test_without_it_pyav_reads_all(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decord_reader, "decord", None)
    opened, frames = read(plain)
    assert opened.reader == "pyav"
    assert numbers(frames) == list(range(COUNT))


def test_a_reader_that_does_not_exist_is_refused(plain: Path) -> None:
    with pytest.raises(InputError, match="the reader must be pyav or decord, got 'opencv'"):
        open_video(plain, reader="opencv")
