"""Read a rootfs's recorded entries, and believe nothing that they say of paths.

What comes out of here can be made beneath an empty directory in the given order without ever
following a link: every parent is a directory entry that came before, no name is ``..``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import ContentError, StoreError, UnsafeEntry
from ..oci import entry as kinds
from ..oci.entry import Entry

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

KINDS = frozenset(
    {kinds.FILE, kinds.DIRECTORY, kinds.SYMLINK, kinds.CHARACTER, kinds.BLOCK, kinds.FIFO}
)
LINE_LIMIT = 1 << 20
OWNER_LIMIT = (1 << 32) - 2


def load_entries(path: Path) -> Iterator[Entry]:
    """The checked entries of a file. Raises: ContentError, UnsafeEntry, StoreError."""
    try:
        with path.open("rb") as stream:
            yield from checked_entries(iter(lambda: stream.readline(LINE_LIMIT), b""), path.name)
    except OSError as problem:
        raise StoreError(problem.strerror or "cannot be read", subject=str(path)) from problem


def load_tree(path: Path) -> list[Entry]:
    """The checked entries in tree order: a directory's whole content right behind it.

    That is not the order of the bytes ("a-b" is less than "a/b"), and tar sets a directory's time
    when the first member outside of it comes. Of a hard-linked file the first name in this order
    carries the content. Raises: as load_entries.
    """
    found = sorted(load_entries(path), key=lambda entry: entry.path.replace(b"/", b"\0"))
    first: dict[bytes, bytes] = {}
    for index, entry in enumerate(found):
        group = entry.hard_link or entry.path
        link = first.setdefault(group, entry.path)
        link = b"" if link == entry.path else link
        if link != entry.hard_link:
            found[index] = entry.replacing(hard_link=link)
    return found


def checked_entries(lines: Iterable[bytes], subject: str) -> Iterator[Entry]:
    """Entries that are canonical, in order, and safe to make in that order."""
    directories: set[bytes] = set()
    names: dict[bytes, str] = {}
    previous: bytes | None = None
    for line in lines:
        entry = parse_line(line, subject)
        if previous is not None and entry.path <= previous:
            raise ContentError(f"entries are not in order at {show(entry.path)}", subject=subject)
        check_place(entry, directories)
        if entry.type == kinds.DIRECTORY:
            directories.add(entry.path)
        elif entry.hard_link:
            if names.get(entry.hard_link) != entry.type:
                raise UnsafeEntry(
                    f"hard link to {show(entry.hard_link)}, which is no {entry.type} before it",
                    subject=show(entry.path),
                )
        else:
            names[entry.path] = entry.type
        previous = entry.path
        yield entry


def parse_line(line: bytes, subject: str) -> Entry:
    """One entry, spelt exactly as we would spell it. Raises: ContentError."""
    try:
        entry = Entry.from_line(line)
        same = entry.to_line() == line
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as problem:
        raise ContentError(f"not an entry: {line[:80]!r}", subject=subject) from problem
    numbers = (entry.mode, entry.uid, entry.gid, entry.mtime, entry.size, *(entry.device or ()))
    device = entry.type in (kinds.CHARACTER, kinds.BLOCK)
    if (
        not same
        or entry.type not in KINDS
        or not all(type(number) is int for number in numbers)
        or not 0 <= entry.mode <= 0o7777
        or not (0 <= entry.uid <= OWNER_LIMIT and 0 <= entry.gid <= OWNER_LIMIT)
        or entry.size < 0
        or abs(entry.mtime) >= 1 << 63
        or (entry.hard_link and entry.type == kinds.DIRECTORY)
        or (device and (entry.device is None or len(entry.device) != 2))
        or any(not 0 <= number < 1 << 32 for number in entry.device or ())
    ):
        raise ContentError(f"not an entry: {line[:80]!r}", subject=subject)
    return entry


def check_place(entry: Entry, directories: set[bytes]) -> None:
    """Raises: UnsafeEntry where making the entry could reach outside of the root."""
    parts = entry.path.split(b"/") if entry.path else []
    if b"\0" in entry.path or b"\0" in entry.target:
        raise UnsafeEntry("a name with a NUL byte", subject=show(entry.path))
    if any(part in (b"", b".", b"..") for part in parts):
        raise UnsafeEntry("a path that could leave the rootfs", subject=show(entry.path))
    if not parts and entry.type != kinds.DIRECTORY:
        raise UnsafeEntry("the root is no directory", subject="/")
    if parts[:-1] and b"/".join(parts[:-1]) not in directories:
        raise UnsafeEntry("its parent is no directory", subject=show(entry.path))


def show(path: bytes) -> str:
    """A path for people: printable, absolute within the rootfs."""
    return "/" + path.decode("utf-8", "backslashreplace")
