"""What becomes of things from picture to picture: tracks, counts and events."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from streamchat.models.embedded import naming, vocabulary
from streamchat.models.embedded.frame_analysis import UNNAMED, FrameAnalysis, Thing
from streamchat.models.embedded.observation import Observation
from streamchat.types import Span

SEEN_TWICE, SEEN_ONCE = 0.47, 0.62  # best score that a thing needs to be noted
PERSON_SEEN_ONCE = 0.52
VERY_DARK, DARK_EXTRA = 40.0, 0.12  # mean brightness below which more is needed, and how much
FARTHEST = 0.35  # of the picture's width, that a thing moves between two pictures
SIZE_CHANGE = 1.9  # times at most, in width and in height
BRIDGED = 2  # a thing may be missing for this many pictures less one and be the same
OTHER_COLOR, OTHER_NAME = 0.5, 0.1  # what these add to how unlike two things are
MAX_OTHER_COLORS = 0.75  # share of their colors that differs; above it they are two
CLASSIFIED = 0.3  # probability at which the classifier names a moving thing
MOVED_ACROSS, MOVED_DOWN = 0.22, 0.13  # of the picture's width, of its height
GREW = 1.7  # in area, of what comes nearer
EDGE_LEFT, EDGE_RIGHT = 0.36, 0.64  # of the picture's width: left, middle, right
NEAR, FAR = 0.2, 0.012  # share of the picture
COUNTED = frozenset((*vocabulary.COCO, *vocabulary.CLASSES_OF))


@dataclass
class Track:
    """One thing through the pictures in which it was seen: their numbers and the thing in each."""

    seen: list[tuple[int, Thing]] = field(default_factory=list)

    @property
    def best(self) -> Thing:
        """The thing where it was seen most surely."""
        return max((thing for _, thing in self.seen), key=lambda thing: thing.score)

    @property
    def label(self) -> str:
        """The name it was given most, by score; one that it did not always get, and never surely, is not trusted."""
        votes = [((thing.label,), thing.score) for _, thing in self.seen if thing.label != UNNAMED]
        sure = len(votes) == len(self.seen) or self.best.score > _seen_once(self.best.label)
        return most_voted(votes)[0] if sure and 2 * len(votes) > len(self.seen) else UNNAMED

    @property
    def colors(self) -> tuple[str, ...]:
        """Its colors, as most of the pictures show them."""
        return most_voted([(thing.colors, thing.score) for _, thing in self.seen])[:2]

    @property
    def first(self) -> int:
        """Number of the first picture it was seen in."""
        return self.seen[0][0]

    @property
    def last(self) -> int:
        """Number of the last picture it was seen in."""
        return self.seen[-1][0]


def most_voted(votes: Sequence[tuple[tuple[str, ...], float]]) -> tuple[str, ...]:
    """Words by the weight behind them, the heaviest first; later words of a vote count half, rare ones are dropped."""
    weights: dict[str, float] = {}
    for words, weight in votes:
        for rank, word in enumerate(words):
            weights[word] = weights.get(word, 0.0) + weight * (1.0 if rank == 0 else 0.5)
    ranked = sorted(weights, key=lambda word: -weights[word])
    return tuple(word for word in ranked if weights[word] >= 0.4 * weights[ranked[0]])


def named(one: Track, labels: tuple[str, ...]) -> Track:
    """A moving thing that got no name, named by the classifier from all its pictures together, if that is sure."""
    seen = [thing.probabilities for _, thing in one.seen if thing.probabilities is not None]
    if one.label != UNNAMED or not seen:
        return one
    group, finer, share = naming.movable(np.mean(seen, 0), labels)
    if share < CLASSIFIED:
        return one
    score = min(0.99, share + 0.2)
    return Track([(number, replace(thing, label=group, finer=finer, score=score)) for number, thing in one.seen])


def track(analyses: Sequence[FrameAnalysis], expected: frozenset[str] = frozenset()) -> list[Track]:
    """Things matched through pictures in time order; those too unsure are left out, the `expected` least."""
    tracks: list[Track] = []
    for number, analysis in enumerate(analyses):
        pairs = sorted(
            (distance, index, place)
            for index, old in enumerate(tracks)
            if number - old.last <= BRIDGED
            for place, thing in enumerate(analysis.things)
            if (distance := _distance(old.seen[-1][1], thing, analysis)) < math.inf
        )
        matched_tracks: set[int] = set()
        matched_things: set[int] = set()
        for _, index, place in pairs:
            if index not in matched_tracks and place not in matched_things:
                tracks[index].seen.append((number, analysis.things[place]))
                matched_tracks.add(index)
                matched_things.add(place)
        tracks += [
            Track([(number, thing)]) for place, thing in enumerate(analysis.things) if place not in matched_things
        ]
    brightness = sum(analysis.brightness for analysis in analyses) / max(1, len(analyses))
    extra = DARK_EXTRA if brightness < VERY_DARK else 0.0
    return [one for one in tracks if one.best.score > _needed(one, expected) + extra]


def _needed(one: Track, expected: frozenset[str]) -> float:
    if len(one.seen) > 1 or one.label in expected or one.best.moving:
        return SEEN_TWICE
    return _seen_once(one.label)


def _seen_once(label: str) -> float:
    return PERSON_SEEN_ONCE if label == "person" else SEEN_ONCE


def _distance(old: Thing, new: Thing, analysis: FrameAnalysis) -> float:
    """How unlike two things of neighbouring pictures are; infinite if they cannot be the same."""
    alike = old.label == new.label or any(old.label in names and new.label in names for names in vocabulary.ALIKE)
    if not alike and UNNAMED not in (old.label, new.label) and not (old.moving and new.moving):
        return math.inf
    ratio = max(_ratio(old.box.width, new.box.width), _ratio(old.box.height, new.box.height))
    (x0, y0), (x1, y1) = old.box.centre, new.box.centre
    moved = math.hypot(x1 - x0, y1 - y0) / analysis.view.width
    if ratio > SIZE_CHANGE or moved > FARTHEST:
        return math.inf
    other_colors = 0.0
    if old.color_histogram is not None and new.color_histogram is not None:
        other_colors = float(
            np.abs(old.color_histogram - new.color_histogram).sum()
            / max(1e-9, (old.color_histogram + new.color_histogram).sum())
        )
    if other_colors > MAX_OTHER_COLORS:
        return math.inf
    return moved + 0.1 * math.log(ratio) + OTHER_COLOR * other_colors + OTHER_NAME * (old.label != new.label)


def _ratio(one: float, other: float) -> float:
    return max(one, other, 1.0) / max(min(one, other), 1.0)


def place_of(thing: Thing, analysis: FrameAnalysis) -> str:
    """Where a thing is in the picture, in words."""
    across = thing.box.centre[0] / analysis.view.width
    side = "on the left" if across < EDGE_LEFT else "on the right" if across > EDGE_RIGHT else "in the middle"
    share = thing.box.area / analysis.view.area
    return side + (", near" if share > NEAR else ", far away" if share < FAR else "")


def counts(tracks: Sequence[Track], analyses: Sequence[FrameAnalysis]) -> list[Observation]:
    """How many things of each name there were, one observation for each stretch of an equal number."""
    found = []
    for label in sorted({one.label for one in tracks} & COUNTED):
        same = [one for one in tracks if one.label == label]
        numbers = [sum(one.first <= number <= one.last for one in same) for number in range(len(analyses))]
        score = max(one.best.score for one in same)
        start = 0
        for number in range(1, len(numbers) + 1):
            if number == len(numbers) or numbers[number] != numbers[start]:
                if numbers[start]:
                    span = Span(analyses[start].pts_seconds, analyses[number - 1].pts_seconds)
                    found.append(Observation(kind="count", label=label, span=span, score=score, count=numbers[start]))
                start = number
    return found


def events(tracks: Sequence[Track], analyses: Sequence[FrameAnalysis]) -> list[Observation]:
    """Things that appeared, left or moved, each with its time."""
    found = []
    for one in tracks:
        label, last = one.label, len(analyses) - 1
        start, end = analyses[one.first], analyses[one.last]
        if one.first > 0:
            found.append(_event("appeared", one, one.seen[0][1], start, start.pts_seconds))
        if one.last < last:
            gone = analyses[one.last + 1].pts_seconds
            found.append(_event("left", one, one.seen[-1][1], end, gone))
        path = _path(one, analyses)
        if path:
            span = Span(start.pts_seconds, end.pts_seconds)
            found.append(
                Observation(kind="event", label=label, span=span, score=one.best.score, colors=one.colors, detail=path)
            )
    return found


def _event(what: str, one: Track, thing: Thing, analysis: FrameAnalysis, at_seconds: float) -> Observation:
    return Observation(
        kind="event",
        label=one.label,
        span=Span(min(analysis.pts_seconds, at_seconds), at_seconds),
        score=thing.score,
        colors=one.colors,
        place=place_of(thing, analysis),
        detail=what,
    )


def _path(one: Track, analyses: Sequence[FrameAnalysis]) -> str:
    """How a thing moved over the picture, in words, or ""."""
    (first, old), (last, new) = one.seen[0], one.seen[-1]
    if first == last:
        return ""
    across = (new.box.centre[0] - old.box.centre[0]) / analyses[last].view.width
    down = (new.box.centre[1] - old.box.centre[1]) / analyses[last].view.height
    words = []
    if abs(across) > MOVED_ACROSS:
        words.append("moved to the right" if across > 0 else "moved to the left")
    if abs(down) > MOVED_DOWN:
        words.append("moved down in the picture" if down > 0 else "moved up in the picture")
    growth = new.box.height / max(1.0, old.box.height)
    if growth > GREW:
        words.append("got larger, so it came nearer")
    elif growth < 1 / GREW:
        words.append("got smaller, so it went farther away")
    return " and ".join(words)
