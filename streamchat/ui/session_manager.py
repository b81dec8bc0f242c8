"""The visitors of the app: one live session for each."""

from __future__ import annotations

import itertools
import logging
import math
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from streamchat.digests import fingerprint
from streamchat.errors import InputError, StreamChatError
from streamchat.options import Options
from streamchat.session.alerts import Alerts
from streamchat.session.engine import StreamChat
from streamchat.session.history import FIRST_BIN_SECONDS, STRIP_BINS, History, Strip
from streamchat.session.live import JOIN_SECONDS, LiveSession
from streamchat.session.storage import load_session, save_session
from streamchat.ui.conversation import Conversation
from streamchat.ui.examples import data_folder
from streamchat.ui.presence import Presence
from streamchat.ui.shared_model import SharedModel
from streamchat.ui.uploads import remove_old_uploads, remove_upload
from streamchat.ui.user_session import UserSession
from streamchat.video.camera import PushSource
from streamchat.video.file import open_video
from streamchat.video.isolated import IsolatedVideo
from streamchat.video.source import RecordedSource

log = logging.getLogger(__name__)

KEEP_SECONDS = 600.0  # a session outlives its connection for so long, as connections break
AWAY_SECONDS = 60.0  # the same while others wait for a place
OPEN_SECONDS = 10.0  # a question waits this long for the video that the page already shows
CLOSE_SECONDS = 6.0  # for all sessions together when the app ends
MOST_VISITORS = 8  # sessions at once; each holds its memory and three threads
PAUSE_SECONDS = 1.0  # between what was seen before a camera was stopped and what it sees once it is started again
CAMERA = "camera"
MOST_BIN_SECONDS, MOST_KEPT = 1e6, 10**9  # that a saved strip of kept frames may hold
TITLE_CHARACTERS = 120


