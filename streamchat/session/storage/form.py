"""What `session.json` holds, as declared types: a file that does not keep to them is refused before it is used.

Tensors, pictures and frames are named by their numbers; nodes by their ids, so that no part of the file is nested deep.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Annotated, Any, Literal, TypeVar, get_type_hints

import torch
from pydantic import BaseModel, ConfigDict, FailFast, Field, JsonValue, ValidationError, create_model
from pydantic_core import from_json

from streamchat.options import Options

FORMAT = "streamchat session"
VERSION = 3
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}

MOST_PARTS = 3_000_000  # objects, lists and what is in them: they take up to a hundred times the memory of their text

T = TypeVar("T")
Number = Annotated[int, Field(ge=0, lt=2**53)]
Count = Annotated[int, Field(ge=1, lt=2**53)]
Seconds = Annotated[float, Field(ge=0)]
SpanForm = Annotated[list[Seconds], Field(min_length=2, max_length=2)]
Many = Annotated[list[T], FailFast()]  # one error is enough: a hostile file may hold millions


class Form(BaseModel):
    """Nothing is converted, nothing unknown is taken, and no number is infinite or none."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


def _limits_of(option: Any) -> dict[str, Any]:
    limits = option.metadata.get("limits")
    return {} if limits is None else {"gt" if limits.above else "ge": limits.least, "le": limits.most}


_types = get_type_hints(Options)
_option_fields: dict[str, Any] = {
    option.name: (_types[option.name], Field(option.default, **_limits_of(option))) for option in fields(Options)
}
OptionsForm: Any = create_model("OptionsForm", __base__=Form, **_option_fields)


class ModelForm(Form):
    """Which model made the tokens."""

    name: str
    tokens_per_frame: Count  # P at most
    dim: Count  # D
    dtype: Literal["float32", "float16", "bfloat16"] | None  # of the tokens; None if there are none


class CaptionForm(Form):
    """A `Caption`."""

    text: str
    data: JsonValue  # the model's own, which it checks itself
    embedding: Number  # of a tensor [E]


class PictureForm(Form):
    """A `Picture` of a node."""

    picture: Number
    pts_seconds: Seconds


class NodeForm(Form):
    """A `MemoryNode`."""

    id: Number
    span: SpanForm
    level: Annotated[int, Field(ge=0, le=100_000)]  # nodes are counted by level
    mass: Count
    weights: Many[Count]  # none of a node that was folded into its parent
    tokens: Number | None  # of a tensor [K, P, D]
    pictures: Many[PictureForm]  # one for each centroid, or none
    caption: CaptionForm | None
    children: Many[Number]  # ids


class FrameForm(Form):
    """A `Frame`."""

    picture: Number
    pts_seconds: Seconds
    index: Number


class KeptForm(Form):
    """An `EncodedFrame`."""

    frame: Number
    tokens: Number  # of a tensor [P, D]
    cut: bool


class ClipForm(Form):
    """A `Clip` that waits for its caption."""

    span: SpanForm
    tokens: Number  # of a tensor [K, P, D]
    keyframes: Many[Number]  # of frames
    starts_scene: bool


class RoundForm(Form):
    """A round of the dialogue, or a summary of several."""

    question: str
    answer: str
    asked_at_seconds: Seconds
    vectors: Number  # of a tensor [L, E]
    rounds: Count
    level: Number


class SessionForm(Form):
    """The whole of `session.json`."""

    format: Annotated[str, Field(pattern=f"^{FORMAT}$")]
    version: Annotated[int, Field(ge=VERSION, le=VERSION)]
    streamchat: str  # the version of the program that saved it
    model: ModelForm
    options: OptionsForm
    frames_seen: Number
    frames_kept: Number
    newest: Number | None  # of a frame
    frames: Many[FrameForm]
    kept: Many[KeptForm]
    open_frames: Number
    nodes: Many[NodeForm]
    roots: Many[Number]  # ids
    next_id: Number
    clips: Many[ClipForm]
    dialogue: Many[RoundForm]
    extra: dict[str, Any]  # the caller's own


class UnsuitableError(ValueError):
    """A session that is whole, but not for this program as it was started; the message says what to do."""


def parsed(text: bytes) -> SessionForm:
    """The session of a JSON text; raises UnsuitableError for another version's, and ValueError for what is none."""
    parts = sum(map(text.count, (b"{", b"[", b",")))  # those in texts count as well: there are no more than that
    if parts > MOST_PARTS:
        raise ValueError(f"session.json has {parts} parts, of at most {MOST_PARTS}")
    try:
        found = from_json(text, allow_inf_nan=False)
    except ValueError as error:
        raise ValueError(f"session.json is no JSON ({error})") from error
    head = found if isinstance(found, dict) else {}
    if head.get("format") != FORMAT:
        raise ValueError(f"session.json has not the format {FORMAT!r}, but {head.get('format')!r}")
    version = head.get("version")
    if isinstance(version, int) and version != VERSION:
        remedy = "install a newer StreamChat" if version > VERSION else "play the video again"
        raise UnsuitableError(f"it has version {version} of the format, and this StreamChat reads {VERSION}: {remedy}")
    try:
        return SessionForm.model_validate(found)
    except ValidationError as error:
        raise ValueError(said(error)) from error


def said(error: ValidationError) -> str:
    """The first thing that is wrong, and where."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"session.json: {where}: {first['msg']}" if where else f"session.json: {first['msg']}"
