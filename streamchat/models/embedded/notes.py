"""Everything noted up to a question: from the retrieved captions, the open chunk and what is on the screen."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from streamchat.models.embedded.captioning import merged, said
from streamchat.models.embedded.frame_analysis import UNNAMED
from streamchat.models.embedded.observation import Observation, observations_of
from streamchat.selectors.novelty import shows_nothing_new
from streamchat.types import Clip, Context, Evidence, Frame, RetrievedCaption, Span
from streamchat.video.images import jpeg

NOW_SECONDS = 1.0  # what was seen within this long before the question is there "now"
NEAR_RELEVANCE = 0.42  # cosine of a question with a caption, below which it is about something else
ALL = 10**6
AS_GOOD_AS_NOW_SECONDS = 1.0  # when time is short, what was seen this long ago stands for the screen


class Analyzer(Protocol):
    """Who analyzes frames that no caption speaks of yet."""

    @property
    def analysis_seconds(self) -> float:
        """How long an analysis takes, by those before."""
        ...

    def observe(
        self, frames: Sequence[Frame], starts_scene: bool, expected: frozenset[str], *, hurried: bool
    ) -> list[Observation]:
        """Observations of frames, in time order; things with an `expected` label were seen just before.

        In a hurry no more is done than to analyze each frame by itself.
        """
        ...

    def has_analyzed(self, frame: Frame) -> bool:
        """Whether a frame was analyzed before, so that observing it costs little."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Notes:
    """Observations in time order, none later than the question, and the pictures that go with them."""

    observations: tuple[Observation, ...]
    newest_seconds: float  # when what is on the screen was shown
    asked_at_seconds: float
    frames: tuple[Frame, ...]  # of what no caption speaks of yet, and of the screen, in time order
    captions: tuple[RetrievedCaption, ...]
    complete: bool = True  # False: something that no caption speaks of was not analyzed

    def of(self, *kinds: str) -> list[Observation]:
        """The observations of some kinds, in time order."""
        return [one for one in self.observations if one.kind in kinds]

    def things(self, labels: Iterable[str] | None = None) -> list[Observation]:
        """Named objects, people and tags, in time order; only those with one of some labels, if given."""
        found = [one for one in self.of("object", "person", "tag") if one.label != UNNAMED]
        if labels is None:
            return found
        wanted = frozenset(labels)
        return [one for one in found if one.label in wanted or one.detail in wanted]

    def is_now(self, one: Observation) -> bool:
        """Whether an observation holds for what is on the screen."""
        return one.span.end >= self.newest_seconds - NOW_SECONDS

    def now(self, observations: Sequence[Observation]) -> list[Observation]:
        """Those of some observations that hold for what is on the screen."""
        return [one for one in observations if self.is_now(one)]

    def closest(self) -> Span | None:
        """The moment whose caption is nearest to the question in meaning; None if none is near."""
        leaves = [node for node in self.captions if node.level == 0 and node.relevance > NEAR_RELEVANCE]
        return max(leaves, key=lambda node: node.relevance).span if leaves else None

    def evidence(self, one: Observation) -> Evidence:
        """The moment of an observation, with a picture of it if there is one."""
        span = Span(one.span.start, max(one.span.start, min(one.span.end, self.asked_at_seconds)))
        return Evidence(span=span, caption=said(one), keyframe=self._keyframe(span))

    def _keyframe(self, span: Span) -> bytes | None:
        shown = [frame for frame in self.frames if span.start <= frame.pts_seconds <= span.end]
        if shown:
            return jpeg(shown[len(shown) // 2].data)
        around = [node for node in self.captions if node.span.start <= span.start < node.span.end and node.keyframe]
        if around:
            return max(around, key=lambda node: (node.span.start, -node.span.end)).keyframe
        later = [frame for frame in self.frames if frame.pts_seconds >= span.start]
        return jpeg(later[0].data) if later else None


def gather(context: Context, analyzer: Analyzer, check: Callable[[], None] = lambda: None) -> Notes:
    """Put together what is known at a question; `analyzer` sees frames that no caption speaks of yet.

    If the context says how long that may take, what was not analyzed in time is left out, the oldest first.
    `check` is called between frames, and may end the work by an error.
    """
    asked = context.asked_at_seconds
    observed = {node.span: list(observations_of(node.caption)) for node in context.captions if node.level == 0}
    pending = [clip for clip in context.pending_clips if clip.span not in observed]
    budget = _Budget(analyzer, context.time_budget_seconds, check)
    frames = budget.in_time(_open_frames(context), newest=context.newest)
    representative_frames = budget.representative_frames(pending)
    observed |= {
        clip.span: budget.observations_of(clip, representative_frames[clip.span])
        for clip in pending
        if clip.span in representative_frames
    }
    groups = [observed[span] for span in sorted(observed)]
    expected = frozenset(one.label for one in (groups[-1] if groups else ()) if one.kind == "count")
    starts_scene = context.open_clip is not None and context.open_clip.starts_scene
    groups.append(analyzer.observe(frames, starts_scene, expected, hurried=budget.hurried))
    known = list(merged(groups, at_most=ALL))
    parents = sorted((node for node in context.captions if node.level > 0), key=lambda node: node.level)
    for node in parents:
        known += [one for one in observations_of(node.caption) if not _is_known(one, known)]
    causal = [_until(one, asked) for one in known if one.span.start <= asked]
    return Notes(
        observations=tuple(sorted(causal, key=lambda one: one.span)),
        newest_seconds=context.newest.pts_seconds,
        asked_at_seconds=asked,
        frames=(*(frame for clip in pending for frame in representative_frames.get(clip.span, ())), *frames),
        captions=context.captions,
        complete=not budget.left_out and _covered(context),
    )


class _Budget:
    """Which frames are analyzed for one question: all of them, or as many as there is time for."""

    def __init__(self, analyzer: Analyzer, budget_seconds: float | None, check: Callable[[], None]) -> None:
        self._analyzer = analyzer
        self._check = check
        self._deadline = None if budget_seconds is None else time.monotonic() + budget_seconds
        self.left_out = False  # a picture of which the answer knows nothing

    @property
    def hurried(self) -> bool:
        """Whether there is a limit."""
        return self._deadline is not None

    def _may_analyze(self, frame: Frame) -> bool:
        """Whether a frame was analyzed, or is now, as there is time left."""
        if self._deadline is None or self._analyzer.has_analyzed(frame):
            return True
        if time.monotonic() + self._analyzer.analysis_seconds >= self._deadline:
            self.left_out = True
            return False
        self._check()
        self._analyzer.observe([frame], False, frozenset(), hurried=True)
        return True

    def in_time(self, frames: Sequence[Frame], newest: Frame) -> list[Frame]:
        """Those of some frames that can be observed, in time order; what is on the screen is the last of them.

        When time is short, a frame that was seen before stands for the screen if that shows nothing new beside it, or
        if it is of just before.
        """
        if self._deadline is None:
            return list(frames)
        before = [frame for frame in frames if frame is not newest]
        if not self._analyzer.has_analyzed(newest):
            newest = self._substitute_frame(before, newest) or newest
        taken = [frame for frame in reversed(before) if self._may_analyze(frame)]
        return [*reversed(taken), newest]

    def _substitute_frame(self, before: Sequence[Frame], newest: Frame) -> Frame | None:
        """A frame that was seen before, as if it were the newest; None if none is like it."""
        seen = next((one for one in reversed(before) if self._analyzer.has_analyzed(one)), None)
        if seen is None:
            return None
        near = newest.pts_seconds - seen.pts_seconds <= AS_GOOD_AS_NOW_SECONDS
        if not (near or shows_nothing_new(seen.data, newest.data)):
            return None
        return Frame(seen.data, newest.pts_seconds, newest.index)

    def representative_frames(self, clips: Sequence[Clip]) -> dict[Span, list[Frame]]:
        """The frames that stand for clips without a caption yet; of some there may be no time for any.

        One of each clip, and in a hurry as many more as there is time for, as no caption will say more in this answer.
        """
        found = {
            clip.span: _representative_frame(clip)
            for clip in reversed(clips)
            if self._may_analyze(_representative_frame(clip))
        }
        if not self.hurried:
            return {span: [frame] for span, frame in found.items()}
        more = {clip.span: [one for one in clip.keyframes if self._may_analyze(one)] for clip in reversed(clips)}
        return {span: frames for span, frames in more.items() if frames}

    def observations_of(self, clip: Clip, frames: Sequence[Frame]) -> list[Observation]:
        """What single frames of a clip without a caption show: less than the caption will, but at once."""
        found = self._analyzer.observe(frames, clip.starts_scene, frozenset(), hurried=self.hurried)
        begins = Span(clip.span.start, clip.span.start)
        return [replace(one, span=begins) if one.kind == "view" else one for one in found]


def _covered(context: Context) -> bool:
    """Whether captions speak of all that was kept before what is at hand here."""
    open_clip = () if context.open_clip is None else (context.open_clip,)
    starts = [clip.span.start for clip in (*context.pending_clips, *open_clip)]
    return context.captioned_until_seconds >= min(starts, default=context.asked_at_seconds)


def _open_frames(context: Context) -> list[Frame]:
    """The frames since the last leaf, what is on the screen last: all when time is short, as many were analyzed before.

    Else those that a caption of them would be made from.
    """
    if context.time_budget_seconds is not None:
        kept = context.open_frames
    else:
        kept = () if context.open_clip is None else context.open_clip.keyframes
    before = [frame for frame in kept if frame.pts_seconds < context.newest.pts_seconds]
    return [*before, context.newest]


def _representative_frame(clip: Clip) -> Frame:
    return clip.keyframes[len(clip.keyframes) // 2]


def _is_known(one: Observation, known: Sequence[Observation]) -> bool:
    """Whether an observation of a summary is known from a leaf already."""
    return any(
        other.kind == one.kind
        and other.label == one.label
        and other.span.start <= one.span.end
        and one.span.start <= other.span.end
        for other in known
    )


def _until(one: Observation, asked_at_seconds: float) -> Observation:
    if one.span.end <= asked_at_seconds:
        return one
    return replace(one, span=Span(one.span.start, asked_at_seconds))
