"""Sessions as files: what was saved goes on as if nothing had been."""

from __future__ import annotations

import io
import json
import os
import re
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import pytest
import torch
import videos
from conftest import WordEmbedder, encoded, picture

import streamchat
from streamchat.errors import InputError, StreamChatError
from streamchat.memory.forest import every_node
from streamchat.models.base import Model
from streamchat.models.fake import FakeModel
from streamchat.options import Options
from streamchat.session import engine
from streamchat.session.engine import StreamChat
from streamchat.session.storage import archive, load_session, save_session
from streamchat.types import Frame, MemoryNode
from streamchat.video.file import open_video
from streamchat.video.images import jpeg_size

OPTIONS = Options(
    selector="uniform", heartbeat_seconds=1.0, chunk_frames=3, group_nodes=3, clusters=2, short_term_frames=5
)
Session = dict[str, Any]


class Coarse(FakeModel):
    """A fake whose tokens are as `encoded` makes them, and who captions from pictures, as the built-in model does."""

    tokens_per_frame, dim = 2, 3
    captions_from_pictures = True

    def encode(self, frames: Sequence[Frame]) -> torch.Tensor:
        return torch.stack([torch.full((2, 3), float(frame.data.mean())) for frame in frames])


def watched(seconds: int, options: Options = OPTIONS, model: Model | None = None) -> StreamChat:
    """A chat about a stream of four frames a second."""
    chat = StreamChat(model or FakeModel(), options, WordEmbedder())
    for index in range(seconds * 4):
        chat.push(Frame(picture(index % 256), index / 4, index))
    return chat


def reopened(chat: StreamChat) -> StreamChat:
    file = io.BytesIO()
    save_session(chat, file)
    return load_session(file, chat.model, WordEmbedder())[0]


def outline(chat: StreamChat) -> list[tuple[object, ...]]:
    def of(node: MemoryNode) -> tuple[object, ...]:
        text = None if node.caption is None else node.caption.text
        shown = [(one.jpeg, one.pts_seconds) for one in node.pictures]
        return node.id, node.span, node.level, node.mass, node.weights, shown, text

    return [of(node) for node in every_node(chat.memory.snapshot(999.0).roots)]


def session_of(file: Path) -> Session:
    with zipfile.ZipFile(file) as opened:
        found: Session = json.loads(opened.read(archive.SESSION))
    return found


