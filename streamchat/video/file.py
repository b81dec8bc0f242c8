"""Where frames come from: video files, read with PyAV, or with decord by option.

Times are seconds as a player shows them, strictly increasing, true for a variable frame rate as well.
"""

from __future__ import annotations

import logging
import math
import threading
from collections import deque
from collections.abc import Generator, Sequence
from contextlib import closing
from itertools import chain, islice
from pathlib import Path

import av
import numpy as np

from streamchat.clock import timestamp
from streamchat.errors import InputError
from streamchat.types import Frame
from streamchat.video import READERS, decord_reader
from streamchat.video.decoding import Damage, ends_early, stamps_and_frames
from streamchat.video.decord_reader import DECORD_ERRORS
from streamchat.video.probe import Facts, probed
from streamchat.video.sampling import Sampling
from streamchat.video.scaling import Scaler
from streamchat.video.timeline import timed

av.logging.set_level(None)  # damaged packets are counted and logged here, not printed by the library
logger = logging.getLogger(__name__)

SEEKS_BACK_SECONDS = (0.0, 10.0)  # before a time that is sought; tried one after the other
NEAR_SECONDS = 5.0  # between times that are sought; reading so far on costs no more than seeking again
CHECKED_FRAMES = 300  # read from the start, at most, to see whether seeking gives the same pictures
COMPARED_FRAMES = 10  # of these
SAME_PICTURE = 1.0  # mean difference of two pictures, of 255, up to which they are the same
MIN_STEP_SECONDS = 0.001  # between frames; times are compared to within it


def open_video(
    path: str | Path,
    *,
    max_side: int = 768,
    per_second: float | None = None,
    stream: int | None = None,
    reader: str = READERS[0],
    allow_urls: bool = False,
) -> VideoFile:
    """Open a video file (animated GIFs too) whose frames are scaled down to a long side of `max_side` pixels.

    At most `per_second` frames of a second are given, by default all; the others are decoded and no more. `stream` is
    the number of a stream of pictures, from 1 on, in a file that has several. With `allow_urls`, `path` may
    be a URL, and the file a list of others, such as a playlist. Raises InputError if there is no such file, if it is
    not a video with pictures, or for a reader that does not exist.
    """
    if max_side < 1:
        raise InputError(f"max_side must be 1 or more, got {max_side}")
    if reader not in READERS:
        raise InputError(f"the reader must be {' or '.join(READERS)}, got {reader!r}")
    source = str(path)
    if not (allow_urls and "://" in source):
        _check_file(Path(source))
    return VideoFile(probed(source, max_side, stream, allow_urls=allow_urls), reader, per_second)


def _check_file(file: Path) -> None:
    """Raise InputError for what is no file, or an empty one."""
    try:
        if not file.exists():
            raise InputError(f"there is no file {str(file)!r}: check the path of the video")
        if not file.is_file():
            raise InputError(f"{str(file)!r} is not a file: give the path of one video")
        if file.stat().st_size == 0:
            raise InputError(f"{file.name!r} is empty (0 bytes): it was perhaps not copied or recorded to its end")
    except OSError as error:  # such as a name that is too long, or a folder that may not be read
        raise InputError(f"the video {str(file)[:200]!r} cannot be opened: {error}") from None


