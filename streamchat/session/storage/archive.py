"""The zip file of a session: written whole or not at all, and read with distrust.

Entries are stored, not compressed, so that a file cannot unpack to more than it is.
"""

from __future__ import annotations

import os
import re
import struct
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from streamchat.session.storage.form import UnsuitableError

SESSION, TENSORS = "session.json", "tensors.safetensors"
PICTURE = "pictures/{}.jpg"
PICTURE_NAME = re.compile(r"pictures/(0|[1-9][0-9]{0,8})\.jpg")
MOST_SESSION_BYTES = 128 * 2**20  # parsing takes many times as much memory


@dataclass(frozen=True, slots=True, eq=False)
class Contents:
    """What the entries hold."""

    session: bytes  # JSON
    tensors: bytes  # safetensors
    pictures: Sequence[bytes]  # JPEG


def check_size(contents: Contents, most_bytes: int) -> None:
    """Raise ValueError for what `read` would refuse as too large."""
    nbytes = len(contents.session) + len(contents.tensors) + sum(len(picture) for picture in contents.pictures)
    if nbytes > most_bytes or len(contents.session) > MOST_SESSION_BYTES:
        raise ValueError(
            f"it has {nbytes} bytes, {len(contents.session)} of them text, and a session has at most {most_bytes} and "
            f"{MOST_SESSION_BYTES}"
        )


def write(file: Path | BinaryIO, contents: Contents) -> None:
    """Write a session's file; one that is there is replaced only when the new one is whole. Raises OSError."""
    entries = {SESSION: contents.session, TENSORS: contents.tensors}
    entries |= {PICTURE.format(number): picture for number, picture in enumerate(contents.pictures)}
    with _opened_to_write(file) as target, zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for name, data in entries.items():
            archive.writestr(zipfile.ZipInfo(name), data)


@contextmanager
def _opened_to_write(file: Path | BinaryIO) -> Iterator[BinaryIO]:
    if not isinstance(file, Path):
        yield file
        return
    handle, name = tempfile.mkstemp(prefix=f".{file.name}.", suffix=".part", dir=file.parent)
    try:
        with os.fdopen(handle, "wb") as target:
            yield target
            target.flush()
            os.fsync(target.fileno())  # the new file must be on the disk before it takes the old one's name
        os.replace(name, file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def read(file: Path | BinaryIO, most_bytes: int) -> Contents:
    """Read a session's file of at most `most_bytes`.

    Raises UnsuitableError for a larger one, ValueError, which says what was found, for anything that `write` does not
    make, and OSError if it cannot be read.
    """
    if isinstance(file, Path):
        with file.open("rb") as source:
            return read(source, most_bytes)
    file_bytes = file.seek(0, os.SEEK_END)
    if file_bytes > most_bytes:
        raise UnsuitableError(
            f"it has {file_bytes} bytes, and a session here has at most {most_bytes}: give its memory more room, with "
            "the option memory_bytes or --memory-mib"
        )
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            _check(entries, file_bytes)
            pictures = len(entries) - 2
            names = [SESSION, TENSORS, *(PICTURE.format(number) for number in range(pictures))]
            session, tensors, *jpegs = (_read(archive, name) for name in names)
    except (zipfile.BadZipFile, NotImplementedError, EOFError, struct.error, UnicodeDecodeError) as error:
        raise ValueError(f"it is no whole zip file ({error})") from error
    return Contents(session, tensors, jpegs)


def _check(entries: Sequence[zipfile.ZipInfo], file_bytes: int) -> None:
    times = Counter(entry.orig_filename for entry in entries)
    if SESSION not in times:
        raise ValueError(f"it is a zip file without {SESSION}")
    for entry in entries:
        name = entry.orig_filename
        if not (name in (SESSION, TENSORS) or PICTURE_NAME.fullmatch(name)):
            raise ValueError(f"it holds the entry {name!r}, which no session has")
        if times[name] > 1:
            raise ValueError(f"it holds the entry {name!r} {times[name]} times")
        if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size or entry.flag_bits & 1:
            raise ValueError(f"its entry {entry.filename!r} is compressed or encrypted")
        if entry.filename == SESSION and entry.file_size > MOST_SESSION_BYTES:
            raise ValueError(f"its {SESSION} has {entry.file_size} bytes, of at most {MOST_SESSION_BYTES}")
    if sum(entry.file_size for entry in entries) > file_bytes:
        raise ValueError("its entries are larger than the file itself")


def _read(archive: zipfile.ZipFile, name: str) -> bytes:
    try:
        return archive.read(name)
    except KeyError:
        raise ValueError(f"it lacks the entry {name}") from None
