"""Files as recorders, phones and broken copies make them: true times, the right pictures, and what is missing said."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import videos
from hypothesis import example, given
from hypothesis import strategies as st

from streamchat.errors import InputError
from streamchat.types import Frame
from streamchat.video.file import VideoFile, open_video
from streamchat.video.timeline import Timeline, timed

COUNT = 50
RATE = 25


def numbers(frames: Iterable[Frame]) -> list[int]:
    return [videos.number_of(frame.data) for frame in frames]


def times(frames: Iterable[Frame]) -> list[float]:
    return [frame.pts_seconds for frame in frames]


def pictures(first: int = 0, count: int = COUNT) -> list[np.ndarray]:
    return [videos.numbered(number) for number in range(first, first + count)]


def is_evenly_spaced(frames: Sequence[Frame]) -> bool:
    return times(frames) == pytest.approx([number / RATE for number in range(len(frames))], abs=2e-3)


def joined(path: Path, starts: Sequence[float]) -> Path:
    """A transport stream of parts of 2 s, joined as bytes, whose clock stands at `starts` at the beginning of each."""
    data = b""
    for number, start in enumerate(starts):
        part = videos.write(path.with_name(f"part{number}.ts"), pictures(number * COUNT))
        data += videos.remuxed(part, path.with_name(f"moved{number}.ts"), shift_seconds=start).read_bytes()
    path.write_bytes(data)
    return path


def with_stamps(path: Path, stamps: Sequence[float]) -> Path:
    """An MKV of pictures that are all keyframes, whose packets have these times in seconds."""
    made = videos.write(path.with_name("plain.mkv"), pictures(count=len(stamps)), options={"g": "1", "bf": "0"})
    with av.open(str(made)) as read, av.open(str(path), "w") as write:
        stream = read.streams.video[0]
        copy = write.add_stream_from_template(stream)
        packets = [packet for packet in read.demux(stream) if packet.dts is not None]
        for packet, stamp in zip(packets, stamps, strict=True):
            packet.pts = packet.dts = round(stamp / packet.time_base)
            packet.stream = copy
            write.mux(packet)
    return path


class TestClock:
    @pytest.mark.parametrize(
        "starts",
        [(0.0, 0.0, 0.0), (10.0, 4.0), (0.0, 37600.0), (20000.0, 57600.0, 20004.0), (0.0, 1e4, 2.0, 2e4)],
        ids=["joined", "back", "ahead", "ahead and back", "again and again"],
    )
    def test_where_it_jumps_times_go_on(self, starts: tuple[float, ...], tmp_path: Path) -> None:
        opened = open_video(joined(tmp_path / "joined.ts", starts))
        frames = list(opened)
        assert numbers(frames) == list(range(COUNT * len(starts)))
        assert is_evenly_spaced(frames)
        assert opened.duration_seconds == pytest.approx(2.0 * len(starts), abs=0.05)
        for number in (0, 30, 60, 95):
            assert videos.number_of(opened.frame_at(number / RATE).data) == number
        rest = list(opened.after(frames[70]))
        assert numbers(rest) == list(range(71, COUNT * len(starts)))
        assert times(rest) == times(frames[71:])
        (note,) = opened.notes
        assert note.startswith("the clock of 'joined.ts' jumps")

    def test_a_stray_stamp_moves_nothing_else(self, tmp_path: Path) -> None:
        true = [number / RATE for number in range(COUNT)]
        for stray in (100.0, 0.0):
            stamps = [*true[:20], stray, *true[21:]]
            if stray > 1:  # a muxer refuses to go back
                stamps = [*true[:20], 100.0, *[100.0 + number / RATE for number in range(1, 30)]]
            frames = list(timed([(stamp, None) for stamp in stamps], Timeline.of_rate(RATE, broadcast=False)))
            if stray == 0.0:
                assert [seconds for seconds, _ in frames] == pytest.approx(true)
        one = [*true[:20], 100.0, *true[21:]]
        placed = [seconds for seconds, _ in timed([(stamp, None) for stamp in one], Timeline(1 / RATE, 3600.0))]
        assert placed == pytest.approx(true)

    def test_a_still_screen_of_minutes_is_no_jump(self, tmp_path: Path) -> None:
        shown = [*(number / RATE for number in range(25)), *(600 + number / RATE for number in range(25))]
        opened = open_video(with_stamps(tmp_path / "still.mkv", shown))
        assert times(opened) == pytest.approx(shown, abs=2e-3)
        assert not opened.notes

    def test_a_plain_broadcast_is_believed_and_sought_in(self, tmp_path: Path) -> None:
        opened = open_video(videos.remuxed(videos.write(tmp_path / "p.ts", pictures()), tmp_path / "q.ts"))
        assert is_evenly_spaced(list(opened))
        assert not opened.notes

    @given(st.lists(st.one_of(st.none(), st.floats(-1e6, 1e6)), max_size=60))
    @example([532011.7941646094, -516564.6181613846, 0.0, -516564.6181613846])
    @example([None, 1.0, 5e-324])
    def test_any_stamps_give_times_that_grow(self, stamps: list[float | None]) -> None:
        placed = [seconds for seconds, _ in timed([(stamp, None) for stamp in stamps], Timeline(0.04, 10.0))]
        assert len(placed) == len(stamps)
        assert all(one < other for one, other in itertools.pairwise(placed))


def test_the_first_picture_is_shown_from_0_on_though_sound_comes_before(tmp_path: Path) -> None:
    for name in ("late.mkv", "late.ts", "late.mp4"):
        path = tmp_path / name
        with av.open(str(path), "w") as write:
            sound = videos._sound_stream(write)
            stream: Any = write.add_stream("libx264", rate=RATE)
            stream.width, stream.height, stream.pix_fmt = 320, 176, "yuv420p"
            for number, picture in enumerate(pictures()):
                frame = av.VideoFrame.from_ndarray(picture, "rgb24")
                frame.pts, frame.time_base = number + 8, Fraction(1, RATE)
                write.mux(stream.encode(frame))
            write.mux(stream.encode(None))
            videos._add_silence(write, sound, 6.0)
        opened = open_video(path)
        frames = list(opened)
        assert frames[0].pts_seconds == 0, name
        assert is_evenly_spaced(frames), name
        assert videos.number_of(opened.frame_at(0.0).data) == 0
        assert videos.number_of(opened.frame_at(1.0).data) == 25
        assert not opened.notes, "sound that is longer than the picture is no cut"


def two_streams(path: Path, *, first: str, first_size: tuple[int, int], count: int) -> Path:
    """A file whose first stream of pictures shows 500 and counts on, and whose second one shows 0 and on."""
    with av.open(str(path), "w") as write:
        streams: list[Any] = [write.add_stream(first, rate=RATE), write.add_stream("libx264", rate=RATE)]
        for stream, (width, height) in zip(streams, (first_size, (320, 176)), strict=True):
            stream.width, stream.height = width, height
            stream.pix_fmt = "yuvj420p" if stream.codec_context.name == "mjpeg" else "yuv420p"
        width, height = first_size
        for number in range(COUNT):
            if number < count:
                shown = videos.numbered(500 + number, width=width, height=height)
                write.mux(streams[0].encode(av.VideoFrame.from_ndarray(shown, "rgb24")))
            write.mux(streams[1].encode(av.VideoFrame.from_ndarray(videos.numbered(number), "rgb24")))
        for stream in streams:
            write.mux(stream.encode(None))
    return path


class TestStreams:
    def test_a_cover_that_is_not_marked_is_not_the_video(self, tmp_path: Path) -> None:
        opened = open_video(two_streams(tmp_path / "cover.mkv", first="mjpeg", first_size=(640, 640), count=1))
        frames = list(opened)
        assert numbers(frames) == list(range(COUNT))
        assert numbers([opened.frame_at(1.0), next(opened.after(frames[30]))]) == [25, 31]
        assert not opened.notes

    def test_of_two_cameras_one_is_read_and_the_other_can_be_asked_for(self, tmp_path: Path) -> None:
        path = two_streams(tmp_path / "two.mkv", first="libx264", first_size=(320, 176), count=COUNT)
        opened = open_video(path)
        assert numbers(opened) == list(range(500, 500 + COUNT))
        assert opened.notes == ("'two.mkv' has 2 video streams, of which one is read: --stream N takes another",)
        other = open_video(path, stream=2)
        assert numbers(other) == list(range(COUNT))
        assert videos.number_of(other.frame_at(1.0).data) == 25
        assert not other.notes
        for wrong in (0, 3, -1):
            with pytest.raises(InputError, match=r"has 2 video streams: give --stream 1 to 2"):
                open_video(path, stream=wrong)


def bar_side(picture: np.ndarray) -> str:
    """On which side of a picture of `numbered` its red bar is."""
    red = (picture[..., 0].astype(int) - picture[..., 1]) > 80
    high, wide = red.shape
    sides = {
        "top": red[: high // 6],
        "bottom": red[-high // 6 :],
        "left": red[:, : wide // 6],
        "right": red[:, -wide // 6 :],
    }
    return max(sides, key=lambda side: sides[side].mean())


class TestShape:
    @pytest.mark.parametrize("transposed", [False, True])
    @pytest.mark.parametrize("left_right", [False, True])
    @pytest.mark.parametrize("up_down", [False, True])
    def test_every_way_to_turn_and_mirror_is_undone(
        self, transposed: bool, left_right: bool, up_down: bool, tmp_path: Path
    ) -> None:
        """The display matrix maps a coded picture to the shown one; what lies in the file is its inverse."""
        lying = videos.numbered(0b1011)[:: -1 if up_down else 1, :: -1 if left_right else 1]
        lying = np.ascontiguousarray(lying.swapaxes(0, 1) if transposed else lying)
        x, y = (-1 if left_right else 1), (-1 if up_down else 1)
        matrix = (0, y, x, 0) if transposed else (x, 0, 0, y)
        path = tmp_path / "turned.mp4"
        with av.open(str(path), "w") as write:
            stream: Any = write.add_stream("libx264", rate=RATE)
            stream.height, stream.width = lying.shape[:2]
            stream.pix_fmt = "yuv420p"
            a, b, c, d = matrix
            one = 1 << 16
            stream.set_display_matrix([a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30])
            for _ in range(3):
                write.mux(stream.encode(av.VideoFrame.from_ndarray(lying, "rgb24")))
            write.mux(stream.encode(None))
        opened = open_video(path)
        for frame in (next(iter(opened)), opened.frame_at(0)):
            assert frame.data.shape == (176, 320, 3)
            assert videos.number_of(frame.data) == 0b1011
            assert bar_side(frame.data) == "top"

    def test_pictures_that_change_their_size_keep_their_proportions(self, tmp_path: Path) -> None:
        landscape = videos.write(tmp_path / "a.webm", [videos.disc(320, 176, Fraction(1))] * 20, codec="libvpx")
        high = np.zeros((426, 240, 3), np.uint8)
        high[93:333] = videos.disc(240, 240, Fraction(1))
        portrait = videos.write(tmp_path / "b.webm", [high] * 20, codec="libvpx")
        path = tmp_path / "turned.webm"
        with av.open(str(path), "w") as write, av.open(str(landscape)) as one, av.open(str(portrait)) as other:
            copy = write.add_stream_from_template(one.streams.video[0])
            for number, packet in enumerate(itertools.chain(one.demux(video=0), other.demux(video=0))):
                if packet.dts is not None:
                    packet.pts = packet.dts = number * 40
                    packet.time_base = Fraction(1, 1000)
                    packet.stream = copy
                    write.mux(packet)
        opened = open_video(path)
        frames = list(opened)
        assert len(frames) == 40
        for frame in (frames[0], frames[-1], opened.frame_at(1.2)):
            assert frame.data.shape == (176, 320, 3)
            rows, columns = np.nonzero(frame.data[..., 1] > 125)
            assert np.ptp(rows) == pytest.approx(np.ptp(columns), abs=3), "a circle stays round"

    @pytest.mark.parametrize("size", [(1280, 16), (16, 1280), (2000, 64)])
    def test_very_thin_pictures_get_black_beside_them(self, size: tuple[int, int], tmp_path: Path) -> None:
        width, height = size
        path = videos.write(tmp_path / "thin.mp4", [np.full((height, width, 3), 200, np.uint8)] * 3)
        for frame in open_video(path):
            high, wide = frame.data.shape[:2]
            assert max(high, wide) == 768
            assert max(high, wide) == 8 * min(high, wide)
            assert frame.data[high // 2, wide // 2].min() > 150
            assert frame.data[0, 0].max() == 0


def test_hd_colors_that_are_not_named_are_those_of_hd(tmp_path: Path) -> None:
    color = (200, 120, 40)
    for width, height, red, blue in ((1280, 720, 0.2126, 0.0722), (640, 360, 0.299, 0.114)):
        path = videos.of_one_color(
            tmp_path / f"{height}.mp4", color, red=red, blue=blue, colorspace=2, size=(width, height)
        )
        frame = next(iter(open_video(path)))
        assert np.abs(frame.data.reshape(-1, 3).mean(0) - color).max() < 4, height


def test_reading_wins_where_seeking_gives_other_pictures(tmp_path: Path) -> None:
    """Old x264 coded 4:4:4 its own way; decoders know it by a note at the start of a file, which a seek leaves out."""
    rng = np.random.default_rng(0)
    scenes = [np.kron(rng.integers(0, 255, (22, 40, 3)), np.ones((8, 8, 1))).astype(np.uint8) for _ in range(3)]
    shown = [np.roll(scene, 3 * step, 1) for scene in scenes for step in range(20)]
    made = tmp_path / "made.mkv"
    with av.open(str(made), "w") as write:
        stream: Any = write.add_stream("libx264", rate=RATE, options={"g": "20", "bf": "0", "x264-params": "8x8dct=1"})
        stream.width, stream.height, stream.pix_fmt = 320, 176, "yuv444p"
        for picture in shown:
            write.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        write.mux(stream.encode(None))
    data = made.read_bytes()
    place = data.index(b"x264 - core ") + len(b"x264 - core ")
    path = tmp_path / "old.mkv"
    path.write_bytes(data[:place] + b"120" + data[place + 3 :])
    frames = list(open_video(path))
    by_seeking = open_video(path)
    by_seeking._seeks_truly = True
    wrong = np.abs(by_seeking.frame_at(45 / RATE).data.astype(int) - frames[45].data).mean()
    assert wrong > 1, "so this decoder gets it wrong"
    for number in (25, 45, 59):
        found = open_video(path).frame_at(number / RATE)
        assert np.abs(found.data.astype(int) - frames[number].data).mean() < 1


class TestCut:
    @pytest.mark.parametrize("name", ["cut.mp4", "cut.mkv", "cut.webm", "cut.flv", "cut.avi"])
    def test_a_file_that_was_cut_off_says_where_it_ends(self, name: str, tmp_path: Path) -> None:
        codec = {"webm": "libvpx", "avi": "mpeg4"}.get(name.rpartition(".")[2], "libx264")
        options = {"movflags": "faststart"} if name.endswith("mp4") else {}
        whole = videos.write(tmp_path / f"whole_{name}", pictures(count=250), codec=codec, container_options=options)
        path = tmp_path / name
        path.write_bytes(whole.read_bytes()[: whole.stat().st_size * 3 // 5])
        opened = open_video(path)
        frames = list(opened)
        assert 75 < len(frames) < 250
        assert numbers(frames)[:75] == list(range(75))
        if name == "cut.avi":  # its index is missing too, so it does not say how long it was
            return
        (note,) = opened.notes
        assert note.startswith(f"'{name}' is cut off: it ends at 0:0")
        assert "of 0:10; questions about later times are about its end" in note
        assert opened.duration_seconds == pytest.approx(len(frames) / RATE, abs=0.1)
        assert not VideoFile.notes.fget(open_video(whole)), "the whole one says nothing"  # type: ignore[attr-defined]

    def test_the_last_frames_before_a_cut_are_kept(self, tmp_path: Path) -> None:
        whole = videos.write(
            tmp_path / "whole.mp4", pictures(), options={"bf": "3"}, container_options={"movflags": "faststart"}
        )
        with av.open(str(whole)) as container:
            entries = container.streams.video[0].index_entries
            end = entries[30].pos + entries[30].size  # 31 packets are whole
        path = tmp_path / "cut.mp4"
        path.write_bytes(whole.read_bytes()[:end])
        assert len(list(open_video(path))) == 31

    @pytest.mark.parametrize("share", [0.5, 0.7, 0.9])
    def test_a_recording_in_fragments_is_read_up_to_its_cut(self, share: float, tmp_path: Path) -> None:
        whole = videos.write(
            tmp_path / "whole.mp4",
            pictures(count=100),
            options={"g": "10"},
            container_options={"movflags": "frag_keyframe+empty_moov"},
        )
        data = whole.read_bytes()
        last = data.rindex(b"moof", 0, int(len(data) * share))
        path = tmp_path / "cut.mp4"
        path.write_bytes(data[: last + 40])  # within the index of a fragment
        opened = open_video(path)
        frames = list(opened)
        assert len(frames) >= 10 * (data[:last].count(b"moof"))
        assert numbers(frames) == list(range(len(frames)))
        assert videos.number_of(opened.frame_at(0.3).data) == 7

    def test_an_unfinished_mp4_is_called_that(self, tmp_path: Path) -> None:
        whole = videos.write(tmp_path / "whole.mp4", pictures())
        path = tmp_path / "cut.mp4"
        path.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
        with pytest.raises(InputError, match=r"'cut.mp4' is an unfinished MP4: its index, .* is missing"):
            open_video(path)

    @pytest.mark.parametrize("change", ["deleted", "overwritten"])
    def test_a_file_that_goes_while_it_is_read_gives_what_it_can(self, change: str, tmp_path: Path) -> None:
        path = videos.write(tmp_path / "going.mkv", pictures(count=200), options={"g": "10"})
        opened = open_video(path)
        frames = iter(opened)
        first = [next(frames) for _ in range(10)]
        if change == "deleted":
            path.unlink()
            with pytest.raises(InputError, match=r"'going.mkv' can no longer be read"):
                opened.frame_at(7.0)
        else:
            path.write_bytes(b"something else" * 1000)
            with pytest.raises(InputError, match=r"'going.mkv' can no longer be read"):
                opened.frame_at(7.0)
        assert numbers(first) == list(range(10))


class TestNames:
    @pytest.mark.parametrize(
        "name", ["12:30 concert.mp4", "-y.mp4", "100%d.mp4", "a[1]{2}.mp4", "file:x.mp4", "tschüß.mp4", "http:.mp4"]
    )
    def test_any_name_is_a_name(self, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        made = videos.write(tmp_path / "made.mp4", pictures(count=3))
        made.rename(tmp_path / name)
        monkeypatch.chdir(tmp_path)
        assert numbers(open_video(name)) == [0, 1, 2]
        assert numbers(open_video(tmp_path / name)) == [0, 1, 2]

    def test_one_that_is_too_long_is_refused_in_our_words(self) -> None:
        with pytest.raises(InputError, match=r"cannot be opened: .*too long"):
            open_video("x" * 5000)
        with pytest.raises(InputError, match="there is no file"):
            open_video("a\0b.mp4")


def test_urls_and_lists_are_opened_where_they_are_allowed(tmp_path: Path) -> None:
    made = videos.write(tmp_path / "made.ts", pictures())
    playlist = tmp_path / "list.m3u8"
    playlist.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:2,\n{made.name}\n#EXT-X-ENDLIST\n")
    assert numbers(open_video(playlist, allow_urls=True)) == list(range(COUNT))
    with pytest.raises(InputError, match="playlists, are not followed"):
        open_video(playlist)
    with pytest.raises(InputError, match=r"'http://127.0.0.1:9/x.mp4' cannot be opened: .*refused"):
        open_video("http://127.0.0.1:9/x.mp4", allow_urls=True)
    with pytest.raises(InputError, match="there is no file"):
        open_video("http://127.0.0.1:9/x.mp4")
