"""Answers about the stream as a whole or a moment of it: text, shots, changes, light, place, summaries."""

from __future__ import annotations

import re
from dataclasses import replace

from streamchat.clock import time_range
from streamchat.models.embedded.answers import GENDERED, LIMIT, at, cannot_see, not_noticed, sentence, which
from streamchat.models.embedded.captioning import said
from streamchat.models.embedded.frame_analysis import UNNAMED
from streamchat.models.embedded.lexicon import CLOTHES, Time
from streamchat.models.embedded.query import PAST, QueryContext, Reply, best_per_label, chosen
from streamchat.models.embedded.vocabulary import HYPERNYMS, listed, split
from streamchat.types import Span

ABILITIES = (
    "This is the built-in mode: I recognise common objects, people, colors, places in the picture and on-screen text, "
    "count them and note when they come and go. I don't understand actions, reasons or names."
)
SMALL_TALK = (
    "Hello. I am the built-in mode: ask me what is to be seen, how many, which color, where, when, or what is written."
)
SCENES = frozenset(
    split(
        "shop,restaurant,building,mountain landscape,sea or lake shore,grocery store,library,stage,patio,greenhouse,"
        "cinema,church,palace,stone wall,home theater"
    )
)
DIGITS = re.compile(r"\b(number|price|date|score|year|speed|temperature|how much)\b")
UNLIKE_HAIR = frozenset(("yellow", "red", "blue", "green", "turquoise", "purple", "orange"))
WORD = re.compile(r"[^\W\d_]{3,}")
ABOUT_TEXT = re.compile(  # words of questions about text, which quote nothing
    r"the|and|for|was|were|with|there|what|which|words?|text|numbers?|written|shown|read|says?|sign|screen|letters|"
    r"line|title|caption|name"
)
REASONS = re.compile(r"\b(why|reasons?|purpose)\b")
ACTIONS = re.compile(
    r"\b(do|doing|did|does|how|actions?|gestures?|us(e|es|ing)|hold\w*|carry\w*|eat\w*|drink\w*|play\w*)\b"
)
MAX_MOMENTS = 8  # moments of a summary


def written(query: QueryContext) -> Reply:
    """The text on the screen, of the time and on the thing that the question means."""
    texts = query.notes.of("text")
    if not texts:
        return Reply(f"I did not notice any text that I could read up to {_now_words(query)}.", found_nothing=True)
    things = [label for target in query.question.targets for label in target.labels]
    fitting = chosen(query, [one for one in texts if one.detail in things] or texts)
    fitting = [one for one in fitting if _shares_a_word(one.label, query.question.text)] or fitting
    if re.search(r"\btitle\b", query.question.text) and query.question.time is Time.ANY:
        fitting = texts[:1]  # a title comes first, whatever was to be read later
    if DIGITS.search(query.question.text):
        fitting = [one for one in fitting if re.search(r"\d", one.label)] or fitting
    if not fitting:
        last = max(texts, key=lambda one: one.span.end)
        text = f"I read no text then; the last that I read was “{last.label}” at {at(last)}."
        return Reply(text, (last,), found_nothing=True)
    shown = sorted(sorted(fitting, key=lambda one: -one.score)[:5], key=lambda one: one.span)
    return Reply(listed([f"“{one.label}” ({at(one)})" for one in shown]) + ".", tuple(shown))


def _shares_a_word(label: str, question: str) -> bool:
    """Whether a question quotes a text that was read: "the number beside the word GATE"."""
    words = {word for word in WORD.findall(label.lower()) if not ABOUT_TEXT.fullmatch(word)}
    return not words.isdisjoint(WORD.findall(question))


def _now_words(query: QueryContext) -> str:
    return time_range(Span(query.notes.asked_at_seconds, query.notes.asked_at_seconds))


def shots(query: QueryContext) -> Reply:
    """How many shots there were, from the changes of scene."""
    views = query.notes.of("view")
    times = f"; the view changed at {listed([at(one) for one in views])}" if views else ""
    count = len(views) + 1
    text = f"I counted {count} shot{'s' if count > 1 else ''} up to {_now_words(query)}{times}."
    return Reply(text, tuple(views), of_all=True)


def view_changed(query: QueryContext) -> Reply:
    """Whether and when the view changed, and what is to be seen now."""
    views = query.notes.of("view")
    now = shown_now(query)
    if not views:
        text = f"I did not notice a change of view up to {_now_words(query)}. {now.text}"
        return Reply(text, now.rests_on, found_nothing=True)
    last = views[-1]
    return Reply(f"Yes, the view changed at {at(last)}. {now.text}", (last, *now.rests_on))


