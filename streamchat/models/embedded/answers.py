"""Answers about things: how many, which color, where, when, which, is there."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from streamchat.clock import time_range
from streamchat.models.embedded.captioning import PART_WORDS, said
from streamchat.models.embedded.lexicon import CLOTHES, Time
from streamchat.models.embedded.observation import Observation
from streamchat.models.embedded.query import PAST, PRESENT, QueryContext, Reply, best_per_label, chosen
from streamchat.models.embedded.questions import LABEL_WORDS, Target
from streamchat.models.embedded.vocabulary import listed, plural, split
from streamchat.types import Span

LIMIT = "in built-in mode"
ANYONE = frozenset(split("someone somebody anyone anybody"))
PEOPLE = ANYONE | frozenset(split("people persons human humans"))
GENDERED = frozenset(split("man woman men women boy girl boys girls lady ladies guy guys he she him her his"))


def at(one: Observation) -> str:
    """When an observation held, in words."""
    return time_range(one.span)


def not_noticed(query: QueryContext, word: str) -> Reply:
    """Never "no": only that it was not noticed, with what there was instead."""
    instead = best_per_label(chosen(query, query.notes.things()) or query.notes.now(query.notes.things()), 3)
    text = f"I did not notice {_with_article(word)} up to {time_range(_asked(query))}."
    if instead:
        text += f" What I noticed: {_row(instead)}."
    return Reply(text, tuple(instead), found_nothing=True)


def cannot_see(query: QueryContext, what: str, *, never: bool = True) -> Reply:
    """For what is never observed, or not enough was noticed for: says so, with what is known of the moment."""
    things = chosen(query, query.notes.things()) or query.notes.now(query.notes.things())
    near = query.notes.closest()
    if near is not None and query.question.time is Time.ANY and PAST.search(query.question.text):
        then = [one for one in query.notes.things() if one.span.start <= near.end and near.start <= one.span.end]
        things = then or things
    known = best_per_label(things, 3)
    text = f"I can't see {what} {LIMIT}."
    if known:
        text += f" Closest to it I noticed: {_row(known)}."
    else:
        text += f" I recognised nothing by name up to {time_range(_asked(query))}."
    return Reply(text, tuple(known), found_nothing=not (never and known))


def _asked(query: QueryContext) -> Span:
    return Span(query.notes.asked_at_seconds, query.notes.asked_at_seconds)


def _with_article(word: str) -> str:
    if word in ANYONE:
        return "anyone"
    if word == "people" or (word.endswith("s") and word not in LABEL_WORDS):
        return f"any {word}"
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"


def sentence(words: str) -> str:
    """Words with a capital letter in front."""
    return words[0].upper() + words[1:]


def _row(found: Sequence[Observation]) -> str:
    return listed([f"{said(one)} ({at(one)})" for one in found])


def how_many(query: QueryContext) -> Reply:
    """Counts of a subject: those of now, of a time, or the most at once."""
    main = query.question.main
    if main is None:
        return cannot_see(query, "what to count there")
    labels = query.labels_of(main)
    counts = [one for one in query.notes.of("count") if one.label in labels]
    if query.question.main_colors:
        return _how_many_of_color(query, main)
    if not counts:
        if seen := best_per_label(query.things_of(main), 3):
            return Reply(f"I noticed {_row(seen)}, but did not count.", tuple(seen))
        return not_noticed(query, main.word)
    now = query.question.time is Time.NOW or not PAST.search(query.question.text)
    fitting = chosen(query, counts) if query.question.time is not Time.ANY or now else counts
    if now and query.question.time in (Time.NOW, Time.ANY):
        fitting = query.notes.now(counts)
        if not fitting:
            last = max(counts, key=lambda one: one.span.end)
            return Reply(f"I count none right now; the last I noticed: {said(last)} at {at(last)}.", (last,))
        fitting = _newest_of_each(fitting)
    elif not fitting:
        return not_noticed(query, main.word)
    else:
        fitting = _most_of_each(fitting)
    text = listed([f"{one.count} {one.label if one.count == 1 else plural(one.label)} ({at(one)})" for one in fitting])
    lead = "Now I count" if now and query.question.time in (Time.NOW, Time.ANY) else "I counted"
    total = sum(one.count for one in fitting)
    text = f"{total} in all: {text}" if len(fitting) > 1 else text
    of_all = lead == "I counted"
    at_once = ", at most at one time" if of_all and total > 1 else ""
    return Reply(f"{lead} {text}{at_once}.", tuple(fitting), of_all=of_all)


def _newest_of_each(counts: Sequence[Observation]) -> list[Observation]:
    """The last count of each name; one from a single picture, where things are easily missed, if none is higher."""
    newest: dict[str, Observation] = {}
    for one in counts:
        newest[one.label] = max(newest.get(one.label, one), one, key=lambda item: (item.span.end, item.span.start))
    for label, one in newest.items():
        if one.span.start == one.span.end:
            newest[label] = max((other for other in counts if other.label == label), key=lambda item: item.count)
    return list(newest.values())


def _most_of_each(counts: Sequence[Observation]) -> list[Observation]:
    most: dict[str, Observation] = {}
    for one in counts:
        most[one.label] = max(most.get(one.label, one), one, key=lambda item: item.count)
    return list(most.values())


def _how_many_of_color(query: QueryContext, main: Target) -> Reply:
    wanted = query.question.main_colors[0]
    things = chosen(query, query.things_of(main))
    if not things:
        return not_noticed(query, f"{wanted} {main.word}")
    return Reply(f"I count {len(things)} that look {wanted}: {_row(things)}.", tuple(things))


def which_color(query: QueryContext) -> Reply:
    """The color of the thing that is asked about, and of no other."""
    main = query.question.main
    if main is None:
        return cannot_see(query, "what that is, so not its color either,")
    if main.part == "letters":
        return _color_of(query, main, query.notes.of("text"), "the text")
    if main.part in CLOTHES:
        candidates = [one for one in query.notes.of("clothes") if one.label == main.part]
        return _color_of(query, main, candidates, f"the {main.word}, going by the person's {PART_WORDS[main.part]}")
    if main.part == "picture":
        return _color_of(query, main, query.notes.of("picture"), "the picture as a whole")
    if main.part:
        candidates = [one for one in query.notes.of("area") if one.label == main.part]
        return _color_of(query, main, candidates, f"the {main.word}, going by {PART_WORDS[main.part]}")
    seen = query.things_of(main)
    things = [one for one in seen if one.kind != "tag"]
    if seen and not things:
        return Reply(
            f"I noticed {_row(best_per_label(seen, 2))}, but can't tell the color.", tuple(best_per_label(seen, 2))
        )
    if not things:
        reply = not_noticed(query, main.word)
        return replace(reply, text=f"I can't tell the color: {reply.text}")
    name = "the upper clothes of the person" if things[0].kind == "person" else f"the {main.word}"
    return _color_of(query, main, things, name)


def _color_of(query: QueryContext, main: Target, candidates: Sequence[Observation], name: str) -> Reply:
    fitting = chosen(query, [one for one in candidates if one.colors])
    if not fitting:
        return not_noticed(query, main.word) if not candidates else Reply(f"I could not make out the color of {name}.")
    firsts = Counter(one.colors[0] for one in fitting)
    common, votes = firsts.most_common(1)[0]
    if votes == len(fitting) or (votes >= 3 and votes > 0.7 * len(fitting)):
        same = [one for one in fitting if one.colors[0] == common]
        best = max(same, key=lambda one: (one.span.end - one.span.start, one.score))
        second = best.colors[1:2] if len(fitting) == 1 else ()
        color = listed([common, *second])
        place = f", {best.place}" if best.place and best.kind != "text" and len(fitting) == 1 else ""
        return Reply(f"{color.capitalize()}: {name} ({at(best)}{place}).", (best,))
    shown = sorted(fitting, key=lambda one: (-one.score, one.span))[:3]
    shown.sort(key=lambda one: one.span)
    each = listed([f"{listed(list(one.colors))} ({at(one)}, {one.place})" for one in shown])
    caveat = " I can't tell men from women." if set(query.question.text.split()) & GENDERED else ""
    return Reply(f"I noticed several — {name}: {each}.{caveat}", tuple(shown))


def where(query: QueryContext) -> Reply:
    """The place in the picture of a thing."""
    main = query.question.main
    if main is None:
        return cannot_see(query, "where that is")
    things = [one for one in query.things_of(main) if one.place]
    if main.part == "letters":
        things = query.notes.of("text")
    if not things:
        seen = query.things_of(main)
        if seen:
            return Reply(
                f"I noticed {_row(best_per_label(seen, 2))}, but not where in the picture.",
                tuple(best_per_label(seen, 2)),
            )
        return not_noticed(query, main.word)
    fitting = chosen(query, things)
    if not fitting and query.question.main_colors:
        return not_noticed(query, f"{query.question.main_colors[0]} {main.word}")
    if not fitting:
        last = max(things, key=lambda one: one.span.end)
        return Reply(f"I don't see it now; I last noticed {said(last)} at {at(last)}.", (last,))
    fitting = sorted(fitting, key=lambda one: -one.score)[:3] if len(fitting) > 3 else fitting
    beside = [one for one in query.notes.things() if one.label != fitting[0].label and _together(one, fitting[0])]
    also = f"; also in view then: {listed([said(one) for one in best_per_label(beside, 3)])}" if beside else ""
    return Reply(f"{sentence(_row(fitting))}{also}.", tuple(fitting))


def _together(one: Observation, other: Observation) -> bool:
    return one.span.start <= other.span.end and other.span.start <= one.span.end


def when(query: QueryContext) -> Reply:
    """The times at which a thing was to be seen, or came or went."""
    targets = [target for target in query.question.targets if target.known or query.labels_of(target)]
    texts = [one for target in query.question.targets for one in query.texts_with(target.word)]
    if texts and not targets:
        return Reply(f"{sentence(said(texts[0]))} was to be read at {at(texts[0])}.", tuple(texts[:1]))
    if not targets:
        word = query.question.targets[0].word if query.question.targets else "that"
        return not_noticed(query, word)
    if targets[0].part == "letters":
        texts = chosen(query, query.notes.of("text"))
        return Reply(f"At {_row(texts)}.", tuple(texts)) if texts else not_noticed(query, "text")
    labels = query.labels_of(targets[0])
    going = re.search(r"\b(leave|left|disappear|go|gone)\b", query.question.text) is not None
    events = [one for one in query.notes.of("event") if one.label in labels and one.detail == "left"]
    if going and events:
        return Reply(f"{sentence(said(events[-1]))} at {at(events[-1])}.", (events[-1],))
    things = query.notes.things(labels)
    if not things:
        return not_noticed(query, targets[0].word)
    things = [one for one in things if one.kind != "tag"] or things
    begins = re.search(r"\b(appear|come|came|arriv|enter|first|start)", query.question.text) is not None
    shown = things[:1] if begins and query.question.time is not Time.LAST else chosen(query, things)[:4] or things[:4]
    times = listed(list(dict.fromkeys(at(one) for one in shown)))
    return Reply(f"At {times}: {said(shown[0])}.", tuple(shown))


def which(query: QueryContext) -> Reply:
    """Which thing of a kind, such as "which animal"."""
    main = query.question.main
    if main is None or (not main.labels and not query.labels_of(main)):
        return cannot_see(query, f"which {main.word if main else 'thing'} that is")
    things = best_per_label(chosen(query, query.things_of(main)), 4)
    if not things:
        if query.question.anchor and not any(query.things_of(anchor) for anchor in query.question.anchor):
            return not_noticed(query, query.question.anchor[0].word)
        seen = query.things_of(main)
        if seen:
            others = best_per_label(seen, 3)
            text = f"I noticed none at that time; at other times: {_row(others)}."
            return Reply(text, tuple(others), found_nothing=True)
        return not_noticed(query, main.word)
    if all(one.label == main.word.rstrip("s") for one in things):
        return Reply(f"I noticed {_row(things)}, but can't tell which kind.", tuple(things))
    lead = "The first that I recognised: " if query.question.time is Time.FIRST else ""
    unchecked = [word for word in query.question.unknown if not query.labels_of(Target(word))]
    caveat = f" I can't check “{' '.join(unchecked)}” {LIMIT}." if unchecked else ""
    return Reply(f"{sentence(lead + _row(things))}.{caveat}", tuple(things))


def is_there(query: QueryContext) -> Reply:
    """Whether something was noticed; what cannot be seen is named as such."""
    question = query.question
    fitting: list[tuple[Target, list[Observation]]] = []
    missing: list[str] = []
    for target in question.targets:
        if chosen_now := chosen(query, _noted_of(query, target)):
            fitting.append((target, chosen_now))
        else:
            missing.append(target.word)
    if not fitting:
        if question.main is None:
            return not_noticed(query, missing[0]) if missing else cannot_see(query, "that")
        return _gone(query, question.main) or not_noticed(query, " ".join([*question.main_colors, question.main.word]))
    if question.colors and not question.main_colors:
        return _has_color(fitting[0][1], question.colors[0])
    if _asks_of_now(query) and (gone := _gone(query, fitting[0][0])) is not None:
        return gone
    found = [max(some, key=lambda one: one.score) for _, some in fitting]
    if missing:
        return Reply(f"I noticed {_row(found)}, but I can't see “{' '.join(missing)}” {LIMIT}.", tuple(found))
    sure = all(_is_called(one, target) for one, (target, _) in zip(found, fitting, strict=True))
    return Reply(f"{'Yes:' if sure else 'I noticed'} {_row(found)}.", tuple(found))


def _noted_of(query: QueryContext, target: Target) -> list[Observation]:
    return query.notes.of("text") if target.part == "letters" else query.things_of(target)


def _asks_of_now(query: QueryContext) -> bool:
    text = query.question.text
    bare = query.question.time is Time.ANY and PRESENT.search(text) is not None and PAST.search(text) is None
    return bare or query.question.time is Time.NOW


def _gone(query: QueryContext, target: Target) -> Reply | None:
    """That a thing which the question asks for now was there before; None if it is there, or was not noticed at all."""
    wanted = set(query.question.main_colors)
    seen = [one for one in _noted_of(query, target) if not wanted or wanted & set(one.colors)]
    if not seen or not _asks_of_now(query) or query.notes.now(seen):
        return None
    last = max(seen, key=lambda one: one.span.end)
    return Reply(f"I don't see it now; I last noticed {said(last)} at {at(last)}.", (last,))


def _is_called(one: Observation, target: Target) -> bool:
    """Whether a thing is surely what the question calls it: "driver" stands for any person, who may be none."""
    if said(one).startswith("possibly"):
        return False
    names = [name for name in (one.label, one.detail) if name]
    called = {*names, *(plural(name) for name in names)}
    return target.word in called or one.kind == "text" or (one.kind == "person" and target.word in PEOPLE)


def _has_color(things: Sequence[Observation], wanted: str) -> Reply:
    so_colored = [one for one in things if wanted in one.colors]
    if so_colored:
        best = max(so_colored, key=lambda one: one.score)
        return Reply(f"Yes: {said(best)} ({at(best)}).", (best,))
    best = max(things, key=lambda one: one.score)
    appearance = listed(list(best.colors)) if best.colors else "of no color that I could make out"
    return Reply(f"It looks {appearance} to me ({at(best)}).", (best,))
