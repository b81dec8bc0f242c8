"""The parts that an MP4 is made of, as far as it takes to tell, and to read, one that was not finished."""

from __future__ import annotations

import io
import os
import struct
from pathlib import Path
from typing import NamedTuple

HEADER = struct.Struct(">I4s")  # of a part: its size and kind
LARGE_BYTES = 8  # of a size that does not fit there
MOST_BOXES = 100_000


class Box(NamedTuple):
    """A part of the file."""

    kind: str
    start: int  # bytes from the beginning of the file
    size: int  # bytes that it says it has


def boxes(path: Path) -> list[Box]:
    """The parts of an MP4 in their order; the last one may be cut off. [] for other files."""
    found: list[Box] = []
    try:
        with path.open("rb") as data:
            end = os.fstat(data.fileno()).st_size
            place = 0
            while place + HEADER.size <= end and len(found) < MOST_BOXES:
                data.seek(place)
                size, kind = HEADER.unpack(data.read(HEADER.size))
                if size == 1:
                    size = int.from_bytes(data.read(LARGE_BYTES), "big")
                found.append(Box(kind.decode("latin-1"), place, size))
                if size < HEADER.size:  # it goes to the end of the file, or is no part
                    break
                place += size
    except OSError:
        return []
    return found if found and found[0].kind == "ftyp" else []


def whole_part(path: Path) -> Head | None:
    """An MP4 without its last part, if that is cut off within a fragment's index, which no reader gets over."""
    found = boxes(path)
    if len(found) > 1 and found[-1].kind == "moof":
        return Head(path, found[-1].start)
    return None


class Head(io.RawIOBase):
    """The first bytes of a file, to be read as if they were all."""

    def __init__(self, path: Path, size: int) -> None:
        super().__init__()
        self.name = str(path)
        self._file = path.open("rb")
        self._size = size

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: object) -> int:
        """Read what fits; 0 at the end."""
        view = memoryview(buffer)  # type: ignore[arg-type]
        left = max(0, self._size - self._file.tell())
        return self._file.readinto(view[: min(len(view), left)])

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a byte."""
        if whence == os.SEEK_END:
            offset, whence = self._size + offset, os.SEEK_SET
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """The byte that is read next."""
        return self._file.tell()

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()
