"""Whether a clip shows what an alert waits for, by what was noted of it and by likeness of meaning."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

from streamchat.models.embedded.captioning import said
from streamchat.models.embedded.lexicon import COLORS
from streamchat.models.embedded.notes import Notes
from streamchat.models.embedded.observation import Observation, observations_of
from streamchat.models.embedded.query import QueryContext
from streamchat.models.embedded.questions import Target, parse, words_of
from streamchat.types import Caption

ALERT_PREFIX = re.compile(
    r"^(please )?(tell|notify|alert|warn|inform|let) me( know)? (when|if|as soon as|once) ", re.IGNORECASE
)
ALIKE = 0.6  # cosine of a question with a caption from which on it is about it, if no word of it is known


def alert_reason(
    question: str,
    caption: Caption,
    end_seconds: float,
    *,
    similar: Callable[[str, frozenset[str]], frozenset[str]],
    embed: Callable[[str], np.ndarray],
) -> str | None:
    """Why a captioned clip is what a question waits for, in words; None if it is not.

    Everything that the question names must have been noted in the clip. A question of which no word is known is
    compared with the caption as a whole.
    """
    wanted = parse(ALERT_PREFIX.sub("", question.strip()))
    notes = Notes(
        observations=observations_of(caption),
        newest_seconds=end_seconds,
        asked_at_seconds=end_seconds,
        frames=(),
        captions=(),
    )
    query = QueryContext(wanted, notes, similar)
    found = [_found(query, target) for target in wanted.targets if not target.part]
    if found and all(found):
        return ", ".join(dict.fromkeys(said(group[0]) for group in found))
    known = [target for target in wanted.targets if target.known]
    if known or caption.embedding is None or float(caption.embedding @ embed(question)) < ALIKE:
        return None
    return caption.text


def _found(query: QueryContext, target: Target) -> list[Observation]:
    """What was noted of one thing that the question names; of a "red car" only what is red above all."""
    seen = query.things_of(target) or query.texts_with(target.word)
    words = words_of(query.question.text)
    first = target.word.split()[0]
    before = words[words.index(first) - 1] if first in words[1:] else ""
    return [one for one in seen if COLORS[before] in one.colors[:1]] if before in COLORS else seen