class SessionManager:
    """The live sessions by visitor; each visitor has one at a time, and there are at most so many."""

    def __init__(
        self,
        model: SharedModel,
        options: Options,
        most: int = MOST_VISITORS,
        *,
        public: bool = False,
        keep_seconds: float = KEEP_SECONDS,
    ) -> None:
        self.model = model
        self.presence = Presence()
        self._keep_seconds = keep_seconds
        self.public = public  # others than the owner may reach the app: they choose no model and no budget
        self.options = options
        self._most = most
        self._changed = threading.Condition()
        self._by_visitor: dict[str, UserSession] = {}
        self._numbers = itertools.count(1)
        self._opening: set[str] = set()
        self._keys: dict[str, str] = {}  # visitor by the secret that their page holds
        self._alerts: dict[str, list[str]] = {}  # a visitor's alerts
        self._folders: dict[str, Path] = {}
        self._chosen: dict[str, Options] = {}  # options of a visitor's own, for what they open next

    def __len__(self) -> int:
        return len(self._by_visitor)

    def key_of(self, visitor: str) -> str:
        """The secret by which the page of a visitor is known where Gradio does not say whose a call is."""
        self.presence.heard(visitor)
        with self._changed:
            for key, owner in self._keys.items():
                if owner == visitor:
                    return key
            key = secrets.token_urlsafe(16)
            self._keys[key] = visitor
            return key

    def knows(self, key: object) -> bool:
        """Whether a secret is that of a visitor's page, who may have no session."""
        return self._visitor_of(key) is not None

    def _visitor_of(self, key: object) -> str | None:
        """The visitor whose page holds a secret, if it is one."""
        return self._keys.get(key) if isinstance(key, str) else None

    def by_key(self, key: object) -> UserSession | None:
        """The session of the visitor whose page holds a secret."""
        visitor = self._visitor_of(key)
        if visitor is None:
            return None
        self.presence.heard(visitor)
        return self.get(visitor)

    def options_of(self, visitor: str) -> Options:
        """The options with which a visitor's next session begins."""
        return self._chosen.get(visitor, self.options)

    def choose(self, visitor: str, options: Options) -> None:
        """Set the options with which a visitor's next session begins."""
        self._chosen[visitor] = options

    def wait_for(self, visitor: str, questions: list[str]) -> None:
        """Set a visitor's alerts, for this session and those to come; raises InputError for bad ones."""
        user_session = self.get(visitor)
        (Alerts() if user_session is None else user_session.session.engine.alerts).set(questions)
        self._alerts[visitor] = questions

    def alerts_of(self, visitor: str) -> list[str]:
        """A visitor's alerts."""
        return self._alerts.get(visitor, [])

    def open(self, visitor: str, video_path: Path) -> None:
        """Begin a video for a visitor, in place of what was before; raises InputError if it is not a video.

        After a session was loaded that had seen a part of this very video, it goes on after it.
        """

        def begin(before: UserSession | None) -> UserSession:
            options = self.options_of(visitor)
            video = self._opened(video_path, options)
            mark = fingerprint(video_path)
            if before is not None and before.is_loaded and before.fingerprint == mark:
                before.end()  # two sessions must not work on one engine
                session = LiveSession(before.session.engine, video, before.session.history)
                conversation = before.conversation
            else:
                session, conversation = LiveSession(self._begun(options), video), Conversation()
            newest = session.engine.newest
            return UserSession(
                session=session,
                title=video_path.name,
                begins_seconds=0.0 if newest is None else newest.pts_seconds,
                video_path=video_path,
                fingerprint=mark,
                conversation=conversation,
                chosen=options,
            )

        self._replace(visitor, begin)

    def watch_again(self, visitor: str) -> bool:
        """Begin a visitor's video anew with the model as it is now; False if there is none.

        The conversation goes on, and so does what is remembered of it; the memory is built anew, as far as it was.
        """
        now = self.get(visitor)
        if now is None or now.video_path is None or now.session.engine.model is self.model.get():
            return False
        video_path, reached = now.video_path, now.session.stats().position_seconds

        def begin(_: UserSession | None) -> UserSession:
            options = self.options_of(visitor)
            session = LiveSession(self._begun(options), self._opened(video_path, options))
            session.engine.memory.dialogue.restore(now.session.engine.memory.dialogue.entries)
            session.play_until(math.inf if now.to_the_end else reached)
            return UserSession(
                session=session,
                title=now.title,
                video_path=video_path,
                fingerprint=now.fingerprint,
                conversation=now.conversation,
                to_the_end=now.to_the_end,
                unplayable=now.unplayable,
                chosen=options,
            )

        self._replace(visitor, begin)
        return True

    def open_camera(self, visitor: str) -> None:
        """Begin to listen to a visitor's camera; the same camera, or a loaded session, goes on where it was."""

        def begin(before: UserSession | None) -> UserSession:
            options = self.options_of(visitor)
            camera = PushSource(max_side=options.max_side)
            if before is not None and before.video_path is None and self._still_suits(before, visitor):
                before.end()  # else what it still ingests would come after the new clock was set
                engine, history = before.session.engine, before.session.history
                conversation, options = before.conversation, before.chosen or options
            else:
                engine, history = self._begun(options), History()
                conversation = Conversation()
            began = 0.0 if engine.newest is None else engine.newest.pts_seconds + PAUSE_SECONDS
            session = LiveSession(engine, camera, history)
            return UserSession(
                session=session,
                title=CAMERA,
                camera=camera,
                conversation=conversation,
                camera_began=began,
                chosen=options,
            )

        self._replace(visitor, begin)

    def _opened(self, video_path: Path, options: Options) -> RecordedSource:
        """A video; those of strangers are decoded where they can do no harm."""
        opened = IsolatedVideo if self.public else open_video
        return opened(video_path, max_side=options.max_side, per_second=options.read_per_second)

    def _begun(self, options: Options) -> StreamChat:
        """A new chat, whose memory leaves room for all the sessions that there may be."""
        return StreamChat(self.model.get(), options, sessions=self._most)

    def _still_suits(self, user_session: UserSession, visitor: str) -> bool:
        """Whether nothing that needs a new session was chosen since a session began."""
        began, now = user_session.chosen, self.options_of(visitor)
        tuned = replace(now, temperature=began.temperature, seed=began.seed) if began else None
        return tuned == began and user_session.session.engine.model is self.model.get()

    def load(self, visitor: str, file: Path) -> None:
        """Take up a saved session in place of what was before; raises InputError if the file is not one."""

        def begin(_: UserSession | None) -> UserSession:
            most = self.options_of(visitor).memory_bytes
            engine, extra = load_session(file, self.model.get(), most_memory_bytes=most, sessions=self._most)
            user_session = UserSession(
                session=LiveSession(engine, PushSource(), _history(extra.get("kept"))),
                title=str(extra.get("title", ""))[:TITLE_CHARACTERS],
                fingerprint=str(extra.get("fingerprint", "")),
                conversation=Conversation.from_json(extra.get("conversation")),
                chosen=self.options_of(visitor),
            )
            self._alerts[visitor] = _alerts(extra.get("alerts"))
            return user_session

        self._replace(visitor, begin)

    def save(self, visitor: str, file: Path) -> None:
        """Write a visitor's session to a file; raises InputError if there is none."""
        user_session = self.watching(visitor, None)
        extra = {
            "title": user_session.title,
            "fingerprint": user_session.fingerprint,
            "conversation": user_session.conversation.to_json(),
            "kept": user_session.session.history.kept(),
            "alerts": user_session.session.engine.alerts.questions,
        }
        save_session(user_session.session.engine, file, extra=extra)

    def _replace(self, visitor: str, begin: Callable[[UserSession | None], UserSession]) -> None:
        """Begin another session for a visitor in place of the one before, which stays if there is no other.

        One that cannot start holds no place.
        """
        self.presence.heard(visitor)
        self._make_room(visitor)
        with self._changed:
            self._changed.wait_for(lambda: visitor not in self._opening)
            if self._is_full_for(visitor):
                raise InputError(
                    f"the app is full ({self._most} at once): try again in a few minutes, or run your own copy"
                )
            self._opening.add(visitor)
        try:
            user_session = begin(self._by_visitor.get(visitor))
            user_session.number = next(self._numbers)
            user_session.session.engine.alerts.set(self._alerts.get(visitor, []))
            try:
                self._end(visitor, keeps=user_session.video_path)
                user_session.session.start()
            except BaseException:
                user_session.end()
                raise
            self._by_visitor[visitor] = user_session
        finally:
            with self._changed:
                self._opening.discard(visitor)
                self._changed.notify_all()

    def _is_full_for(self, visitor: str) -> bool:
        return len((set(self._by_visitor) | self._opening) - {visitor}) >= self._most

    def _make_room(self, visitor: str) -> None:
        """End the sessions that nobody speaks for any more, if there is no place, until there is one."""
        for other in self.presence.all():
            if not self._is_full_for(visitor):
                return
            if other != visitor and other in self._by_visitor and self._is_gone(other, AWAY_SECONDS):
                self.forget(other)

    def _is_gone(self, visitor: str, seconds: float) -> bool:
        """Whether nobody has spoken for a visitor for so long, and nothing is on its way to them."""
        user_session = self.get(visitor)
        busy = visitor in self._opening or (user_session is not None and user_session.answering)
        return not busy and self.presence.silent_seconds(visitor) >= seconds

    def sweep(self) -> None:
        """Forget those who went without a word, and in a public app the uploads that nobody uses."""
        for visitor in self.presence.all():
            if self._is_gone(visitor, self._keep_seconds):
                self.forget(visitor)
        if self.public:
            remove_old_uploads(self._videos_in_use())

    def _videos_in_use(self) -> set[Path]:
        return {one.video_path for one in list(self._by_visitor.values()) if one.video_path is not None}

    def get(self, visitor: str) -> UserSession | None:
        """What the visitor watches, if anything."""
        return self._by_visitor.get(visitor)

    def watching(self, visitor: str, video_path: Path | None) -> UserSession:
        """The visitor's session of the video that the page shows; raises InputError if there is none.

        Waits while the video is being opened, and a moment for one that the page shows already.
        """

        def there() -> bool:
            user_session = self._by_visitor.get(visitor)
            return visitor not in self._opening and (
                video_path is None or (user_session is not None and user_session.video_path == video_path)
            )

        with self._changed:
            self._changed.wait_for(lambda: visitor not in self._opening)
            self._changed.wait_for(there, OPEN_SECONDS)
        user_session = self.get(visitor)
        if user_session is None:
            raise InputError("there is no video yet: upload one, pick an example or start the camera, then ask")
        return user_session

    def close(self, visitor: str) -> None:
        """End a visitor's session, if there is one, also one that is just being opened."""
        with self._changed:
            self._changed.wait_for(lambda: visitor not in self._opening)
        self._end(visitor)

    def _end(self, visitor: str, within_seconds: float = JOIN_SECONDS, keeps: Path | None = None) -> None:
        """End a visitor's session and remove its upload, unless it is in use, or `keeps` is the same."""
        user_session = self._by_visitor.pop(visitor, None)
        if user_session is None:
            return
        user_session.end(within_seconds)
        if user_session.video_path is not None and user_session.video_path not in {*self._videos_in_use(), keeps}:
            remove_upload(user_session.video_path)

    def folder_of(self, visitor: str) -> Path:
        """A folder for files that a visitor asks for, which goes when they leave; made if it is not there."""
        if visitor not in self._folders:
            self._folders[visitor] = Path(tempfile.mkdtemp(prefix="kept-", dir=data_folder()))
        return self._folders[visitor]

    def goodbye(self, key: str) -> None:
        """Forget the visitor whose page is closing, by the secret that it holds."""
        visitor = self._visitor_of(key)
        if visitor is not None:
            self.forget(visitor)

    def forget(self, visitor: str) -> None:
        """End all that there is of a visitor."""
        self.close(visitor)
        self.presence.forget(visitor)
        shutil.rmtree(self._folders.pop(visitor, ""), ignore_errors=True)
        with self._changed:
            self._chosen.pop(visitor, None)
            self._alerts.pop(visitor, None)
            self._keys = {key: owner for key, owner in self._keys.items() if owner != visitor}

    def close_all(self) -> None:
        """End every session in a few seconds, whatever hangs; without waiting for one that is just being opened."""
        deadline = time.monotonic() + CLOSE_SECONDS
        open_sessions = dict(self._by_visitor)
        for user_session in open_sessions.values():
            user_session.session.stop()
        for visitor in open_sessions:
            try:
                self._end(visitor, max(0.0, deadline - time.monotonic()))
            except StreamChatError as error:
                log.error("a session did not end: %s", error)
        for folder in self._folders.values():
            shutil.rmtree(folder, ignore_errors=True)


def _alerts(questions: object) -> list[str]:
    """The alerts of a saved session; raises InputError if they are none."""
    if questions is None:
        return []
    if not isinstance(questions, list) or not all(isinstance(text, str) for text in questions):
        raise InputError("the alerts in the session's file are damaged: save it again")
    Alerts().set(questions)
    return questions


def _history(kept: object) -> History:
    """The history of a saved session; an empty one for anything that is none."""
    try:
        bin_seconds, counts = Strip(*kept)  # type: ignore[misc]
        counts = tuple(int(count) for count in counts[:STRIP_BINS])
        good = FIRST_BIN_SECONDS <= bin_seconds < MOST_BIN_SECONDS and all(0 <= count < MOST_KEPT for count in counts)
    except (TypeError, ValueError, OverflowError):
        return History()
    return History(Strip(float(bin_seconds), counts)) if good else History()
