"""Read what export wrote, member by member, and accept nothing else.

An archive is not trusted to say where a file goes. Its recorded entries come early; from them we
compute every header that must follow, and compare bytes. So there is no tar to parse, and nothing
that a hostile archive says about paths, links or owners is ever acted upon.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Protocol

from ..errors import ContentError, LimitExceeded
from ..value import Value
from .archive_stream import CHUNK, ArchiveReader
from .bundle_archive import (
    CARD,
    CONFIG,
    ENTRIES,
    FORMAT_VERSION,
    ROOTFS_PREFIX,
)
from .bundle_archive import (
    card as write_card,
)
from .recorded_entries import load_tree, show
from .tar_writer import BLOCK, END, NANOSECONDS, file_header, member_header, padding
from .tree_content import TreeContent, checked_content

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ..oci.entry import Entry

CARD_LIMIT, CONFIG_LIMIT, ENTRIES_LIMIT = 1 << 16, 4 << 20, 4 << 30
FOREIGN = "not a bundle that was written by export, or one that was packed again"
FOREIGN_HINT = "unpack it with tar and import the directory; its files are verified all the same"


class Card(Value):
    """What the first member claims: nothing that is believed without a look."""

    bundle: str
    digest: str


class BundleSource(Protocol):
    """An exported bundle, read once from front to back."""

    def card(self) -> Card: ...

    def copy_entries(self, destination: Path) -> None: ...

    def config(self) -> bytes: ...

    def entries(self, recorded: Path) -> Iterator[Entry]: ...

    def content(self, entry: Entry) -> Iterator[bytes]: ...


def parse_card(content: bytes, subject: str) -> Card:
    """Raises: ContentError."""
    try:
        found: Any = json.loads(content)
        version, card = found["formatVersion"], Card(bundle=found["bundle"], digest=found["digest"])
    except (ValueError, KeyError, TypeError, RecursionError) as problem:
        raise ContentError(FOREIGN, subject=subject) from problem
    if version != FORMAT_VERSION:
        raise ContentError(
            f"written in format {version}; this version reads {FORMAT_VERSION}", subject=subject
        )
    strings = isinstance(card.bundle, str) and isinstance(card.digest, str)
    if not strings or content != write_card(name=card.bundle, digest=card.digest):
        raise ContentError(FOREIGN, subject=subject)
    return card


class ArchiveSource:
    """A tar, from an open archive."""

    def __init__(self, archive: ArchiveReader) -> None:
        self.archive = archive

    def card(self) -> Card:
        return parse_card(self.member(CARD, CARD_LIMIT), self.archive.subject)

    def copy_entries(self, destination: Path) -> None:
        size = self.own_header(ENTRIES, ENTRIES_LIMIT)
        with destination.open("wb") as stream:
            for chunk in self.pieces(size):
                stream.write(chunk)
        self.skip_padding(size)

    def config(self) -> bytes:
        return self.member(CONFIG, CONFIG_LIMIT)

    def entries(self, recorded: Path) -> Iterator[Entry]:
        for entry in load_tree(recorded):
            expected = member_header(ROOTFS_PREFIX, entry)
            if self.archive.exactly(len(expected)) != expected:
                raise self.foreign(show(entry.path))
            yield entry
        if self.archive.exactly(len(END)) != END or self.archive.read(1):
            raise self.foreign("the end")

    def content(self, entry: Entry) -> Iterator[bytes]:
        yield from checked_content(self.pieces(entry.size), entry)
        self.skip_padding(entry.size)

    def own_header(self, name: str, limit: int) -> int:
        """The size of one of our own members, whose header must be as we would write it."""
        block = self.archive.exactly(BLOCK)
        try:
            size, mtime = int(block[124:135], 8), int(block[136:147], 8)
        except ValueError as problem:
            raise self.foreign(name) from problem
        if block != file_header(name.encode(), size=size, mtime=mtime * NANOSECONDS):
            raise self.foreign(name)
        if size > limit:
            raise LimitExceeded(
                f"{name} has {size} bytes; the limit is {limit}", subject=self.archive.subject
            )
        return size

    def member(self, name: str, limit: int) -> bytes:
        size = self.own_header(name, limit)
        content = self.archive.exactly(size)
        self.skip_padding(size)
        return content

    def pieces(self, size: int) -> Iterator[bytes]:
        while size:
            chunk = self.archive.exactly(min(size, CHUNK))
            size -= len(chunk)
            yield chunk

    def skip_padding(self, size: int) -> None:
        expected = padding(size)
        if self.archive.exactly(len(expected)) != expected:
            raise self.foreign("padding")

    def foreign(self, place: str) -> ContentError:
        return ContentError(
            f"{FOREIGN} (at {place})", subject=self.archive.subject, hint=FOREIGN_HINT
        )


class DirectorySource:
    """A directory, exported as such or unpacked by tar: only names and content count.

    Modes, owners and times come from the entries, so it does not matter who unpacked it.
    """

    def __init__(self, root: Path, content: TreeContent) -> None:
        self.root = root
        self._content = content

    def card(self) -> Card:
        return parse_card(self.member(CARD, CARD_LIMIT), self.root.name)

    def copy_entries(self, destination: Path) -> None:
        import shutil

        self.member(ENTRIES, 0)
        shutil.copyfile(self.root / ENTRIES, destination)

    def config(self) -> bytes:
        return self.member(CONFIG, CONFIG_LIMIT)

    def entries(self, recorded: Path) -> Iterator[Entry]:
        return iter(load_tree(recorded))

    def content(self, entry: Entry) -> Iterator[bytes]:
        return self._content.of(entry)

    def member(self, name: str, limit: int) -> bytes:
        """Up to ``limit`` bytes of one of our files. Raises: ContentError, LimitExceeded."""
        path = self.root / name
        if not path.is_file():
            raise ContentError(f"{FOREIGN}: it has no {name}", subject=str(self.root))
        with path.open("rb") as stream:
            content = stream.read(limit + 1 if limit else 0)
        if limit and len(content) > limit:
            raise LimitExceeded(f"{name} is over {limit} bytes", subject=str(self.root))
        return content
