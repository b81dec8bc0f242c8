"""Unpacking archives from elsewhere: nothing is written outside of the folder, and nothing is left half done."""

from __future__ import annotations

import re
import shutil
import stat
import zipfile
from pathlib import Path

from streamchat.checkpoints.hub import SPARE_BYTES, size_text
from streamchat.errors import InputError, StreamChatError

PART = re.compile(r"(?P<whole>.+\.zip)[._-]?(part)?[._-]?(?P<number>\d+|[a-z]{2})$", re.IGNORECASE)
DONE = ".unpacked"  # beside an archive: that it was unpacked to its end, and as what
BLOCK = 2**20


def unpack(folder: Path) -> None:
    """Unpack every ZIP archive below a folder beside itself, also those in numbered parts; once.

    Raises InputError if a member would lie outside of the folder or is a link, and StreamChatError without room.
    """
    parts: dict[Path, list[Path]] = {}
    for path in sorted(folder.rglob("*")):
        if path.name.startswith(".") or not path.is_file():
            continue
        if found := PART.fullmatch(path.name):
            parts.setdefault(path.with_name(found["whole"]), []).append(path)
        elif path.suffix.lower() == ".zip":
            parts.setdefault(path, []).append(path)
    for archive, pieces in parts.items():
        done, state = archive.with_name(archive.name + DONE), _state(pieces)
        if not done.exists() or done.read_text(encoding="utf-8") != state:
            _unpack_one(archive, sorted(pieces, key=_number))
            done.write_text(state, encoding="utf-8")


def _state(pieces: list[Path]) -> str:
    """What distinguishes an archive from one that was put into its place later."""
    stats = [(piece.name, piece.stat()) for piece in pieces]
    return "".join(f"{name} {stat.st_size} {stat.st_mtime_ns}\n" for name, stat in stats)


def _number(piece: Path) -> tuple[int, str]:
    """The place of a part among the others: by its number, or by its letters."""
    found = PART.fullmatch(piece.name)
    part = found["number"] if found else ""
    return (int(part), "") if part.isdigit() else (0, part)


def _unpack_one(archive: Path, pieces: list[Path]) -> None:
    whole = archive if pieces == [archive] else archive.with_name("." + archive.name)
    if whole != archive:
        with whole.open("wb") as target:
            for piece in pieces:
                with piece.open("rb") as source:
                    shutil.copyfileobj(source, target, BLOCK)
    try:
        with zipfile.ZipFile(whole) as opened:
            members = [member for member in opened.infolist() if _is_wanted(member)]
            for member in members:
                _check(member, archive)
            _check_room(archive.parent, sum(member.file_size for member in members))
            for member in members:
                _extract(opened, member, archive.parent)
    except (zipfile.BadZipFile, EOFError) as error:
        raise StreamChatError(f"the archive {archive} is damaged ({error}): delete it and download again") from error
    finally:
        if whole != archive:
            whole.unlink()


def _is_wanted(member: zipfile.ZipInfo) -> bool:
    name = Path(member.filename)
    return not (member.is_dir() or name.name.startswith("._") or "__MACOSX" in name.parts)


def _check(member: zipfile.ZipInfo, archive: Path) -> None:
    inside = archive.parent.resolve()
    target = (inside / member.filename).resolve()
    if stat.S_ISLNK(member.external_attr >> 16) or not target.is_relative_to(inside):
        raise InputError(
            f"the archive {archive} is not to be trusted: its member {member.filename!r} leads outside of the folder"
        )


def _check_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed + SPARE_BYTES:
        raise StreamChatError(
            f"unpacking needs {size_text(needed)}, and {folder} has {size_text(free)} free: make room"
        )


def _extract(opened: zipfile.ZipFile, member: zipfile.ZipInfo, folder: Path) -> None:
    """Write a member beside its place first, so that a file of its name is always whole."""
    target = folder / member.filename
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(target.name + ".partial")
    with opened.open(member) as source, partial.open("wb") as file:
        shutil.copyfileobj(source, file, BLOCK)
    partial.replace(target)
