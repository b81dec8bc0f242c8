"""What the built-in model notes of a clip: typed facts, and the form in which a caption keeps them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass

from pydantic import TypeAdapter

from streamchat.types import Caption, Json, Span, check_span


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """One typed fact.

    Kinds: "person" and "object" (one thing each, with colors and place), "clothes" (label "head", "top" or "bottom"),
    "count", "event", "text", "tag" (what pictures as a whole are of), "picture" (label "colors"), "light", "area"
    (label "ground" or "above") and "view" (a new scene begins).
    """

    kind: str
    label: str  # what was noted, in words
    span: Span  # when it was to be seen
    score: float = 1.0  # how sure the model was, 0 to 1
    count: int = 1  # how many at once
    colors: tuple[str, ...] = ()  # dominant colors of the thing itself, strongest first
    place: str = ""  # where in the picture, in words
    detail: str = ""  # anything else worth saying, in words


def data_of(observations: Iterable[Observation]) -> Json:
    """Observations as a caption's `data`."""
    return [asdict(one) | {"span": list(one.span), "colors": list(one.colors)} for one in observations]


def observations_of(caption: Caption) -> tuple[Observation, ...]:
    """The observations of a caption; what is none, as in a saved session from elsewhere, is left out."""
    entries = caption.data if isinstance(caption.data, list) else []
    return tuple(one for one in map(_observation, entries) if one is not None)


def _observation(entry: object) -> Observation | None:
    try:
        one = CHECKED.validate_python(entry)
        check_span(one.span)
    except ValueError:  # of pydantic, too
        return None
    return one if 0 <= one.score <= 1 and one.count >= 0 else None


CHECKED = TypeAdapter(Observation)
