"""Held: small files of a layer that upper layers hide, as one file instead of an inode for each.

They stand in it one behind the other; the records of the index say where, and have a checksum in
place of a sha256. That checksum tells damage and nothing more: this file has no name in any
tree, so no container can write to it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from zlib import crc32

from .index import HELD, Meta

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
        self.count = self.size = 0

    def add(self, content: Content) -> bytes:
        """Hold a file at the end, at ``size``; what stands in place of its sha256."""
        if self._file is None:
            self._file = open(self._path, "xb", buffering=BUFFER)  # noqa: SIM115 - see close
        self.count += 1
        checksum = 0
        whole = content.whole()
        for piece in content.content() if whole is None else (whole,):
            self.size += self._file.write(piece)
            checksum = crc32(piece, checksum)
        return instead_of_sha256(checksum)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def forget_held(layer: Path) -> None:
    """All of a layer's files are in its pool."""
    with suppress(FileNotFoundError):
        os.unlink(layer / HELD_FILE)


def instead_of_sha256(checksum: int) -> bytes:
    return HELD + checksum.to_bytes(4, "big")


class Held:
    """Gives back what a layer holds. Raises: DamagedError, OSError."""

    def __init__(self, layer: Path) -> None:
        try:
            self._file = open(layer / HELD_FILE, "rb", buffering=0)  # noqa: SIM115 - see close
        except FileNotFoundError:
            raise DamagedError from None
        self._piece = b""

    def go_to(self, meta: Meta) -> None:
        """Be the content of that file. Raises: DamagedError, OSError."""
        high, low = meta.device
        self._piece = os.pread(self._file.fileno(), meta.size, high << 32 | low)
        if len(self._piece) != meta.size or instead_of_sha256(crc32(self._piece)) != meta.sha256:
            raise DamagedError

    def whole(self) -> memoryview:
        return memoryview(self._piece)

    def content(self) -> Iterator[memoryview]:
        yield self.whole()

    def close(self) -> None:
        self._file.close()
