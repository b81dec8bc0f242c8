"""Sessions as files: what was seen and said goes on another day, on another machine.

A session is one zip file (`.streamchat`): `session.json`, `tensors.safetensors`, and pictures as JPEG. Nothing in it is
executable, and everything in it is checked before it is used.
"""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO

from pydantic import ValidationError

from streamchat import __version__
from streamchat.embedding import TextEmbedder, minilm
from streamchat.errors import InputError, StreamChatError
from streamchat.memory.store import MemoryState
from streamchat.models.base import Model
from streamchat.options import MEBIBYTE, Options
from streamchat.session.engine import StreamChat, memory_budget
from streamchat.session.storage import archive, form
from streamchat.session.storage.archive import Contents
from streamchat.session.storage.form import UnsuitableError
from streamchat.session.storage.packing import Packer, Unpacker

__all__ = ["SUFFIX", "load_session", "save_session"]

SUFFIX = ".streamchat"
ALLOWANCE_BYTES = 2 * 2**30  # that a session may take beside its memory, and its frames once they are decoded
MOST_REASON = 500  # characters of what was found, which may quote the file
_LOADING = threading.Lock()  # one at a time: a file may be made to take much memory
REMEDY = "the file is damaged, or no session of StreamChat: save the session again, or open another file"


def save_session(chat: StreamChat, file: Path | BinaryIO, *, extra: Mapping[str, Any] = MappingProxyType({})) -> None:
    """Save all of a chat but its model; `extra` is JSON of the caller's own, which comes back with it.

    It may be called while other threads ingest and caption: what is saved is one moment. Frames that are still on
    their way into the memory are not in it, and neither is an answer that is not complete. A path is written whole or
    not at all. Raises InputError for an `extra` that is no JSON, and for a chat that is larger than can be loaded;
    StreamChatError if the file cannot be written.
    """
    name = str(file) if isinstance(file, Path) else _name_of(file)
    packer = Packer()
    state = chat.state()
    try:
        session = form.SessionForm(
            format=form.FORMAT,
            version=form.VERSION,
            streamchat=__version__,
            model=_model_form(chat.model, state.memory),
            options=form.OptionsForm(**asdict(chat.options)),
            extra=json.loads(json.dumps(dict(extra), allow_nan=False)),
            **packer.pack(state),
        )
        contents = Contents(session.model_dump_json().encode(), packer.tensors(), packer.pictures())
        form.parsed(contents.session)  # what is saved can be loaded
        archive.check_size(contents, chat.memory_budget_bytes + ALLOWANCE_BYTES)
    except ValidationError as error:
        raise InputError(f"cannot save the session to {name}: {form.said(error)}") from error
    except (ValueError, TypeError, RecursionError) as error:
        raise InputError(f"cannot save the session to {name}: {error}") from error
    try:
        archive.write(file, contents)
    except OSError as error:
        raise StreamChatError(
            f"cannot save the session to {name}: {error.strerror or error}; choose another place"
        ) from error


def load_session(
    file: Path | BinaryIO,
    model: Model,
    embedder: TextEmbedder | None = None,
    *,
    most_memory_bytes: int | None = None,
    sessions: int = 1,
) -> tuple[StreamChat, dict[str, Any]]:
    """A chat as it was saved, with its own options, and the `extra` that was saved with it.

    It goes on from there: it answers about what was before, takes frames later than its newest, captions what had no
    caption yet. Only the selector begins anew, so that the first frame after loading is always kept. `model` must be
    the one that it was saved with. `most_memory_bytes` is the largest memory budget that it may ask for, and what it
    has if it asks for none; by default what is chosen here for one of so many `sessions` at once.

    Raises InputError, with what to do, for a file that is no whole session or does not suit the model or the budget.
    """
    with _LOADING:
        return _loaded(file, model, embedder, most_memory_bytes, sessions)


def _loaded(
    file: Path | BinaryIO, model: Model, embedder: TextEmbedder | None, most_memory_bytes: int | None, sessions: int
) -> tuple[StreamChat, dict[str, Any]]:
    name = _name_of(file)
    here = memory_budget(model, Options(memory_bytes=most_memory_bytes), sessions)
    most_bytes = here + ALLOWANCE_BYTES
    try:
        contents = archive.read(file, most_bytes)
        session = form.parsed(contents.session)
        _check_suits(session, model, here)
        embedder = embedder or minilm()
        chat = StreamChat(model, _options(session, most_memory_bytes), embedder, sessions=sessions)
        width = embedder.embed(["width"]).shape[1]
        unpacker = Unpacker(session, contents.tensors, contents.pictures, text_width=width, most_bytes=most_bytes)
        chat.restore(unpacker.unpack())
    except UnsuitableError as error:
        raise InputError(f"cannot open the session {name}: {error}") from error
    except ValueError as error:
        raise InputError(f"cannot open the session {name}: {str(error)[:MOST_REASON]}; {REMEDY}") from error
    except OSError as error:
        raise InputError(f"cannot read the session {name}: {error.strerror or error}; check the path") from error
    return chat, session.extra


def _options(session: form.SessionForm, memory_bytes: int | None) -> Options:
    """The options of a session, which has this budget if it asked for none."""
    saved = Options(**session.options.model_dump())
    return replace(saved, memory_bytes=memory_bytes) if saved.memory_bytes is None else saved


def _name_of(file: Path | BinaryIO) -> str:
    return Path(str(file if isinstance(file, Path) else getattr(file, "name", "that was given"))).name


def _model_form(model: Model, memory: MemoryState) -> form.ModelForm:
    dtype: Any = str(memory.kept[0].tokens.dtype).removeprefix("torch.") if memory.kept else None
    return form.ModelForm(name=model.name, tokens_per_frame=model.tokens_per_frame, dim=model.dim, dtype=dtype)


def _check_suits(session: form.SessionForm, model: Model, most_memory_bytes: int) -> None:
    """Raise UnsuitableError for a session of another model, or with a larger budget than is allowed."""
    saved = session.model
    own = (model.name, model.tokens_per_frame, model.dim)
    same_size = saved.dtype is None or form.DTYPES[saved.dtype].itemsize == model.number_bytes
    if (saved.name, saved.tokens_per_frame, saved.dim) != own or not same_size:
        raise UnsuitableError(
            f"it was saved with the model {saved.name!r} ({saved.tokens_per_frame} tokens a frame, width {saved.dim}, "
            f"{saved.dtype}), and this is {model.name!r} ({model.tokens_per_frame}, width {model.dim}, "
            f"{model.number_bytes} bytes a number): start with the model that it was saved with, --model embedded for "
            "the built-in one, else --model with its folder or name, on the same kind of device"
        )
    memory_bytes = session.options.memory_bytes
    if memory_bytes is not None and memory_bytes > most_memory_bytes:
        raise UnsuitableError(
            f"its memory may grow to {memory_bytes} bytes, and here {most_memory_bytes} are allowed: start with an "
            f"option memory_bytes of at least {memory_bytes}, or with --memory-mib {math.ceil(memory_bytes / MEBIBYTE)}"
        )
