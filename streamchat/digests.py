"""Files that must be just the ones expected."""

from __future__ import annotations

import hashlib
from pathlib import Path

from streamchat.errors import StreamChatError


def check_sha256(path: Path, expected: str, remedy: str) -> None:
    """Raise StreamChatError, with what to do, unless the file is there and its SHA-256 is the expected one."""
    if not path.is_file():
        raise StreamChatError(f"the weights {path} are missing: {remedy}")
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    got = digest.hexdigest()
    if got != expected:
        raise StreamChatError(f"the weights {path} are not the expected ones (SHA-256 {got}, not {expected}): {remedy}")
