"""What the page gets of a session: only what changed, in plain values that JSON has."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import videos

from streamchat.options import Options
from streamchat.types import MemoryNode, Span
from streamchat.ui.live import CameraPanel, LivePanel
from streamchat.ui.session_manager import SessionManager
from streamchat.ui.shared_model import SharedModel
from streamchat.ui.tree_view import TreeView, flattened
from streamchat.ui.user_session import UserSession
from streamchat.ui.view import node_details, view_of
from streamchat.video.images import jpeg

WAIT_SECONDS = 60.0
LARGE = base64.b64encode(jpeg(np.zeros((2000, 2000, 3), np.uint8), None)).decode()
FROM_THE_START = {"motion_after": -1.0, "preview_after": -1.0}


@pytest.fixture
def sessions() -> Iterator[SessionManager]:
    sessions = SessionManager(SharedModel("fake"), Options(chunk_frames=2, group_nodes=3))
    yield sessions
    sessions.close_all()


@pytest.fixture
def user_session(sessions: SessionManager) -> UserSession:
    """A video that was ingested up to 5 s."""
    sessions.open("one", videos.bikes())
    user_session = sessions.watching("one", None)
    user_session.session.play_until(4.99)
    assert user_session.session.wait_until(
        lambda stats: stats.position_seconds > 4.85 and not stats.captions_pending and not stats.frames_queued,
        WAIT_SECONDS,
    )
    return user_session


def all_ingested(user_session: UserSession) -> None:
    user_session.ingest_the_rest()
    assert user_session.session.wait_until(lambda stats: stats.finished and not stats.captions_pending, WAIT_SECONDS)


def test_the_first_look_tells_all_and_the_next_only_what_changed(user_session: UserSession) -> None:
    user_session.tree = TreeView()
    first = view_of(user_session, serial=0, **FROM_THE_START)
    assert first["all"]
    nodes = {node.id: node for node, _ in flattened(user_session.session.snapshot().roots)}
    assert {row[0] for row in first["nodes"]} == set(nodes)
    quiet = view_of(user_session, serial=first["serial"], **FROM_THE_START)
    assert (quiet["nodes"], quiet["gone"], quiet["all"]) == ([], [], False)
    all_ingested(user_session)
    later = view_of(user_session, serial=first["serial"], **FROM_THE_START)
    assert 0 < len(later["nodes"]) < len(flattened(user_session.session.snapshot().roots))
    assert json.loads(json.dumps(later, allow_nan=False))["serial"] == later["serial"]


def test_a_page_that_missed_a_change_gets_all(user_session: UserSession) -> None:
    user_session.tree = TreeView()
    first = view_of(user_session, serial=0, **FROM_THE_START)
    all_ingested(user_session)
    view_of(user_session, serial=first["serial"], **FROM_THE_START)
    again = view_of(user_session, serial=first["serial"], **FROM_THE_START)
    assert again["all"]
    assert len(again["nodes"]) == len(flattened(user_session.session.snapshot().roots))


def test_the_motion_and_the_preview_are_given_from_where_the_page_is(user_session: UserSession) -> None:
    user_session.unplayable = True
    first = view_of(user_session, serial=0, **FROM_THE_START)
    assert first["preview"]["seconds"] == pytest.approx(4.96, abs=0.06)
    last = first["motion"][-1][0]
    again = view_of(user_session, serial=0, motion_after=last, preview_after=first["preview"]["seconds"])
    assert again["motion"] == []
    assert again["preview"] is None


class TestThePage:
    """The functions that the page's scripts call."""

    def test_they_answer_only_to_the_page_of_the_session(
        self, sessions: SessionManager, user_session: UserSession
    ) -> None:
        live = LivePanel.__new__(LivePanel)
        live._sessions = sessions
        key = sessions.key_of("one")
        view = live.view_of({"key": key, "serial": 0})
        assert view is not None
        assert view["gauges"][1][0].endswith(f"of {user_session.session.stats().frames_seen}")
        strangers: list[Any] = [{"key": "guessed"}, {"key": None}, {}, [], None, "text", {"key": ["a"]}]
        for stranger in strangers:
            assert live.view_of(stranger) in (None, {"ended": True})
            assert live.memory(stranger) is None

    def test_a_node_is_given_with_its_caption_and_picture(
        self, sessions: SessionManager, user_session: UserSession
    ) -> None:
        live = LivePanel.__new__(LivePanel)
        live._sessions = sessions
        key, leaf = sessions.key_of("one"), flattened(user_session.session.snapshot().roots)[-1][0]
        given = live.node({"key": key, "id": leaf.id})
        assert given is not None
        assert leaf.caption is not None
        assert given["caption"] == leaf.caption.text
        assert base64.b64decode(given["keyframe"]).startswith(b"\xff\xd8")
        for junk in (10**9, -1, None, "1", math.nan, True):
            assert live.node({"key": key, "id": junk}) is None

    @pytest.mark.parametrize(
        "junk",
        [
            {"seconds": 1.0, "jpeg": "not base64!"},
            {"seconds": 1.0, "jpeg": base64.b64encode(b"\xff\xd8 no picture").decode()},
            {"seconds": 1.0, "jpeg": base64.b64encode(b"GIF89a").decode()},
            {"seconds": 1.0, "jpeg": "A" * 400_000},
            {"seconds": None, "jpeg": ""},
            {"seconds": -1.0, "jpeg": ""},
            {"seconds": 1.0, "jpeg": LARGE},
            {},
        ],
    )
    def test_a_camera_sends_pictures_or_is_refused(self, sessions: SessionManager, junk: dict[str, object]) -> None:
        camera = CameraPanel.__new__(CameraPanel)
        camera._sessions = sessions
        sessions.open_camera("one")
        answer = camera.push({"key": sessions.key_of("one"), "frames": [junk]})
        assert answer["listening"]
        assert answer["refused"]
        assert sessions.watching("one", None).session.stats().frames_seen == 0


def node(number: int, start: float, end: float, *children: MemoryNode, level: int = 0) -> MemoryNode:
    mass = sum(child.mass for child in children) or 3
    return MemoryNode(
        id=number, span=Span(start, end), level=level, tokens=None, weights=(), mass=mass, children=children
    )


def test_a_node_says_whether_it_is_a_moment_or_a_summary_also_when_what_is_below_it_is_gone() -> None:
    moments = [node(number, 15.0 * number, 15.0 * number + 15) for number in range(4)]
    summary, pruned = node(5, 0, 30, *moments[:2], level=1), node(6, 30, 180, level=1)
    nodes = [moments[0], summary, pruned, node(7, 0, 180, summary, pruned, level=2)]
    assert [node_details(one)["facts"].partition(",")[0] for one in nodes] == [
        "moment of 15 s",
        "summary of 2 moments",
        "summary of 150 s",
        "summary of 180 s",
    ]