def shown_now(query: QueryContext) -> Reply:
    """What is on the screen."""
    notes = query.notes
    named = best_per_label(notes.now(notes.of("object", "person")), 6)
    moving = [one for one in named if one.label == UNNAMED][:1]
    things = [one for one in named if one.label != UNNAMED][:5]
    tags = [tag for tag in notes.of("tag") if tag.span.end >= notes.newest_seconds]
    texts = notes.now(notes.of("text"))[:3]
    found = [*things, *texts, *([] if things else [*moving, *best_per_label(tags, 2)])]
    light = [one.label for one in notes.now(notes.of("light"))][:1]
    colors = [one for one in notes.now(notes.of("picture")) if one.colors][-1:]
    words = [f"{said(one)} ({at(one)})" for one in found]
    if not words:
        appearance = f"; the picture is mostly {listed(list(colors[0].colors))}" if colors else ""
        appearance += f", {light[0]}" if light else ""
        return Reply(f"Now ({_now_words(query)}) I recognise nothing by name{appearance}.", tuple(colors))
    return Reply(f"Now I see {listed(words)}.", tuple(found))


def shown(query: QueryContext) -> Reply:
    """What is to be seen at the time that the question means."""
    question, notes = query.question, query.notes
    if question.time is Time.NOW or (question.time is Time.ANY and not PAST.search(question.text)):
        reply = shown_now(query)
        return _with_unknown(query, reply)
    candidates = [*notes.things(), *notes.of("text")]
    if question.anchor and not any(query.things_of(target) for target in question.anchor):
        return not_noticed(query, question.anchor[0].word)
    found = best_per_label(chosen(query, candidates), 5)
    if not found:
        now = "" if question.time is Time.FIRST else f" {shown_now(query).text}"
        return Reply(f"I recognised nothing by name at that time.{now}", found_nothing=True)
    return _with_unknown(
        query, Reply(f"I noticed {listed([f'{said(one)} ({at(one)})' for one in found])}.", tuple(found))
    )


def _with_unknown(query: QueryContext, reply: Reply) -> Reply:
    """Say which words of the question nothing was noted of, so that what follows is not taken for an answer to them."""
    unknown = [word for word in query.question.unknown if not query.labels_of_word(word)]
    if not unknown:
        return reply
    return replace(reply, text=f"I have no notion of “{' '.join(unknown)}” {LIMIT}. {reply.text}")


def changed(query: QueryContext) -> Reply:
    """What came or went, the latest first."""
    text = query.question.text
    gone = re.search(r"\b(left|leav\w+|disappear\w*|gone|vanish\w*|taken away|removed|missing)\b", text)
    came = re.search(r"\b(appear\w*|arriv\w*|came|comes?|enter\w*|join\w*|new)\b", text)
    events = [one for one in query.notes.of("event") if one.label != UNNAMED] or query.notes.of("event")
    if re.search(r"\b(who|some(one|body)|any(one|body)|person|people)\b", text):
        events = [one for one in events if one.label == "person"]
    if gone:
        events = [one for one in events if one.detail == "left"]
    elif came:
        events = [one for one in events if one.detail == "appeared"]
    views = [] if gone or came else query.notes.of("view")
    found = sorted([*events, *views], key=lambda one: one.span.end)
    if query.question.anchor:
        found = chosen(query, found)
    if not found:
        return Reply(f"I did not notice that up to {_now_words(query)}.", found_nothing=True)
    picked = found[:1] if query.question.time is Time.FIRST else found[-2:] if not (gone or came) else found[-1:]
    return Reply(" ".join(f"{sentence(said(one))} at {at(one)}." for one in picked), tuple(picked))


def where_to(query: QueryContext) -> Reply:
    """How a thing moved over the picture."""
    main = query.question.main
    if main is None or not query.things_of(main):
        return not_noticed(query, main.word if main else "that")
    labels = query.labels_of(main)
    paths = [one for one in query.notes.of("event") if one.label in labels and one.detail not in ("appeared", "left")]
    gone = [one for one in query.notes.of("event") if one.label in labels and one.detail == "left"]
    last = max(query.things_of(main), key=lambda one: one.span.end)
    found = [*paths[-1:], *gone[-1:]]
    if not found:
        text = f"I did not notice it move; I last noticed {said(last)} at {at(last)}."
        return Reply(text, (last,), found_nothing=True)
    return Reply(" ".join(f"{sentence(said(one))} at {at(one)}." for one in found), tuple(found))


def towards(query: QueryContext) -> Reply:
    """Whether something comes nearer or goes away, from its size and height in the picture."""
    labels = query.labels_of(query.question.main) if query.question.main else frozenset()
    paths = [one for one in query.notes.of("event") if one.label in labels and one.detail not in ("appeared", "left")]
    for one in reversed(paths):
        if "farther" in one.detail or ("moved up" in one.detail and "nearer" not in one.detail):
            return Reply(f"Away from the camera, it seems: {said(one)} ({at(one)}).", (one,))
        if "nearer" in one.detail or "moved down" in one.detail:
            return Reply(f"Towards the camera, it seems: {said(one)} ({at(one)}).", (one,))
    return cannot_see(query, "whether it comes nearer or goes away", never=False)


