"""Two lists of recorded entries side by side: what came, went and became another."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ..errors import ContentError, StoreError
from ..oci.entry import FILE, Entry
from .recorded_entries import show


class EntryChange(NamedTuple):
    """``old`` or ``new`` is None where the path is only on one side."""

    path: str
    old: Entry | None
    new: Entry | None

    @property
    def sizes(self) -> tuple[int, int]:
        """Bytes before and after; links, directories and further names of a file count nothing."""
        return _size(self.old), _size(self.new)

    @property
    def is_time_only(self) -> bool:
        return self.old is not None and self.new is not None and not words_of(self.old, self.new)


def _size(entry: Entry | None) -> int:
    return entry.size if entry is not None and not entry.hard_link else 0


def compare_entries(old: Path, new: Path) -> Iterator[EntryChange]:
    """Both files are sorted by path, so that they are read once and never kept.

    Raises: ContentError, StoreError.
    """
    try:
        with old.open("rb") as left, new.open("rb") as right:
            before, after = left.readline(), right.readline()
            while before or after:
                if before == after:
                    before, after = left.readline(), right.readline()
                    continue
                gone = _parse(before, old) if before else None
                come = _parse(after, new) if after else None
                if come is None or (gone is not None and gone.path < come.path):
                    assert gone is not None
                    yield EntryChange(show(gone.path), gone, None)
                    before = left.readline()
                elif gone is None or come.path < gone.path:
                    yield EntryChange(show(come.path), None, come)
                    after = right.readline()
                else:
                    yield EntryChange(show(come.path), gone, come)
                    before, after = left.readline(), right.readline()
    except OSError as cause:
        raise StoreError(cause.strerror or "cannot be read", subject=str(new)) from cause


def _parse(line: bytes, path: Path) -> Entry:
    try:
        return Entry.from_line(line)
    except (ValueError, KeyError, TypeError, AttributeError) as cause:
        raise ContentError(f"not an entry: {line[:80]!r}", subject=path.name) from cause


def words_of(old: Entry, new: Entry) -> tuple[str, ...]:
    """What is other in an entry, its time and its size apart."""
    said = []
    if old.type != new.type:
        said.append(f"{old.type} → {new.type}")
    elif old.type == FILE and old.sha256 != new.sha256:
        said.append("content")
    if old.target != new.target:
        said.append(f"→ {new.target.decode('utf-8', 'backslashreplace')}")
    if old.mode != new.mode:
        said.append(f"mode {old.mode:04o} → {new.mode:04o}")
    if (old.uid, old.gid) != (new.uid, new.gid):
        said.append(f"owner {old.uid}:{old.gid} → {new.uid}:{new.gid}")
    if old.xattrs != new.xattrs:
        said.append("extended attributes")
    if old.device != new.device:
        said.append("device numbers")
    if old.hard_link != new.hard_link:
        said.append("hard link")
    return tuple(said)
