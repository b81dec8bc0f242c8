"""Captions in words, and several captions' observations merged into one caption's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from streamchat.models.embedded.frame_analysis import UNNAMED
from streamchat.models.embedded.observation import Observation
from streamchat.models.embedded.observing import same_text
from streamchat.models.embedded.vocabulary import counted, listed
from streamchat.types import Span

MAX_OBSERVATIONS = 64  # of a summary
CONTIGUOUS_SECONDS = 3.0  # observations no farther apart than this are one
NEXT_TO_SECONDS = 4.0  # clips no farther apart than this are neighbours
PART_WORDS = {
    "head": "head (hair or headgear)",
    "top": "upper clothes",
    "bottom": "lower clothes",
    "ground": "the lower part of the picture",
    "above": "the upper part of the picture",
}
SURE = 0.45  # below this a tag is "possibly"
STAND_BY_THEMSELVES = frozenset(("event", "view"))
# What is worth keeping in a summary, most first; multiplied by how sure it is.
WEIGHT = {"text": 3.0, "count": 2.4, "object": 2.0, "person": 2.0, "tag": 1.8, "view": 1.5, "event": 1.3}
WEIGHT |= {"clothes": 1.2, "picture": 1.0, "light": 0.9, "area": 0.7}


def caption_text(observations: Sequence[Observation]) -> str:
    """One or two sentences that say what was noted."""
    things = _things(observations)
    seen = {label for label, _ in things}
    tags = [tag for tag in observations if tag.kind == "tag" and tag.label not in seen]
    named = [tag.detail or tag.label for tag in tags if tag.score > SURE]
    possibly = [f"possibly {tag.detail or tag.label}" for tag in tags if tag.score <= SURE]
    parts = [text for _, text in things] + named[:3] + possibly[:2]
    sentences = [listed(parts[:7])] if parts else ["nothing recognised"]
    light = [one.label for one in observations if one.kind == "light"]
    if light:
        sentences.append(listed(light[:2]))
    colors = [one.colors for one in observations if one.kind == "picture" and one.colors]
    if colors and not parts:
        sentences.append("colors: " + listed(list(colors[0])))
    texts = [one.label for one in observations if one.kind == "text"]
    if texts:
        sentences.append('on-screen text: "' + " | ".join(texts[:6]) + '"')
    changes = list(dict.fromkeys(event_text(one) for one in observations if one.kind == "event" and _is_certain(one)))
    if changes:
        sentences.append(", ".join(changes[:3]))
    text = "; ".join(sentences)
    return text[0].upper() + text[1:] + "."


def _things(observations: Sequence[Observation]) -> list[tuple[str, str]]:
    """What was counted, the most certain first: its label, and in words with its colors."""
    counts: dict[str, Observation] = {}
    for one in observations:
        if one.kind == "count" and (one.label not in counts or one.count > counts[one.label].count):
            counts[one.label] = one
    ranked = sorted(counts.values(), key=lambda one: (one.label != "person", -one.score))
    return [(one.label, _described(one, observations)) for one in ranked]


def _described(count: Observation, observations: Sequence[Observation]) -> str:
    """A counted thing with the color, and the finer name, of the one that was seen most surely."""
    same = [one for one in observations if one.kind in ("object", "person") and one.label == count.label]
    if count.count > 1 or not same:
        return counted(count.count, count.label)
    return _with_color(max(same, key=lambda one: one.score))


def _with_color(one: Observation) -> str:
    """A thing with its main color: "a blue car", "a person in black"."""
    if one.label == UNNAMED:
        return f"something that moves ({listed(list(one.colors))})" if one.colors else "something that moves"
    name = one.detail or one.label
    if not one.colors or any(color in name for color in one.colors):
        return counted(1, name)
    return f"a person in {one.colors[0]}" if name == "person" else counted(1, f"{one.colors[0]} {name}")


def event_text(event: Observation) -> str:
    """An event in words: "a blue car left on the right"."""
    thing = counted(event.count, event.label) if event.count > 1 else _with_color(replace(event, detail=""))
    if event.detail == "left":
        return f"{thing} went out of view {event.place}".strip()
    return f"{thing} {event.detail} {event.place}".strip()


def _is_certain(event: Observation) -> bool:
    return event.label != UNNAMED and event.score > 0.55


def said(one: Observation) -> str:
    """An observation in words: "a blue car on the left"."""
    if one.kind == "event":
        return event_text(one)
    if one.kind == "text":
        return f"the text “{one.label}”"
    if one.kind == "count":
        return counted(one.count, one.label)
    if one.kind == "clothes":
        return f"{PART_WORDS[one.label]} {listed(list(one.colors))} {one.place}"
    if one.kind in ("picture", "area"):
        return f"{'the picture' if one.kind == 'picture' else PART_WORDS[one.label]}: {listed(list(one.colors))}"
    if one.kind == "tag" and one.score <= SURE:
        return f"possibly {counted(1, one.detail or one.label)}"
    if one.kind in ("object", "person", "tag"):
        return f"{_with_color(one)} {one.place}".strip()
    return one.label


def merged(groups: Sequence[Sequence[Observation]], *, at_most: int = MAX_OBSERVATIONS) -> tuple[Observation, ...]:
    """The observations of captions in time order as those of one: same ones joined, the most salient kept.

    At most `at_most`, in time order. What changed from one group to the next is added as events.
    """
    joined: list[Observation] = []
    scene = 0  # where in `joined` the scene begins: nothing goes on across a cut
    for number, group in enumerate(groups):
        if any(one.kind == "view" for one in group):
            scene = len(joined)
        joined += between(groups[number - 1], group) if number else []
        for one in group:
            _join(joined, one, scene)
    kept = sorted(joined, key=lambda one: -WEIGHT.get(one.kind, 1.0) * one.score)[:at_most]
    return tuple(sorted(kept, key=lambda one: one.span))


def _join(joined: list[Observation], new: Observation, scene: int) -> None:
    """Add an observation, or let the last of its kind in this scene that it goes on from last longer."""
    if new.kind not in STAND_BY_THEMSELVES:
        for number in range(len(joined) - 1, scene - 1, -1):
            old = joined[number]
            if new.span.start - old.span.end <= CONTIGUOUS_SECONDS and _same(old, new):
                surer = old if old.score >= new.score else new
                span = Span(min(old.span.start, new.span.start), max(old.span.end, new.span.end))
                joined[number] = replace(surer, span=span)
                return
            if new.kind == old.kind == "count" and new.label == old.label:
                break  # the number was another one in between
    joined.append(new)


def _same(old: Observation, new: Observation) -> bool:
    """Whether two observations of neighbouring clips are one and the same."""
    if old.kind != new.kind:
        return False
    if old.kind == "text":
        return same_text(old.label, new.label)
    if old.label != new.label or old.count != new.count:
        return False
    if old.kind in ("person", "clothes", "object", "picture", "area"):
        return old.colors[:1] == new.colors[:1] and (old.place == new.place or old.kind in ("picture", "area"))
    return True


def between(before: Sequence[Observation], after: Sequence[Observation]) -> list[Observation]:
    """What appeared, left or changed in number from one clip to the next; nothing if a scene or a gap lies between."""
    ends, starts = _counts_at(before, last=True), _counts_at(after, last=False)
    if ends is None or starts is None or any(one.kind == "view" for one in after):
        return []
    (end, old), (start, new) = ends, starts
    if not 0 <= start - end <= NEXT_TO_SECONDS:
        return []
    span = Span(end, start)
    found = []
    for label in sorted(set(old) | set(new)):
        was, now = old.get(label, 0), new.get(label, 0)
        if was != now:
            what = "appeared" if now > was else "left"
            found.append(
                Observation(kind="event", label=label, span=span, score=0.5, count=abs(now - was), detail=what)
            )
    return found


def _counts_at(observations: Sequence[Observation], *, last: bool) -> tuple[float, dict[str, int]] | None:
    """The time of a clip's last or first picture, and how many things of each name were in it."""
    pictures = [one.span for one in observations if one.kind == "picture"]
    if not pictures:
        return None
    time = max(span.end for span in pictures) if last else min(span.start for span in pictures)
    at = [one for one in observations if one.kind == "count" and one.span.start <= time <= one.span.end]
    return time, {one.label: one.count for one in at}