class TestRoundTrips:
    def test_answers_are_as_before_and_the_callers_own_comes_back(self, tmp_path: Path) -> None:
        chat = watched(40)
        chat.ask("Is there a dog?")
        chat.ask("Which car is it?")
        file = tmp_path / "talk.streamchat"
        own = {
            "video": "a.mp4",
            "messages": [{"role": "user", "content": "Wo? – Dort."}],
            "position": 3.5,
            "none": None,
        }
        save_session(chat, file, extra=own)
        again, extra = load_session(file, FakeModel(), WordEmbedder())
        assert extra == own
        assert again.options == chat.options
        assert again.counts() == chat.counts()
        for question, at in (("What is shown?", None), ("And the dog?", None), ("What was it?", 20.0)):
            before, after = chat.ask(question, at), again.ask(question, at)
            assert after.text == before.text
            assert [(one.span, one.caption) for one in after.evidence] == [
                (one.span, one.caption) for one in before.evidence
            ]

    def test_saved_again_it_is_the_same(self, tmp_path: Path) -> None:
        chat = watched(40)
        chat.ask("Is there a dog?")
        one, other = tmp_path / "one.streamchat", tmp_path / "other.streamchat"
        save_session(chat, one)
        save_session(load_session(one, FakeModel(), WordEmbedder())[0], other)
        assert session_of(one) == session_of(other)
        with zipfile.ZipFile(one) as first, zipfile.ZipFile(other) as second:
            assert first.read(archive.TENSORS) == second.read(archive.TENSORS)

    @pytest.mark.parametrize("budget", [30_000, 10**8])
    @pytest.mark.parametrize("cut", [1, 3, 4, 40, 130])
    def test_it_goes_on_as_if_nothing_had_been(self, cut: int, budget: int) -> None:
        def chat() -> StreamChat:
            return StreamChat(Coarse(), replace(OPTIONS, memory_bytes=budget), WordEmbedder())

        def remember(into: StreamChat, seconds: range) -> StreamChat:
            for second in seconds:
                into.remember([encoded(float(second), second)])
                if second % 2:
                    into.describe_next()
                assert into.memory.nbytes <= budget
            return into

        whole = remember(chat(), range(200))
        again = remember(reopened(remember(chat(), range(cut))), range(cut, 200))
        assert outline(again) == outline(whole)
        assert again.memory.tree_nbytes == whole.memory.tree_nbytes

    def test_a_budget_that_was_chosen_is_chosen_anew_where_it_is_opened(self, monkeypatch: pytest.MonkeyPatch) -> None:
        chat = watched(60)
        file = io.BytesIO()
        save_session(chat, file)
        monkeypatch.setattr(engine, "free_memory_bytes", lambda: 2**30)
        again = load_session(file, FakeModel(), WordEmbedder(), sessions=2)[0]
        assert (again.options, again.memory_budget_bytes) == (chat.options, 2**27)
        small = load_session(file, FakeModel(), WordEmbedder(), most_memory_bytes=40_000)[0]
        assert small.memory_budget_bytes == small.options.memory_bytes == 40_000
        assert small.memory.nbytes <= 40_000 < chat.memory.nbytes
        assert small.memory.snapshot(99.0).roots[0].span.start == 0.0

    def test_later_frames_can_be_pushed_and_earlier_ones_cannot(self) -> None:
        again = reopened(watched(20))
        with pytest.raises(ValueError, match="time order"):
            again.push(Frame(picture(), 19.75, 99))
        assert again.push(Frame(picture(7), 19.9, 80))  # the selector begins anew
        for index in range(81, 160):
            again.push(Frame(picture(index), index / 4, index))
        roots = again.memory.snapshot(99.0).roots
        assert all(before.span.end == after.span.start for before, after in pairwise(roots))
        assert (roots[0].span.start, again.counts().frames_seen) == (0.0, 160)

    def test_what_had_no_caption_is_captioned_later_from_the_same_pictures(self) -> None:
        chat = StreamChat(Coarse(), OPTIONS, WordEmbedder())
        for second in range(30):
            chat.remember([encoded(float(second), second)])
        again = reopened(chat)
        pending = again.memory.snapshot(99.0).pending_clips
        assert pending
        assert [[one.pts_seconds for one in clip.keyframes] for clip in pending] == [
            [one.pts_seconds for one in clip.keyframes] for clip in chat.memory.snapshot(99.0).pending_clips
        ]
        while chat.describe_next():
            assert again.describe_next()
        assert outline(again) == outline(chat)
        assert all(node[-1] is not None for node in outline(again))

    def test_the_dialogue_is_found_again_and_goes_on(self) -> None:
        chat = watched(10, replace(OPTIONS, dialogue_turns=5))
        for number in range(30):
            chat.record(f"where is thing{number}", f"On shelf{number}.", 5.0)
        again = reopened(chat)
        assert len(again.memory.dialogue) == 30
        snapshot = again.memory.snapshot(9.75)
        (found,) = snapshot.related_turns("thing3 shelf3", WordEmbedder().embed(["thing3 shelf3"])[0], 1)
        assert "thing3 – On shelf3." in found.answer
        assert again.forget_last_round("where is thing29 ") is not None
        last = again.memory.snapshot(9.75).last_turn()
        assert last is not None
        assert last.question == "where is thing28"

    def test_keyframes_stay_byte_for_byte_and_each_picture_is_stored_once(self, tmp_path: Path) -> None:
        chat = watched(40)
        file = tmp_path / "talk.streamchat"
        save_session(chat, file)
        nodes = every_node(chat.memory.snapshot(99.0).roots)
        keyframes = {one.jpeg for node in nodes for one in node.pictures}
        frames = {frame.pts_seconds for frame in chat.memory.state().kept} | {39.75}
        with zipfile.ZipFile(file) as opened:
            assert {info.compress_type for info in opened.infolist()} == {zipfile.ZIP_STORED}
            stored = [opened.read(name) for name in opened.namelist() if name.startswith("pictures/")]
        assert len(stored) == len(keyframes) + len(frames)
        assert keyframes <= set(stored)

    def test_an_empty_chat(self) -> None:
        chat = StreamChat(FakeModel(), OPTIONS, WordEmbedder())
        again = reopened(chat)
        assert again.counts() == chat.counts()
        assert again.push(Frame(picture(), 0.0, 0))

    def test_half_precision_tokens(self) -> None:
        class Half(FakeModel):
            number_bytes = 2

            def encode(self, frames: Any) -> torch.Tensor:
                return super().encode(frames).to(torch.bfloat16)

        chat = watched(20, model=Half())
        again = reopened(chat)
        assert again.memory.state().kept[0].tokens.dtype == torch.bfloat16
        assert again.ask("What is shown?").text == chat.ask("What is shown?").text

    def test_frames_on_their_way_into_the_memory_are_as_if_not_come(self) -> None:
        chat = watched(10)
        for index in range(40, 60):
            chat.select(Frame(picture(index), index / 4, index))
        again = reopened(chat)
        newest = again.newest
        assert newest is not None
        assert newest.pts_seconds == 9.0
        assert (again.counts().frames_seen, again.counts().frames_kept) == (37, 10)
        assert again.push(Frame(picture(3), 9.25, 37))

    def test_the_built_in_model_on_a_real_video(self, embedded_model: Model, tmp_path: Path) -> None:
        chat = StreamChat(embedded_model, Options(chunk_frames=4, group_nodes=2))
        for frame in open_video(videos.bikes(), max_side=480):
            if frame.pts_seconds > 5:
                break
            chat.push(frame)
        chat.ask("How many people are there?")
        file = tmp_path / "bikes.streamchat"
        save_session(chat, file)
        again, _ = load_session(file, embedded_model)
        for question in ("What happened so far?", "Which colors are there?", "Is there a bicycle?", "And a person?"):
            at = chat.memory.snapshot(99.0).roots[-1].span.end
            assert again.ask(question, at).text == chat.ask(question, at).text
        assert again.push(Frame(picture(90), 6.0, 150))


