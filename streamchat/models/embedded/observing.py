"""From the analyzed frames of a clip to typed observations."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

import numpy as np

from streamchat.models.embedded import colors, naming
from streamchat.models.embedded.events import VERY_DARK, Track, counts, events, most_voted, named, place_of, track
from streamchat.models.embedded.frame_analysis import FrameAnalysis, TextLine
from streamchat.models.embedded.observation import Observation
from streamchat.types import Span

MIN_TAG = 0.22
SAME_TEXT = 0.75  # similarity at which two lines are one, read twice
MAX_TEXTS = 8
MAX_TAGS = 4
DARK, BRIGHT = 75.0, 165.0  # mean brightness, 0 to 255
COLORLESS = 12.0  # mean saturation


def observe(
    analyses: Sequence[FrameAnalysis], labels: tuple[str, ...], expected: frozenset[str] = frozenset()
) -> list[Observation]:
    """Everything noted of a clip's pictures, in time order; `labels` are the classifier's class names.

    Things with an `expected` label were seen just before: less certainty is asked of them.
    """
    if not analyses:
        return []
    tracks = [named(one, labels) for one in track(analyses, expected)]
    found = [*counts(tracks, analyses), *events(tracks, analyses), *_texts(analyses), *_tags(analyses, labels)]
    for one in tracks:
        found += _of_track(one, analyses)
    found += _of_pictures(analyses)
    return sorted(found, key=lambda observation: observation.span)


def _of_track(one: Track, analyses: Sequence[FrameAnalysis]) -> list[Observation]:
    """One thing: what it is, its colors and place; a person's clothes too."""
    span = Span(analyses[one.first].pts_seconds, analyses[one.last].pts_seconds)
    number, best = max(one.seen, key=lambda seen: seen[1].score)
    place = place_of(best, analyses[number])
    person = one.label == "person"
    finer = most_voted([((thing.finer,), thing.score) for _, thing in one.seen if thing.finer])
    found = [
        Observation(
            kind="person" if person else "object",
            label=one.label,
            span=span,
            score=round(best.score, 3),
            colors=one.colors,
            place=place,
            detail=finer[0] if finer else "",
        )
    ]
    if not person:
        return found
    for part in ("head", "top", "bottom"):
        votes = [(dict(thing.parts)[part], thing.score) for _, thing in one.seen if dict(thing.parts).get(part)]
        if votes:
            clothes = most_voted(votes)[:2]
            found.append(
                Observation(kind="clothes", label=part, span=span, score=best.score, colors=clothes, place=place)
            )
    return found


def _texts(analyses: Sequence[FrameAnalysis]) -> list[Observation]:
    """Lines of text, those read more than once folded into one with the surest reading."""
    folded: list[list[tuple[FrameAnalysis, TextLine]]] = []
    for analysis in analyses:
        for line in analysis.texts:
            same = [lines for lines in folded if same_text(lines[-1][1].text, line.text)]
            if same:
                same[0].append((analysis, line))
            else:
                folded.append([(analysis, line)])
    found = []
    for lines in folded[:MAX_TEXTS]:
        _, best = max(lines, key=lambda seen: seen[1].score)
        analysis = lines[0][0]
        across = best.box.centre[0] / analysis.view.width
        down = best.box.centre[1] / analysis.view.height
        found.append(
            Observation(
                kind="text",
                label=best.text,
                span=Span(lines[0][0].pts_seconds, lines[-1][0].pts_seconds),
                score=best.score,
                colors=most_voted([(line.colors, line.score) for _, line in lines])[:1] if best.colors else (),
                place=_place_of_text(across, down),
                detail=most_voted([((line.on,), 1.0) for _, line in lines])[0],
            )
        )
    return found


def same_text(one: str, other: str) -> bool:
    """Whether two lines are one line, read twice."""
    a, b = (re.sub(r"\W", "", text).lower() for text in (one, other))
    return a == b or difflib.SequenceMatcher(None, a, b).ratio() > SAME_TEXT


def _place_of_text(across: float, down: float) -> str:
    row = "at the top" if down < 0.25 else "at the bottom" if down > 0.75 else ""
    column = "on the left" if across < 0.36 else "on the right" if across > 0.64 else "in the middle"
    return " ".join(part for part in (row, column) if part)


def _tags(analyses: Sequence[FrameAnalysis], labels: tuple[str, ...]) -> list[Observation]:
    """What the classifier says the pictures are of, summed over everyday groups of classes."""
    by_picture = [naming.groups(analysis.probabilities, labels) for analysis in analyses]
    found = []
    for name in {name for groups in by_picture for name in groups}:
        seen = [number for number, groups in enumerate(by_picture) if groups.get(name, 0.0) > MIN_TAG]
        if not seen:
            continue
        mean = sum(by_picture[number][name] for number in seen) / len(seen)
        if len(seen) == 1 < len(analyses) and mean < 0.35:
            continue
        finer = most_voted([((naming.finer(analyses[number].probabilities, name, labels),), 1.0) for number in seen])[0]
        span = Span(analyses[seen[0]].pts_seconds, analyses[seen[-1]].pts_seconds)
        found.append(Observation(kind="tag", label=name, span=span, score=round(mean, 3), detail=finer))
    return sorted(found, key=lambda tag: -tag.score)[:MAX_TAGS]


def _of_pictures(analyses: Sequence[FrameAnalysis]) -> list[Observation]:
    """Colors and light of the pictures as a whole, and of their lower and upper part."""
    span = Span(analyses[0].pts_seconds, analyses[-1].pts_seconds)
    whole = colors.main_colors(np.mean([analysis.colors for analysis in analyses], 0), 3)
    found = [Observation(kind="picture", label="colors", span=span, colors=whole)]
    for name in ("ground", "above"):
        votes = [(dict(analysis.areas)[name], 1.0) for analysis in analyses if dict(analysis.areas).get(name)]
        if votes:
            found.append(Observation(kind="area", label=name, span=span, colors=most_voted(votes)[:2]))
    light = _light(analyses)
    if light:
        found.append(Observation(kind="light", label=light, span=span))
    return found


def _light(analyses: Sequence[FrameAnalysis]) -> str:
    brightness = float(np.mean([analysis.brightness for analysis in analyses]))
    words = []
    if brightness < DARK:
        words.append("very dark" if brightness < VERY_DARK else "dark")
    elif brightness > BRIGHT:
        words.append("bright")
    if float(np.mean([analysis.saturation for analysis in analyses])) < COLORLESS:
        words.append("nearly without color")
    return ", ".join(words)
