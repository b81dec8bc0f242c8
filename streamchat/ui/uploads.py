"""The folder for what visitors upload: one of this process, whose files go with their sessions."""

from __future__ import annotations

import logging
import os
import re
import shutil
import tempfile
import time
from pathlib import Path

import psutil

from streamchat.errors import InputError

log = logging.getLogger(__name__)

VARIABLE = "GRADIO_TEMP_DIR"  # where Gradio puts them
PREFIX = "streamchat-uploads"
OLD_SECONDS = 3600.0  # what came and is of no session goes after so long, as when its sender was cut off


def made() -> Path:
    """A new folder for the uploads of this process; those that killed ones of this user left behind are removed.

    Raises InputError if it cannot be made.
    """
    parent = Path(os.environ.get(VARIABLE) or tempfile.gettempdir())
    for folder in parent.glob(f"{PREFIX}-*"):
        found = re.fullmatch(rf"{PREFIX}-(\d+)-\w+", folder.name)
        if found and _is_own(folder) and not psutil.pid_exists(int(found.group(1))):
            shutil.rmtree(folder, ignore_errors=True)
    try:
        folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}-{os.getpid()}-", dir=parent))
    except OSError as error:
        raise InputError(
            f"no folder for uploads can be made in {parent} ({error.strerror}): name another one in {VARIABLE}"
        ) from None
    os.environ[VARIABLE] = str(folder)
    return folder


def _is_own(folder: Path) -> bool:
    """Whether a folder is there, and this user's."""
    try:
        return folder.lstat().st_uid == os.getuid() and not folder.is_symlink()
    except FileNotFoundError:  # another start has just removed it
        return False


def _folder() -> Path | None:
    return Path(os.environ[VARIABLE]).resolve() if VARIABLE in os.environ else None


def remove_upload(file: Path) -> None:
    """Remove a file that was uploaded; one that lies anywhere else stays."""
    folder = _folder()
    if folder is not None and folder in file.resolve().parents:
        file.unlink(missing_ok=True)


def remove_old_uploads(in_use: set[Path]) -> None:
    """Remove the files that came long ago and are not in use."""
    folder = _folder()
    if folder is None:
        return
    used = {file.resolve() for file in in_use}
    for file in folder.rglob("*"):
        try:
            if file.is_file() and file.resolve() not in used and time.time() - file.stat().st_mtime > OLD_SECONDS:
                file.unlink()
        except OSError as error:  # it has just gone
            log.info("%s was not removed: %s", file.name, error)
