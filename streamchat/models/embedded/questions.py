"""A question taken apart: its kind, what it is about, and the time that it speaks of."""

from __future__ import annotations

import re
from dataclasses import dataclass

from streamchat.models.embedded import vocabulary
from streamchat.models.embedded.lexicon import (
    ARTICLES,
    COLORS,
    FILLERS,
    KINDS,
    PARTS,
    PHRASE_ENDS,
    PREAMBLES,
    TIMES,
    Kind,
    Time,
)


@dataclass(frozen=True, slots=True)
class Target:
    """One thing that a question is about."""

    word: str  # as the question has it
    labels: frozenset[str] = frozenset()  # of the model; empty if it has no word for it
    part: str = ""  # of a person or of the picture, see lexicon.PARTS

    @property
    def known(self) -> bool:
        """Whether the model has any word for it."""
        return bool(self.labels or self.part)


@dataclass(frozen=True, slots=True)
class Question:
    """A question, taken apart."""

    text: str  # in small letters
    kind: Kind
    time: Time
    main: Target | None  # what is asked about: "chairs" in "what color are the chairs by the wall"
    targets: tuple[Target, ...]  # every subject in it, `main` included, those unknown too
    anchor: tuple[Target, ...] = ()  # what BEFORE or AFTER refers to
    colors: tuple[str, ...] = ()  # that it names
    main_colors: tuple[str, ...] = ()  # of `main`: "red" in "the red car"
    side: str = ""  # "left", "right" or "middle", if it names one
    moment_seconds: float | None = None

    @property
    def unknown(self) -> tuple[str, ...]:
        """Subjects that the model has no word for."""
        return tuple(target.word for target in self.targets if not target.known)

    @property
    def leans_on_the_last(self) -> bool:
        """Whether it can only be understood with the round before: "and after that?", "what color is it?"."""
        if self.main is not None or any(target.known for target in self.targets):
            return False
        pronoun = re.search(r"\b(it|they|them|that|those|he|she|him|her|ones?)\b", self.text) is not None
        return pronoun or self.text.startswith("and ") or not self.targets


def parse(text: str) -> Question:
    """Take a question apart, by its words alone."""
    small = _plain(text)
    kind = next(kind for kind, patterns in KINDS if any(re.search(pattern, small) for pattern in patterns))
    time = next((time for time, pattern in TIMES if re.search(pattern, small)), Time.ANY)
    about, anchor = _split_at_anchor(small, time)
    targets = _targets(about)
    phrase = _main_phrase(about, kind)
    main = _main(phrase, targets, kind)
    side = re.search(r"\b(?:on|at|to|in) the (?:far )?(left|right|middle)\b", small)
    return Question(
        text=small,
        kind=kind,
        time=time,
        main=main,
        targets=tuple(targets),
        anchor=tuple(_targets(anchor)),
        colors=tuple(COLORS[word] for word in words_of(small) if word in COLORS),
        main_colors=_colors_before(main, phrase),
        side=side[1] if side else "",
        moment_seconds=_moment(small) if time is Time.MOMENT else None,
    )


def _plain(text: str) -> str:
    """The question in small letters, without what people say before they ask."""
    small = re.sub(r"\s+", " ", text.lower().replace("’", "'")).strip()
    for pattern in PREAMBLES:
        small = re.sub(pattern, "", small)
    return re.sub(r"\bon top of\b", "on", re.sub(r"\s+", " ", small)).strip() or text.lower()


def _colors_before(main: Target | None, phrase: list[str]) -> tuple[str, ...]:
    """The colors in a phrase before the thing that it is about."""
    if main is None or main.word.split()[0] not in phrase:
        return ()
    return tuple(COLORS[word] for word in phrase[: phrase.index(main.word.split()[0])] if word in COLORS)


def words_of(text: str) -> list[str]:
    """The words of a text in small letters, without possessive endings."""
    return [re.sub(r"'s$", "", word) for word in re.findall(r"[a-z0-9][a-z0-9'-]*", text.lower())]


def target_of(word: str) -> Target:
    """What a word stands for."""
    if word in PARTS:
        return Target(word, part=PARTS[word])
    for form in _forms(word):
        if form in vocabulary.SYNONYMS:
            return Target(word, frozenset((vocabulary.SYNONYMS[form],)))
        if form in vocabulary.HYPERNYMS:
            return Target(word, vocabulary.HYPERNYMS[form])
        if form in LABEL_WORDS:
            return Target(word, LABEL_WORDS[form])
    return Target(word)


