"""The visitors of the app, without a browser."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import films
import pytest

from streamchat.config import Options
from streamchat.errors import InputError
from streamchat.ui import components, examples
from streamchat.ui.sessions import SharedModel, Visitors
from streamchat.video import open_video

WAIT_SECONDS = 60.0


def session_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("streamchat")]


@pytest.fixture
def visitors() -> Iterator[Visitors]:
    visitors = Visitors(SharedModel("fake"), Options())
    yield visitors
    visitors.close_all()
    assert session_threads() == []


def test_each_visitor_has_a_film_and_a_conversation_of_their_own(visitors: Visitors) -> None:
    visitors.open("one", films.bikes())
    visitors.open("two", films.bigbuckbunny())
    assert "".join(visitors.watching("one", films.bikes()).ask("Is it mine?", 0.0))
    assert len(visitors.watching("one", None).session._engine.memory.dialogue) == 1
    assert len(visitors.watching("two", None).session._engine.memory.dialogue) == 0
    visitors.close("one")
    assert visitors.get("one") is None
    assert visitors.watching("two", None).film == films.bigbuckbunny()


def test_a_second_film_takes_the_place_of_the_first_however_quickly_it_comes(visitors: Visitors) -> None:
    opening = [threading.Thread(target=visitors.open, args=("one", films.bikes())) for _ in range(4)]
    for thread in opening:
        thread.start()
    for thread in opening:
        thread.join(WAIT_SECONDS)
    assert len(visitors) == 1
    assert len(session_threads()) <= 3
    visitors.close("one")
    assert session_threads() == []


def test_a_file_that_is_no_video_ends_the_film_before_it(visitors: Visitors, tmp_path: Path) -> None:
    visitors.open("one", films.bikes())
    (tmp_path / "notes.mp4").write_text("no film")
    with pytest.raises(InputError, match="not a video"):
        visitors.open("one", tmp_path / "notes.mp4")
    with pytest.raises(InputError, match="no video yet"):
        visitors.watching("one", None)


def test_a_question_means_the_players_moment_until_the_rest_is_taken_in(visitors: Visitors) -> None:
    visitors.open("one", films.bikes())
    visit = visitors.watching("one", None)
    visit.follow(1.5)
    assert visit.ask("What is shown?", 1.5).asked_at_seconds == 1.5
    visit.take_in_the_rest()
    visit.follow(1.5)
    assert visit.session.wait_until(lambda stats: stats.finished, WAIT_SECONDS)
    assert visit.ask("What is shown?", 1.5).asked_at_seconds == pytest.approx(9.96, abs=0.05)


def test_a_question_waits_for_the_end_only_when_it_is_about_it_and_can_be_stopped(visitors: Visitors) -> None:
    visitors.open("one", films.bikes())
    visit = visitors.watching("one", None)
    assert list(visit.until_the_end()) == []
    visit.to_the_end = True  # the reader itself is left at the first frame, so the end does not come
    waiting = visit.until_the_end()
    assert next(waiting) < 1.0
    visitors.close("one")
    assert list(waiting) == []


def test_what_comes_from_outside_is_escaped_on_the_page() -> None:
    assert "<script>" not in components.model_line("<script>alert(1)</script>", busy=False)


@pytest.mark.parametrize("title", examples.titles())
def test_every_example_is_a_film(title: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("STREAMCHAT_DATA", str(tmp_path / "data"))
    film = examples.film(title)
    assert film.parent == tmp_path / "data"
    video = open_video(film)
    assert video.duration_seconds is not None
    assert 5 < video.duration_seconds < 60
    assert sum(1 for _ in video) > 100
