"""Cover: what upper layers replace or remove, so that lower layers need not write it.

A hint and no more. It compares names as layers spell them, so a symlink in a path or a hard link
can make it wrong either way; the merge decides what is seen, and what was left out by mistake is
added to the pool before anything links to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from .index import DIRECTORY_CODE, OPAQUE_CODE, kind_of

MOST_NAMES = 100_000
MOST_BYTES = 16 << 20
"""Names that are kept, and their bytes; what is hidden by others is written like all else."""

WORTH_LEAVING = 128 << 10
"""Bytes of a file below which leaving it out saves less than finding it missing would cost."""

Records = Iterable[tuple[bytes, bytes]]


class Cover:
    """Names that hide a lower layer's. ``upper`` gives the records of layers above it, each once
    and as soon as they are there: some are still being unpacked when it is first asked."""

    def __init__(self, upper: Callable[[], Iterator[Records]]) -> None:
        self._upper = upper
        self._names: set[bytes] = set()
        self._opaque: set[bytes] = set()
        self._size = 0

    def hides(self, path: bytes) -> bool:
        """Whether a file of that name is replaced, or goes with a directory above it."""
        for records in self._upper():
            self._collect(records)
        if path in self._names:
            return True
        while path:
            path = path.rpartition(b"/")[0]
            if path in self._names or path in self._opaque:
                return True
        return False

    def _collect(self, records: Records) -> None:
        names, opaque = self._names, self._opaque
        for path, record in records:
            if len(names) + len(opaque) >= MOST_NAMES or self._size >= MOST_BYTES:
                return
            self._size += len(path)
            kind = kind_of(record)
            if kind == OPAQUE_CODE:
                opaque.add(path)
            elif kind != DIRECTORY_CODE:
                names.add(path)
