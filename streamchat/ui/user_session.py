"""What one user of the app watches, and the conversation about it."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from streamchat.errors import InputError
from streamchat.options import Options
from streamchat.session.answer import AnswerStream
from streamchat.session.live import JOIN_SECONDS, LiveSession
from streamchat.session.stats import Stats
from streamchat.types import Timing
from streamchat.ui.conversation import Conversation
from streamchat.ui.tree_view import TreeView
from streamchat.video.camera import PushSource

WAIT_SECONDS = 0.5  # a question that waits for the end of the video says this often how far it is
NEAR_SECONDS = 0.5  # to the player's moment, from where on a question is not held up
READ_AHEAD_SECONDS = 1.0  # the reader may be this far ahead of the player, whose position comes twice a second


@dataclass(slots=True)
class UserSession:
    """What one visitor watches, and the conversation about it: a video, a camera, or a session that was loaded."""

    session: LiveSession
    title: str  # the video's file name, or "camera"
    number: int = 0  # of this session among all that the app ever had
    video_path: Path | None = None
    camera: PushSource | None = None
    fingerprint: str = ""  # of the video
    begins_seconds: float = 0.0  # where the player begins: a loaded session goes on where it ended
    conversation: Conversation = field(default_factory=Conversation)
    to_the_end: bool = False  # the rest is ingested at full speed
    unplayable: bool = False  # the browser cannot show the video, so that there is no player to follow
    last_timing: Timing | None = None  # of the last answer
    highlighted: tuple[int, ...] = ()  # ids of the nodes that the last answer was found by
    asking: threading.Lock = field(default_factory=threading.Lock)  # held while a question is answered: one at a time
    stop_asked: bool = False  # the answer on its way is to end
    stream: AnswerStream | None = None  # the answer on its way, or the last one
    tree: TreeView = field(default_factory=TreeView)  # what the page has of the memory
    chosen: Options | None = None  # what its visitor had chosen when it began
    camera_began: float = 0.0  # where the camera's clock began, in seconds of the stream

    @property
    def answering(self) -> bool:
        """Whether an answer is on its way."""
        return self.asking.locked()

    @property
    def duration_seconds(self) -> float | None:
        """How long the video is; None for what does not say it, or has no end."""
        return self.session.duration_seconds

    @property
    def is_loaded(self) -> bool:
        """Whether it is a saved session that nothing was opened in yet."""
        return self.video_path is None and self.camera is None

    def follow(self, player_seconds: float) -> None:
        """Let the reader follow the player, if there is one."""
        if self.video_path is not None and not self.to_the_end:
            self.session.play_until(player_seconds + READ_AHEAD_SECONDS)

    def ingest_the_rest(self) -> None:
        """Let the reader run to the end at full speed."""
        self.to_the_end = True
        self.session.play_until(math.inf)

    def push(self, picture: np.ndarray, seconds: float) -> None:
        """A picture of the camera, uint8 [H, W, 3] RGB, at a time on the camera's own clock."""
        if self.camera is not None:
            self.camera.push(picture, self.camera_began + seconds)

    def moment_of(self, player_seconds: float, whole: bool) -> float | None:
        """The moment of the stream that a question is about; None for the end, of what was seen or of the whole video.

        It is the player's, if there is one to follow, and not the `whole` video is meant.
        """
        return None if whole or self.unplayable or self.video_path is None else player_seconds

    def ask_again(self, question: str) -> AnswerStream:
        """Ask in place of the last question, at its own moment; the round before is forgotten.

        Raises InputError if that was cleared in the meantime.
        """
        last = self.conversation.take_back()
        if last is None:
            raise InputError("the conversation was cleared: ask the question anew")
        self.session.engine.forget_last_round(last.question)
        return self.session.ask(question, last.at_seconds)

    def post_alerts(self) -> None:
        """Put what alerts found into the conversation."""
        for hit in self.session.engine.alerts.take_hits():
            text = f"{hit.question}: {hit.reason}"
            self.conversation.add(None, text, hit.evidence.span.start, [hit.evidence], "")

    def until_ingested(self, at_seconds: float | None) -> Iterator[float]:
        """Wait until all up to a moment, or with None all of a video, was ingested; gives the position meanwhile.

        Ends at once for a camera, after an error, and when the answer is stopped.
        """
        if at_seconds is not None:
            self.follow(at_seconds)
        elif self.video_path is not None:
            self.ingest_the_rest()

        def there(stats: Stats) -> bool:
            reached = at_seconds is not None and stats.position_seconds >= at_seconds - NEAR_SECONDS
            return self.stop_asked or stats.finished or reached

        while self.video_path and not self.stop_asked and self.session.error is None:
            if self.session.wait_until(there, WAIT_SECONDS):
                return
            yield self.session.stats().position_seconds

    def stop(self) -> None:
        """End the answer that is on its way at its next token, or before it begins."""
        self.stop_asked = True
        if self.stream is not None:
            self.stream.stop()

    def end(self, within_seconds: float = JOIN_SECONDS) -> None:
        """End the session and the answer that is on its way; raises StreamChatError if its threads do not end."""
        self.stop()
        self.session.close(within_seconds)
