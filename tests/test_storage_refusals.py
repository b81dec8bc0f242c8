"""A strange or hostile session file is refused with a reason: a good one is changed in one way, and opened."""

from __future__ import annotations

import json
import os
import struct
import zipfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from conftest import WordEmbedder, encoded, picture
from safetensors.torch import load, save
from test_storage import OPTIONS, Coarse, Session

from streamchat.errors import InputError
from streamchat.models.base import Model
from streamchat.models.fake import FakeModel
from streamchat.session import engine, storage
from streamchat.session.engine import StreamChat
from streamchat.session.storage import ALLOWANCE_BYTES, archive, load_session, save_session
from streamchat.session.storage.form import VERSION
from streamchat.video.images import jpeg


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A session with a tree of three levels, pending clips, and a folded dialogue."""
    chat = StreamChat(Coarse(), replace(OPTIONS, dialogue_turns=5), WordEmbedder())
    for second in range(40):
        chat.remember([encoded(float(second), second)])
        if second < 30:
            chat.describe_next()
    for number in range(8):
        chat.record(f"question {number}", "An answer.", float(number))
    file = tmp_path_factory.mktemp("good") / "good.streamchat"
    save_session(chat, file)
    return file


def entries_of(file: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(file) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def written(file: Path, entries: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(file, "w", compression) as opened:
        for name, data in entries.items():
            opened.writestr(name, data)
    return file


def refusal(file: Path, model: Model | None = None, **options: Any) -> str:
    """Why a session is refused; the file is named."""
    with pytest.raises(InputError) as refused:
        load_session(file, model or Coarse(), WordEmbedder(), **options)
    said = str(refused.value)
    assert file.name in said
    return said


def edited(good: Path, folder: Path, change: Callable[[Session], object]) -> Path:
    entries = entries_of(good)
    session = json.loads(entries[archive.SESSION])
    change(session)
    return written(folder / "bad.streamchat", entries | {archive.SESSION: json.dumps(session).encode()})


def parent(session: Session) -> Session:
    return next(node for node in session["nodes"] if node["children"])


def leaf(session: Session) -> Session:
    return next(node for node in session["nodes"] if not node["children"] and node["tokens"] is not None)


def put(*path: Any, value: Any) -> Callable[[Session], None]:
    """An edit: the value at a path is another."""

    def change(session: Session) -> None:
        place = session
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value

    return change


SHAPES: dict[str, tuple[Callable[[Session], object], str]] = {
    "another format": (put("format", value="zoo"), "has not the format 'streamchat session', but 'zoo'"),
    "a newer version": (put("version", value=VERSION + 1), "has version 4.*install a newer StreamChat"),
    "an older version": (put("version", value=1), "has version 1.*play the video again"),
    "a missing key": (lambda session: session.pop("kept"), "kept: Field required"),
    "an unknown key": (put("code", value="print()"), "code: Extra inputs"),
    "another type": (put("frames_seen", value="40"), "frames_seen: Input should be a valid integer"),
    "a number for a list": (put("nodes", value=3), "nodes: Input should be a valid list"),
    "not a number": (put("frames", 0, "pts_seconds", value=float("nan")), "is no JSON"),
    "an infinite number": (put("dialogue", 0, "asked_at_seconds", value=float("inf")), "is no JSON"),
    "a negative time": (put("frames", 0, "pts_seconds", value=-1.0), "greater than or equal to 0"),
    "an unknown option": (put("options", "color", value=1), "options.color: Extra inputs"),
    "an option of another type": (put("options", "clusters", value=2.5), "options.clusters"),
    "an option out of range": (
        put("options", "clusters", value=0),
        "options.clusters: Input should be greater than or equal to 1",
    ),
    "an option larger than anyone needs": (put("options", "max_side", value=10**6), "less than or equal to 8192"),
    "a negative option": (put("options", "temperature", value=-1), "options.temperature"),
    "an option out of all reason": (put("options", "short_term_frames", value=10**9), "options.short_term_frames"),
    "an unknown selector": (put("options", "selector", value="os"), "unknown selector 'os'"),
    "a budget too small": (put("options", "memory_bytes", value=10), "memory_bytes must be at least"),
}

TREES: dict[str, tuple[Callable[[Session], object], str]] = {
    "a gap": (lambda s: leaf(s)["span"].__setitem__(1, leaf(s)["span"][1] - 0.5), "gap or overlap|cover its span"),
    "an overlap": (lambda s: leaf(s)["span"].__setitem__(1, leaf(s)["span"][1] + 0.5), "gap or overlap|cover its span"),
    "a span that ends before it starts": (lambda s: leaf(s)["span"].reverse(), "0 <= start <= end"),
    "a child not below its parent": (lambda s: parent(s).update(level=0), "not below its level 0"),
    "a circle": (lambda s: parent(s).update(children=[parent(s)["id"]]), "there once, as a root or as the child"),
    "a child of two": (lambda s: s["roots"].append(parent(s)["children"][0]), "there once"),
    "a node that is nobody's": (lambda s: s["roots"].pop(), "there once"),
    "a child that is not there": (lambda s: parent(s)["children"].append(10**6), "there once"),
    "an id twice": (lambda s: s["nodes"].append(s["nodes"][0]), "there once"),
    "an id of the future": (put("next_id", value=1), "distinct, from 0 to below 1"),
    "weights that do not sum": (lambda s: leaf(s)["weights"].__setitem__(0, 7), "sum to its"),
    "children that do not sum": (lambda s: parent(s).update(mass=1, weights=[1]), "do not stand for|not torch.float32"),
    "a weight of 0": (lambda s: leaf(s)["weights"].__setitem__(0, 0), "weights.0: Input should be greater"),
    "a root without tokens": (
        lambda s: next(n for n in s["nodes"] if n["id"] == s["roots"][0]).update(tokens=None, weights=[], pictures=[]),
        "lost its tokens|nothing refers to",
    ),
    "weights without tokens": (lambda s: leaf(s).update(tokens=None), "no tokens, but weights|nothing refers to"),
    "another count": (put("frames_kept", value=3), "said to be kept"),
    "an open chunk elsewhere": (put("open_frames", value=2), "open chunk does not begin|said to be kept"),
    "frames out of order": (lambda s: s["kept"].reverse(), "not in time order"),
    "no newest frame": (put("newest", value=None), "newest is not as it must be"),
    "a frame that is not there": (put("newest", value=999), "frame 999 is missing"),
    "a picture that is not there": (put("frames", 0, "picture", value=999), "picture 999 is missing"),
    "a tensor that is not there": (put("kept", 0, "tokens", value=9999), "tensor 9999 is missing"),
    "a tensor of another shape": (
        lambda s: s["kept"][1].update(tokens=leaf(s)["tokens"]),
        r"not torch.float32 \[2, 3\]",
    ),
    "a clip that no node covers": (lambda s: s["clips"][-1].update(span=[0.0, 9999.0]), "not whole or in order|covers"),
    "rounds out of order": (lambda s: s["dialogue"].reverse(), "down to level 0"),
    "a round that stands for many": (lambda s: s["dialogue"][-1].update(rounds=9), "stands for itself"),
}


class TestRefusals:
    @pytest.mark.parametrize("name", [*SHAPES, *TREES])
    def test_a_session_that_says_what_cannot_be(self, good: Path, tmp_path: Path, name: str) -> None:
        change, said = (SHAPES | TREES)[name]
        with pytest.raises(InputError, match=f"(?s)bad.streamchat: .*({said})"):
            load_session(edited(good, tmp_path, change), Coarse(), WordEmbedder())

    def test_the_good_file_is_good(self, good: Path, tmp_path: Path) -> None:
        assert load_session(edited(good, tmp_path, lambda session: None), Coarse(), WordEmbedder())

    def test_no_file_and_a_folder(self, tmp_path: Path) -> None:
        assert "No such file" in refusal(tmp_path / "none.streamchat")
        assert "directory" in refusal(tmp_path)

    @pytest.mark.parametrize("data", [b"", b"hello", b"PK\x03\x04", os.urandom(1000), b"PK\x05\x06" + b"\xff" * 18])
    def test_what_is_no_zip(self, tmp_path: Path, data: bytes) -> None:
        file = tmp_path / "no.streamchat"
        file.write_bytes(data)
        assert "no whole zip file" in refusal(file)

    def test_a_zip_of_something_else(self, tmp_path: Path) -> None:
        assert "without session.json" in refusal(written(tmp_path / "a.zip", {"word/document.xml": b"<a/>"}))

    @pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
    def test_a_truncated_file(self, good: Path, tmp_path: Path, share: float) -> None:
        file = tmp_path / "cut.streamchat"
        file.write_bytes(good.read_bytes()[: int(good.stat().st_size * share)])
        assert "no whole zip file" in refusal(file)

    def test_damage_anywhere_is_an_error_or_no_harm(self, good: Path, tmp_path: Path) -> None:
        data, noise = good.read_bytes(), np.random.default_rng(0)
        file = tmp_path / "damaged.streamchat"
        for place in noise.integers(0, len(data), 60):
            damaged = bytearray(data)
            damaged[place] ^= 0xFF
            file.write_bytes(damaged)
            with suppress(InputError):
                load_session(file, Coarse(), WordEmbedder())

    def test_damage_in_an_entry_is_found_by_its_sum(self, good: Path, tmp_path: Path) -> None:
        data = bytearray(good.read_bytes())
        data[data.index(b'"frames_seen":4') + 15] ^= 1
        file = tmp_path / "crc.streamchat"
        file.write_bytes(data)
        assert "CRC" in refusal(file)

    @pytest.mark.parametrize(
        "name",
        ["../evil", "/etc/passwd", "pictures/../../x.jpg", "pictures/01.jpg", "pictures\\0.jpg", "a.pkl", "x\0y"],
    )
    def test_an_entry_that_no_session_has(self, good: Path, tmp_path: Path, name: str) -> None:
        entries = entries_of(good)
        plain = f"entry{'_' * (len(name) - 5)}" if len(name) > 5 else "_" * len(name)
        file = written(tmp_path / "names.streamchat", entries | {plain: b"x"})
        file.write_bytes(file.read_bytes().replace(plain.encode(), name.encode()))  # zipfile would clean it
        assert "which no session has" in refusal(file)

    def test_an_entry_twice(self, good: Path, tmp_path: Path) -> None:
        file = written(tmp_path / "twice.streamchat", entries_of(good) | {"pictures/x.jpg": b"x"})
        file.write_bytes(file.read_bytes().replace(b"pictures/x.jpg", b"pictures/0.jpg"))
        assert "'pictures/0.jpg' 2 times" in refusal(file)

    @pytest.mark.parametrize("gone", [archive.TENSORS, "pictures/0.jpg", "pictures/3.jpg"])
    def test_an_entry_that_is_missing(self, good: Path, tmp_path: Path, gone: str) -> None:
        entries = entries_of(good)
        del entries[gone]
        assert "lacks the entry" in refusal(written(tmp_path / "lacking.streamchat", entries))

    def test_something_that_nothing_refers_to(self, good: Path, tmp_path: Path) -> None:
        entries = entries_of(good)
        number = sum(name.startswith("pictures/") for name in entries)
        more = written(tmp_path / "more.streamchat", entries | {f"pictures/{number}.jpg": jpeg(picture())})
        assert "nothing refers to" in refusal(more)

    def test_a_compressed_bomb(self, good: Path, tmp_path: Path) -> None:
        entries = entries_of(good) | {archive.TENSORS: bytes(10**7)}
        file = written(tmp_path / "bomb.streamchat", entries, zipfile.ZIP_DEFLATED)
        assert "compressed" in refusal(file)

    def test_entries_that_are_larger_than_the_file(self, good: Path, tmp_path: Path) -> None:
        """The sizes in the directory are a lie."""
        data = bytearray(good.read_bytes())
        place = data.rindex(b"PK\x01\x02", 0, data.rindex(b"pictures/0.jpg"))
        data[place + 20 : place + 28] = struct.pack("<II", 2**31, 2**31)
        file = tmp_path / "lie.streamchat"
        file.write_bytes(data)
        assert "larger than the file" in refusal(file)

    def test_entries_that_overlap(self, good: Path, tmp_path: Path) -> None:
        """Two names for the same bytes."""
        file = written(tmp_path / "one.streamchat", entries_of(good) | {archive.TENSORS: bytes(10**6)})
        data = bytearray(file.read_bytes())
        tensors = data.rindex(b"PK\x01\x02", 0, data.rindex(archive.TENSORS.encode()))
        for number in range(2):
            place = data.rindex(b"PK\x01\x02", 0, data.rindex(f"pictures/{number}.jpg".encode()))
            data[place + 16 : place + 28] = data[tensors + 16 : tensors + 28]
            data[place + 42 : place + 46] = data[tensors + 42 : tensors + 46]
        file.write_bytes(data)
        assert "larger than the file" in refusal(file)

    def test_a_file_larger_than_a_session_can_be(self, tmp_path: Path) -> None:
        file = tmp_path / "large.streamchat"
        with file.open("wb") as sparse:
            sparse.truncate(10**6 + ALLOWANCE_BYTES + 1)
        assert "at most" in refusal(file, most_memory_bytes=10**6)

    @pytest.mark.parametrize("text", [b"", b"{", b"null", b"[]", b'{"format": 3}', b"\xff\xfe", b"[" * 100_000])
    def test_a_json_that_is_none(self, good: Path, tmp_path: Path, text: bytes) -> None:
        bad = written(tmp_path / "json.streamchat", entries_of(good) | {archive.SESSION: text})
        assert "session.json" in refusal(bad)

    def test_a_json_nested_too_deep_in_what_is_the_callers(self, good: Path, tmp_path: Path) -> None:
        entries = entries_of(good)
        deep = b'"extra":{"a":' + b"[" * 5000 + b"]" * 5000 + b"}"
        entries[archive.SESSION] = entries[archive.SESSION].replace(b'"extra":{}', deep)
        assert "no JSON (recursion limit" in refusal(written(tmp_path / "deep.streamchat", entries))

    @pytest.mark.parametrize("values", [b"[],", b"1.5,", b'"a",'])
    def test_a_json_that_would_take_many_times_its_size_in_memory(
        self, good: Path, tmp_path: Path, values: bytes
    ) -> None:
        entries = entries_of(good)
        wide = b'"extra":{"a":[' + values * 4_000_000 + b"1]}"
        entries[archive.SESSION] = entries[archive.SESSION].replace(b'"extra":{}', wide)
        assert "parts, of at most" in refusal(written(tmp_path / "wide.streamchat", entries))

    def test_an_infinite_number(self, good: Path, tmp_path: Path) -> None:
        entries = entries_of(good)
        entries[archive.SESSION] = entries[archive.SESSION].replace(
            b'"motion_threshold":0.35', b'"motion_threshold":1e999'
        )
        assert "motion_threshold" in refusal(written(tmp_path / "infinite.streamchat", entries))

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            (lambda tensor: tensor.fill_(float("nan")), "infinite, none, or beyond all measure"),
            (lambda tensor: tensor.fill_(float("inf")), "infinite, none, or beyond all measure"),
            (lambda tensor: tensor.fill_(1e30), "infinite, none, or beyond all measure"),
            (lambda tensor: tensor.double(), "is torch.float64"),
            (lambda tensor: tensor.int(), "is torch.int32"),
            (lambda tensor: tensor[..., :1].contiguous(), r"is torch.float32 .*not"),
            (lambda tensor: tensor[:0].contiguous(), r"is torch.float32 .*not"),
        ],
    )
    def test_tensors_that_cannot_be(
        self, good: Path, tmp_path: Path, change: Callable[[torch.Tensor], torch.Tensor], said: str
    ) -> None:
        entries = entries_of(good)
        tensors = load(entries[archive.TENSORS])
        for number in ("0", str(len(tensors) - 1), str(len(tensors) // 2)):
            data = save(tensors | {number: change(tensors[number].clone())})
            with pytest.raises(InputError, match=said):
                load_session(
                    written(tmp_path / "bad.streamchat", entries | {archive.TENSORS: data}), Coarse(), WordEmbedder()
                )

    def test_token_maps_with_more_tokens_than_the_model_gives_or_of_two_numbers(
        self, good: Path, tmp_path: Path
    ) -> None:
        entries = entries_of(good)
        tensors = load(entries[archive.TENSORS])
        maps = [number for number, tensor in tensors.items() if tensor.shape[-2:] == (2, 3)]

        def changed(numbers: list[str], tokens: int) -> Path:
            other = {number: tensors[number][..., [0] * tokens, :].contiguous() for number in numbers}
            return written(tmp_path / "bad.streamchat", entries | {archive.TENSORS: save(tensors | other)})

        assert load_session(changed(maps, 1), Coarse(), WordEmbedder()), "a stream's frames may have fewer"
        assert "has 3 tokens a frame, of at most 2" in refusal(changed(maps, 3))
        for one in (maps[0], maps[-1]):
            assert "not torch.float32 [" in refusal(changed([one], 1))

    @pytest.mark.parametrize("data", [b"", b"none", struct.pack("<Q", 2**60), struct.pack("<Q", 2) + b"{}"])
    def test_what_is_no_safetensors(self, good: Path, tmp_path: Path, data: bytes) -> None:
        file = written(tmp_path / "bad.streamchat", entries_of(good) | {archive.TENSORS: data})
        said = refusal(file)
        assert "tensors cannot be read" in said or "is missing" in said

    def test_pictures_that_cannot_be(self, good: Path, tmp_path: Path) -> None:
        entries = entries_of(good)
        png = cv2.imencode(".png", picture())[1].tobytes()
        plain = jpeg(picture())
        place = plain.index(b"\xff\xc0") + 5
        enormous = plain[:place] + struct.pack(">HH", 60_000, 60_000) + plain[place + 4 :]
        headless = plain[:place] + struct.pack(">HH", 0, 0) + plain[place + 4 :]
        last = max(name for name in entries if name.startswith("pictures/"))
        for data, said in (
            (png, "not a readable JPEG"),
            (b"", "not a readable JPEG"),
            (b"\xff\xd8", "not a readable JPEG"),
            (headless, "not a readable JPEG"),
            (enormous, "60000 x 60000 pixels, of at most"),
        ):
            for name in ("pictures/0.jpg", last):
                assert said in refusal(written(tmp_path / "bad.streamchat", entries | {name: data}))

    def test_frames_that_take_too_much_when_decoded(
        self, good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(storage, "ALLOWANCE_BYTES", 0)
        entries = entries_of(good)
        black = jpeg(np.zeros((5000, 6000, 3), np.uint8), None)
        for one in json.loads(entries[archive.SESSION])["frames"]:
            entries[archive.PICTURE.format(one["picture"])] = black
        assert "its frames take" in refusal(written(tmp_path / "large.streamchat", entries))

    def test_a_larger_budget_than_is_allowed(self, good: Path, tmp_path: Path) -> None:
        bad = edited(good, tmp_path, put("options", "memory_bytes", value=2**29))
        said = refusal(bad, most_memory_bytes=2**20)
        assert "536870912 bytes, and here 1048576 are allowed: start with" in said
        assert "--memory-mib 512" in said

    def test_a_larger_budget_than_this_machine_would_choose(
        self, good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(engine, "free_memory_bytes", lambda: 2**30)
        bad = edited(good, tmp_path, put("options", "memory_bytes", value=2**29))
        assert f"and here {2**28} are allowed" in refusal(bad)
        assert f"and here {2**27} are allowed" in refusal(bad, sessions=2)

    def test_another_model(self, good: Path) -> None:
        class Other(Coarse):
            name = "Another"

        class Wider(Coarse):
            dim = 4

        class Double(Coarse):
            number_bytes = 8

        assert "saved with the model 'Fake (for tests" in refusal(good, Other())
        for model in (FakeModel(), Other(), Wider(), Double()):
            said = refusal(good, model)
            assert model.name in said
            assert "--model" in said

    def test_text_vectors_of_another_width(self, good: Path) -> None:
        class Narrow(WordEmbedder):
            def embed(self, texts: Any) -> np.ndarray:
                return super().embed(texts)[:, :8]

        with pytest.raises(InputError, match=r"\[1024\], not torch.float32 \[8\]"):
            load_session(good, Coarse(), Narrow())