def _forms(word: str) -> list[str]:
    """A word as it is and in the singular that its ending allows."""
    forms = [word]
    if word.endswith("ies"):
        forms.append(word[:-3] + "y")
    if word.endswith("es"):
        forms.append(word[:-2])
    if word.endswith("s"):
        forms.append(word[:-1])
    return forms


def _label_words() -> dict[str, frozenset[str]]:
    """Words, and pairs of words, that name labels of the detector or the classifier."""
    named: dict[str, set[str]] = {}
    for label in (*vocabulary.COCO, *vocabulary.CLASSES_OF, *vocabulary.HYPERNYMS["fruit"], "cauliflower", "cucumber"):
        for name in (label, *(label.split(" or ") if " or " in label else ())):
            named.setdefault(name, set()).add(label)
    return {name: frozenset(labels) for name, labels in named.items()}


LABEL_WORDS = _label_words()


def _targets(text: str) -> list[Target]:
    """The subjects of a text in their order; two words that name one label are one."""
    words = words_of(text)
    found: list[Target] = []
    skip = False
    for word, following in zip(words, [*words[1:], ""], strict=False):
        if skip:
            skip = False
            continue
        pair = target_of(f"{word} {following}")
        if pair.known:
            found.append(pair)
            skip = True
        elif (target_of(word).known and (word not in FILLERS or word in vocabulary.SYNONYMS)) or (
            word not in FILLERS and word not in COLORS and len(word) > 1 and not word.isdigit()
        ):
            found.append(target_of(word))
    return list({target.word: target for target in found}.values())


def _split_at_anchor(text: str, time: Time) -> tuple[str, str]:
    """What is asked, and what "before" or "after" refers to: ("which fruit came", "the apple")."""
    if time not in (Time.BEFORE, Time.AFTER):
        return text, ""
    parts = re.split(r"\b(?:just |right |directly )?(?:before|prior to|after|following)\b", text, maxsplit=1)
    if len(parts) < 2:
        return text, ""
    if not _targets(parts[0]) and "," in parts[1]:
        anchor, _, asked = parts[1].partition(",")
        return asked, anchor
    return parts[0], parts[1]


_MAIN_PATTERNS = {
    Kind.COLOR: (
        r"colou?rs? (?:is|are|was|were|does|do|did|has|have|of) (?:it |that |there )?(.+)",
        r"colou?r(?:s|ed)? (.+)",
        r"^(?:is|are|was|were) (.+)",
    ),
    Kind.COUNT: (r"(?:how many|number of|count) (.+)",),
    Kind.WHERE: (r"where(?:'s| is| are| was| were| did| does| do)? (.+)", r"side (?:is|are|was|were) (.+)"),
    Kind.WHERE_TO: (
        r"where (?:did|does|do|has|have|is|are) (.+)",
        r"(?:direction|way) (?:is|are|did|does|do|was) (.+)",
    ),
    Kind.WHICH: (r"(?:which|what)(?: (?:kind|type|sort)s? of)? (.+)",),
    Kind.WHEN: (r"when (?:is|are|was|were|did|does|do|can|could)? ?(?:there |you see )?(.+)",),
    Kind.EXISTS: (r"^\W*(?:and |so |but )?\w+ (?:there |you (?:see|notice) |it )?(.+)",),
    Kind.UNSEEN: (r"(?:which|what) (.+)",),
}


def _main_phrase(text: str, kind: Kind) -> list[str]:
    """The words of the phrase that is asked about, without articles; [] if the kind has none."""
    for pattern in _MAIN_PATTERNS.get(kind, ()):
        found = re.search(pattern, text)
        if found is None:
            continue
        phrase: list[str] = []
        for word in words_of(found[1]):
            if word in PHRASE_ENDS and phrase:
                break
            if word not in ARTICLES and word not in PHRASE_ENDS:
                phrase.append(word)
        if phrase:
            return phrase
    return []


def _main(phrase: list[str], targets: list[Target], kind: Kind) -> Target | None:
    """What is asked about: the head of the phrase, which is its last known word, else its last word."""
    in_phrase = [target for target in targets if set(target.word.split()) & set(phrase)]
    known = [target for target in in_phrase if target.known]
    if known:
        return known[0] if kind is Kind.COUNT else known[-1]
    if in_phrase:
        return in_phrase[-1]
    if any(word in PARTS for word in phrase):
        return target_of(next(word for word in phrase if word in PARTS))
    return None if phrase and kind is Kind.COLOR else next((target for target in targets if target.known), None)


def _moment(text: str) -> float | None:
    clock = re.search(r"\b(\d+):(\d\d)\b", text)
    if clock:
        return 60.0 * int(clock[1]) + int(clock[2])
    seconds = re.search(r"\bat (\d+)", text)
    return float(seconds[1]) if seconds else None