class TestWriting:
    def test_a_broken_off_save_leaves_the_old_file_and_nothing_else(self, tmp_path: Path) -> None:
        file = tmp_path / "talk.streamchat"
        save_session(watched(5), file)
        before = file.read_bytes()
        broken: Any = archive.Contents(b"{}", b"", [b"one", None])  # type: ignore[list-item]
        with pytest.raises(TypeError):
            archive.write(file, broken)
        assert file.read_bytes() == before
        assert os.listdir(tmp_path) == [file.name]

    def test_a_folder_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(StreamChatError, match=r"cannot save the session to .*none.*No such file"):
            save_session(watched(1), tmp_path / "none" / "a.streamchat")

    @pytest.mark.parametrize("extra", [{"a": object()}, {"a": float("nan")}, {"a": b"bytes"}])
    def test_an_extra_that_is_no_json(self, extra: Session) -> None:
        with pytest.raises(InputError, match="cannot save the session"):
            save_session(watched(1), io.BytesIO(), extra=extra)

    def test_an_extra_that_is_nested_too_deep(self) -> None:
        deep: list[Any] = []
        for _ in range(500):
            deep = [deep]
        with pytest.raises(InputError, match="cannot save the session"):
            save_session(watched(1), io.BytesIO(), extra={"deep": deep})

    def test_the_version_is_that_of_the_project(self) -> None:
        project = (Path(streamchat.__file__).parent.parent / "pyproject.toml").read_text()
        assert re.findall(r'^version = "(.*)"', project, re.MULTILINE) == [streamchat.__version__]


def test_a_chat_that_has_begun_takes_up_no_other() -> None:
    chat = watched(3)
    with pytest.raises(ValueError, match="has begun"):
        chat.restore(watched(2).state())


@pytest.mark.parametrize("size", [(24, 32), (1, 1), (301, 77)])
@pytest.mark.parametrize("flags", [[], [cv2.IMWRITE_JPEG_PROGRESSIVE, 1], [cv2.IMWRITE_JPEG_RST_INTERVAL, 4]])
def test_the_size_of_a_jpeg_is_read_from_its_header(size: tuple[int, int], flags: list[int]) -> None:
    data = cv2.imencode(".jpg", picture(9, *size), flags)[1].tobytes()
    assert jpeg_size(data) == size[::-1]
