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

LOOK_EVERY = 64
"""Files after which it is looked whether more layers above have arrived."""

MOST_PARENTS = 4096

Records = Iterable[tuple[bytes, bytes]]


class Cover:
    """Names that hide a lower layer's. ``upper`` gives the records of layers above it, each once
    and as soon as they are there: some are still being unpacked when it is first asked."""

    def __init__(self, upper: Callable[[], Iterator[Records]]) -> None:
        self._upper = upper
        self._names: set[bytes] = set()
        self._opaque: set[bytes] = set()
        self._size = 0
        self._asked = 0
        self._parents: dict[bytes, bool] = {}

    def hides(self, path: bytes) -> bool:
        """Whether a file of that name is replaced, or goes with a directory above it."""
        if self._asked % LOOK_EVERY == 0:
            self._look()
        self._asked += 1
        if path in self._names:
            return True
        parent = path.rpartition(b"/")[0]
        found = self._parents.get(parent)
        return self._is_gone(parent) if found is None else found

    def _look(self) -> None:
        for records in self._upper():
            self._collect(records)
            self._parents.clear()

    def _is_gone(self, directory: bytes) -> bool:
        if len(self._parents) >= MOST_PARENTS:
            self._parents.clear()
        found, path = directory in self._opaque or directory in self._names, directory
        while path and not found:
            path = path.rpartition(b"/")[0]
            found = path in self._names or path in self._opaque
        self._parents[directory] = found
        return found

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