def light(query: QueryContext) -> Reply:
    """How bright it is; the time of day only as far as that goes."""
    pictures = chosen(query, query.notes.of("picture"))
    lights = [one for one in chosen(query, query.notes.of("light")) if "dark" in one.label or "bright" in one.label]
    what = ""
    if "shown" in query.question.text or "see" in query.question.text:
        what = " " + shown_now(query).text
    if lights:
        return Reply(
            f"The picture is {lights[-1].label} ({at(lights[-1])}); the time of day I can't tell for sure.{what}",
            (lights[-1],),
        )
    when = f" ({at(pictures[-1])})" if pictures else ""
    return Reply(
        f"The picture is neither dark nor very bright{when}; I can't tell the time of day.{what}", tuple(pictures[-1:])
    )


def place(query: QueryContext) -> Reply:
    """What kind of place it may be; names of places are never guessed."""
    scenes = [one for one in chosen(query, query.notes.things()) if one.label in SCENES]
    if scenes:
        best = max(scenes, key=lambda one: one.score)
        hedge = "It looks like" if best.score > 0.45 else "Possibly"
        return Reply(f"{hedge} a {best.label} ({at(best)}); I can't be sure of places {LIMIT}.", (best,))
    return cannot_see(query, "what kind of place that is", never=False)


def choice(query: QueryContext) -> Reply:
    """A or B: what was noticed of them."""
    first, _, second = query.question.text.rpartition(" or ")
    if set(first.split()) & GENDERED and set(second.strip(" ?").split()) & GENDERED:
        return cannot_see(query, "whether it is a man or a woman")
    if query.question.colors:
        return _choice_of_color(query)
    found = {}
    for target in query.question.targets:
        things = [] if target.part else chosen(query, query.things_of(target))
        if things and target.word != "people" and target.labels != frozenset(("person",)):
            found[target.word] = max(things, key=lambda one: one.score)
    if not found:
        return cannot_see(query, "which of the two it is", never=False)
    best = max(found.values(), key=lambda one: one.score)
    return Reply(f"{sentence(said(best))} ({at(best)}), as far as I can see.", (best,))


def _choice_of_color(query: QueryContext) -> Reply:
    main = next((target for target in query.question.targets if target.known), None)
    things = [one for one in chosen(query, query.things_of(main)) if one.colors] if main and not main.part else []
    if main and main.part in CLOTHES:
        things = chosen(query, [one for one in query.notes.of("clothes") if one.label == main.part and one.colors])
    if not things:
        return cannot_see(query, "that color", never=False)
    best = max(things, key=lambda one: one.score)
    fitting = [color for color in best.colors if color in query.question.colors] or list(best.colors)
    return Reply(f"{fitting[0].capitalize()}, as far as I can see ({at(best)}).", (best,))


def worn(query: QueryContext) -> Reply:
    """What somebody wears, as far as colors go: of hair and skin it has none that hats and helmets often have."""
    on_head = re.search(r"\b(head|face)\b", query.question.text) is not None
    parts = ("head",) if on_head else ("top", "bottom")
    found = chosen(query, [one for one in query.notes.of("clothes") if one.label in parts])[:4]
    if not found:
        return cannot_see(query, "what is worn", never=False)
    row = listed([f"{said(one)} ({at(one)})" for one in found])
    unlike_hair = [one for one in found if set(one.colors[:1]) & UNLIKE_HAIR]
    if on_head and unlike_hair:
        first = unlike_hair[0]
        return Reply(f"Something {first.colors[0]}, perhaps a hat or a helmet ({at(first)}, {first.place}).", (first,))
    if on_head:
        return Reply(f"I can't make out what is worn on the head; the colors there: {row}.", tuple(found))
    return Reply(f"Of clothes I see the colors only: {row}.", tuple(found))


def unseen(query: QueryContext) -> Reply:
    """Actions, reasons, names: never observed, unless the question only asks for a thing by its kind."""
    text, main = query.question.text, query.question.main
    if REASONS.search(text):
        return cannot_see(query, "reasons")
    if ACTIONS.search(text):
        return cannot_see(query, "actions")
    if main is not None and any(word.rstrip("s") in HYPERNYMS for word in main.word.split()):
        return which(query)
    return cannot_see(query, "that, as I know no names and nothing of the world,")


def summary(query: QueryContext) -> Reply:
    """What was noticed, in time order."""
    time = query.question.time
    if time is Time.NOW:
        return shown_now(query)
    noted = sorted([*query.notes.things(), *query.notes.of("text")], key=lambda one: one.span)
    one_moment = time in (Time.FIRST, Time.MOMENT)
    found = best_per_label(chosen(query, noted) if one_moment else noted, MAX_MOMENTS)
    if not found:
        return replace(shown_now(query), found_nothing=True)
    moments = [f"{at(one)} {said(one)}" for one in found]
    views = [] if one_moment else query.notes.of("view")
    extra = f" The view changed at {listed([at(one) for one in views[:6]])}." if views else ""
    return Reply(f"In order: {'; '.join(moments)}.{extra}", tuple(found), of_all=not one_moment)