class VideoFile:
    """Frames of a video file, in order, with the times at which a player shows them.

    Every iteration is a reader of its own, closed with its iterator, so that several threads may iterate at once.
    Iterating raises InputError if no frame at all can be decoded; single damaged packets are passed over.
    """

    def __init__(self, facts: Facts, reader: str = READERS[0], per_second: float | None = None) -> None:
        self._facts = facts
        self._per_second = per_second
        self.path = Path(facts.source)
        self.duration_seconds = facts.duration_seconds  # None: the file does not say; less once it is found cut off
        self.frame_rate = facts.frame_rate  # frames a second on average; None: the file does not say
        self._notes = dict.fromkeys(facts.notes)
        self._lock = threading.Lock()
        self._seeks_truly: bool | None = None  # None: not tried yet
        self.reader = READERS[0]
        if reader == "decord":
            reason = decord_reader.why_not(facts)
            self.reader = READERS[0] if reason else "decord"
            logger.info("%s: read with %s", self.path.name, f"PyAV ({reason})" if reason else "decord")

    @property
    def notes(self) -> tuple[str, ...]:
        """What was found so far that its viewer should know, such as that the file is cut off."""
        return tuple(self._notes)

    def __iter__(self) -> Generator[Frame, None, None]:
        found = False
        with closing(self._pictures()) as frames:
            for frame in frames:
                found = True
                yield frame
        if not found:
            raise _no_pictures(self.path)

    def after(self, last: Frame) -> Generator[Frame, None, None]:
        """The frames later than one of this video, numbered on from it; what is before it is not read again.

        With sampling they are those that follow it when all is read.
        """
        yield from self._converted(last.index + 1, last.pts_seconds, Sampling(self._per_second, last.pts_seconds))

    def frame_at(self, seconds: float) -> Frame:
        """The last frame shown at or before a time (to the millisecond), or the first frame if there is none."""
        return self.frames_at([seconds])[0]

    def frames_at(self, times: Sequence[float]) -> list[Frame]:
        """The frames shown at times that do not go back, as `frame_at` gives each; what lies near is read in one go.

        Safe from any thread. Found by seeking, so their `index` is what the average frame rate says. Raises InputError
        for a time that is no finite number, and if nothing can be decoded.
        """
        for seconds in times:
            if not math.isfinite(seconds):
                raise InputError(f"the time of a frame must be a finite number of seconds, got {seconds}")
        found: list[Frame] = []
        for near in _near_each_other(times):
            found += self._frames_near(near)
        return found

    def _frames_near(self, times: Sequence[float]) -> list[Frame]:
        """The frames shown at times, read from the keyframe before the first of them on."""
        limits = deque(seconds + MIN_STEP_SECONDS for seconds in times)
        scaler, found = self._scaler(), list[Frame]()
        shown: tuple[float, av.VideoFrame] | None = None
        with closing(self._frames(limits[0])) as frames:
            for pts, frame in frames:
                shown = shown or (pts, frame)
                while limits and pts >= limits[0]:
                    limits.popleft()
                    found.append(self._sought(scaler, *shown))
                if not limits:
                    break
                shown = pts, frame
        if shown is None:
            raise _no_pictures(self.path)
        return found + [self._sought(scaler, *shown) for _ in limits]

    def _sought(self, scaler: Scaler, pts: float, frame: av.VideoFrame) -> Frame:
        return Frame(scaler.rgb(frame), pts, round(pts * (self.frame_rate or 0)))

    def _scaler(self) -> Scaler:
        return Scaler(self._facts.box, self._facts.pixel_aspect)

    def _frames(self, seconds: float | None = None) -> Generator[tuple[float, av.VideoFrame], None, None]:
        """Frames as PyAV decodes them, with the times at which they are shown: all, or from one before a time on.

        Seeking may end after that time, as in a transport stream, whose frames have no index.
        """
        if seconds is not None and self._facts.can_seek and self._may_seek():
            for back_seconds in SEEKS_BACK_SECONDS:
                with closing(stamps_and_frames(self._facts, seek_seconds=seconds - back_seconds)) as frames:
                    first = next(frames, None)
                    if first is not None and first[0] is not None and first[0] < seconds:
                        yield from timed(chain((first,), frames), self._facts.timeline())
                        return
        yield from self._all_frames()

    def _all_frames(self) -> Generator[tuple[float, av.VideoFrame], None, None]:
        """Every frame from the start, and at the end what was found on the way."""
        damage, timeline = Damage(), self._facts.timeline()
        end_seconds = 0.0
        with closing(stamps_and_frames(self._facts, damage=damage)) as stamped:
            for seconds, frame in timed(stamped, timeline):
                end_seconds = seconds + float((frame.duration or 0) * (frame.time_base or 0))
                yield seconds, frame
                if timeline.jumps and self._seeks_truly is not False:
                    self._seeks_truly = False  # the times of the file are not those of the stream
        if timeline.jumps:
            self._note(f"the clock of {self.path.name!r} jumps {_times(timeline.jumps)}; its times go on evenly there")
        cut = self.duration_seconds is not None and ends_early(self._facts, end_seconds, self.duration_seconds)
        damaged = damage.packets - cut  # that in which the file was cut is no other damage
        if damaged > 0:
            self._note(f"{self.path.name!r} is damaged: {damaged} damaged packets were passed over")
        if cut and self.duration_seconds is not None:
            self._note(
                f"{self.path.name!r} is cut off: it ends at {timestamp(end_seconds)} of "
                f"{timestamp(self.duration_seconds)}; questions about later times are about its end"
            )
            self.duration_seconds = end_seconds

    def _note(self, text: str) -> None:
        if text not in self._notes:
            self._notes[text] = None
            logger.info("%s", text)

    def _may_seek(self) -> bool:
        """Whether a picture that was sought is the one that is read there; looked at once.

        Decoders get some old streams wrong after a seek, as what they need to know lies at the start of the file.
        """
        with self._lock:
            if self._seeks_truly is None:
                self._seeks_truly = self._seeks_as_it_reads()
                if not self._seeks_truly:
                    logger.info("%s: seeking gives other pictures than reading: it is always read", self.path.name)
            return self._seeks_truly

    def _seeks_as_it_reads(self) -> bool:
        read = self._second_group()
        if not read:
            return True  # there is nothing to compare with
        scaler = self._scaler()
        with closing(stamps_and_frames(self._facts, seek_seconds=min(read) + MIN_STEP_SECONDS)) as sought:
            for stamp, frame in sought:
                if stamp is None or stamp > max(read):
                    break
                if stamp in read:
                    difference = np.abs(scaler.rgb(frame).astype(np.int16) - read[stamp]).mean()
                    if difference > SAME_PICTURE:
                        return False
        return True

    def _second_group(self) -> dict[float, np.ndarray]:
        """The first pictures after the start to which one can seek, by their stamps, read from the start.

        Empty if they are far.
        """
        scaler = self._scaler()
        read: dict[float, np.ndarray] = {}
        with closing(stamps_and_frames(self._facts)) as frames:
            for number, (stamp, frame) in enumerate(islice(frames, CHECKED_FRAMES)):
                if stamp is not None and (read or (number and frame.key_frame)):
                    read[stamp] = scaler.rgb(frame)
                if len(read) == COMPARED_FRAMES:
                    break
        return read

    def _pictures(self) -> Generator[Frame, None, None]:
        """Frames in time order: from decord, and from where it fails on, or where it is not asked for, from PyAV."""
        sampling, read, done = Sampling(self._per_second), 0, -math.inf
        if self.reader == "decord":
            try:
                with closing(decord_reader.pictures(self._facts)) as pictures:
                    for done, data in pictures:
                        read += 1
                        if sampling.takes(done):
                            yield Frame(data, done, read - 1)
            except DECORD_ERRORS as error:
                reason = str(error).partition("\n")[0]
                logger.warning("%s: decord failed after %.3f s, PyAV goes on: %s", self.path.name, max(0, done), reason)
            else:
                return
        yield from self._converted(read, done, sampling)

    def _converted(self, index: int, after_seconds: float, sampling: Sampling) -> Generator[Frame, None, None]:
        """Frames from PyAV later than a time, of which the first is number `index`, as far as they are looked at."""
        scaler = self._scaler()
        since = after_seconds + MIN_STEP_SECONDS if math.isfinite(after_seconds) else None
        with closing(self._frames(since)) as frames:
            for seconds, frame in frames:
                if seconds > after_seconds + MIN_STEP_SECONDS / 2:
                    if sampling.takes(seconds):
                        yield Frame(scaler.rgb(frame), seconds, index)
                    index += 1


def _near_each_other(times: Sequence[float]) -> list[list[float]]:
    """Times in groups, in each of which the next is not far from the one before."""
    groups: list[list[float]] = []
    for seconds in times:
        if groups and seconds - groups[-1][-1] <= NEAR_SECONDS:
            groups[-1].append(seconds)
        else:
            groups.append([seconds])
    return groups


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _no_pictures(path: Path) -> InputError:
    return InputError(f"no picture of {path.name!r} can be decoded: the file is damaged, try to export it again")
