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
    """Names that hide a lower layer's. ``upper`` gives records of layers, when first needed."""

    def __init__(self, upper: Callable[[], Iterator[Records]]) -> None:
        self._upper = upper
        self._names: set[bytes] | None = None
        self._opaque: set[bytes] = set()

    def hides(self, path: bytes) -> bool:
        """Whether a file of that name is replaced, or goes with a directory above it."""
        if self._names is None:
            self._names = self._collect()
        if path in self._names:
            return True
        while path:
            path = path.rpartition(b"/")[0]
            if path in self._names or path in self._opaque:
                return True
        return False

    def _collect(self) -> set[bytes]:
        found: set[bytes] = set()
        size = 0
        for records in self._upper():
            for path, record in records:
                size += len(path)
                kind = kind_of(record)
                if kind == OPAQUE_CODE:
                    self._opaque.add(path)
                elif kind != DIRECTORY_CODE:
                    found.add(path)
                if len(found) + len(self._opaque) >= MOST_NAMES or size >= MOST_BYTES:
                    return found
        return found
