"""Held: small files of a layer that upper layers hide, as one file instead of an inode for each.

They stand in it one behind the other, in the order of the index, whose records have a checksum in
place of their sha256. That checksum tells damage and nothing more: this file has no name in any
tree, so no container can write to it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from zlib import crc32

from . import index

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO

    from .pool import Content

HELD_FILE = "held"
BUFFER = 1 << 17


class DamagedError(Exception):
    """What is held is not what was put there."""


class Holder:
    """Appends to the file of what is held, which is made for the first one."""

    def __init__(self, layer: Path) -> None:
        self._path = layer / HELD_FILE
        self._file: BinaryIO | None = None
        self.count = 0

    def add(self, content: Content) -> bytes:
        """Hold the content of a file; what stands in place of its sha256."""
        if self._file is None:
            self._file = open(self._path, "xb", buffering=BUFFER)  # noqa: SIM115 - see close
        self.count += 1
        piece = content.whole()
        if piece is not None:
            self._file.write(piece)
            return index.held(crc32(piece))
        checksum = 0
        for piece in content.content():
            self._file.write(piece)
            checksum = crc32(piece, checksum)
        return index.held(checksum)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


class Held:
    """Gives back what a layer holds, one file after the other. Raises: OSError."""

    def __init__(self, layer: Path) -> None:
        self._file = open(layer / HELD_FILE, "rb", buffering=BUFFER)  # noqa: SIM115 - see close
        self._piece = b""

    def next(self, size: int, instead: bytes) -> None:
        """Go to the next file; ``instead`` stands in place of its sha256.

        Raises: DamagedError, OSError.
        """
        self._piece = self._file.read(size)
        if len(self._piece) != size or index.held(crc32(self._piece)) != instead:
            raise DamagedError

    def whole(self) -> memoryview:
        return memoryview(self._piece)

    def content(self) -> Iterator[memoryview]:
        yield self.whole()

    def close(self) -> None:
        self._file.close()
