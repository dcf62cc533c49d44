"""TarReader: the members of a tar stream, whichever archiver wrote it.

Spec: image-spec 1.1 layer.md, "File Types"; POSIX.1-2017 pax; GNU tar's extensions.
"""

from __future__ import annotations

from collections.abc import Iterator

from ...errors import LayerError
from ...oci import entry
from . import pax
from .header import (
    BLOCK,
    FIELDS,
    USTAR_MAGIC,
    ZERO_BLOCK,
    access,
    check_sum,
    number,
    often,
    text,
)
from .source import over

HARD_LINK = "link"
TYPES = {
    b"0": entry.FILE,
    b"\0": entry.FILE,
    b"7": entry.FILE,
    b"S": entry.FILE,
    b"1": HARD_LINK,
    b"2": entry.SYMLINK,
    b"3": entry.CHARACTER,
    b"4": entry.BLOCK,
    b"5": entry.DIRECTORY,
    b"6": entry.FIFO,
}
IGNORED = b"V"
"""GNU volume labels are no files."""

ACL_PREFIX = b"SCHILY.acl."
NO_DEVICE = (0, 0)
NO_RECORDS: dict[bytes, bytes] = {}
NO_XATTRS: dict[bytes, bytes] = {}


class Member:
    """One entry of an archive. ``size`` is that of the file; ``stored`` that in the archive.

    ``mtime`` is in nanoseconds; ``extents`` is the map of a sparse file.
    """

    __slots__ = (
        "device", "extents", "gid", "link", "mode", "mtime", "name", "size", "stored", "type",
        "uid", "xattrs",
    )  # fmt: skip

    name: bytes
    type: str
    mode: int
    uid: int
    gid: int
    mtime: int
    size: int
    stored: int
    link: bytes
    device: tuple[int, int]
    xattrs: dict[bytes, bytes]
    extents: list[pax.Extent] | None


class TarReader:
    """Iterate over the members; read each file's content with :meth:`content` before the next."""

    def __init__(self, pieces: Iterator[bytes], *, header_bytes: int, subject: str) -> None:
        self._pieces = pieces
        self._header_bytes = header_bytes
        self._subject = subject
        self._buffer = b""
        self._position = 0
        self._pending = 0
        self._padding = 0
        self._globals: dict[bytes, bytes] = {}

    def _more(self) -> bool:
        """Put the next piece behind what is left of this one."""
        piece = next(self._pieces, b"")
        if not piece:
            return False
        rest = self._buffer[self._position :]
        self._buffer = rest + piece if rest else piece
        self._position = 0
        return True

    def _take(self, size: int) -> bytes:
        while len(self._buffer) - self._position < size:
            if not self._more():
                raise LayerError("the tar stream ends within an entry", subject=self._subject)
        start = self._position
        self._position = start + size
        return self._buffer[start : start + size]

    def whole(self) -> memoryview | None:
        """All of the stored bytes, where they are in memory already: so for most files."""
        start = self._position
        end = start + self._pending
        if end > len(self._buffer):
            return None
        self._position = end
        self._pending = 0
        return memoryview(self._buffer)[start:end]

    def content(self) -> Iterator[memoryview]:
        """The stored bytes of the member just read, in pieces."""
        while self._pending:
            if self._position == len(self._buffer):
                self._buffer, self._position = next(self._pieces, b""), 0
                if not self._buffer:
                    raise LayerError("the tar stream ends within a file", subject=self._subject)
            piece = memoryview(self._buffer)[self._position : self._position + self._pending]
            self._position += len(piece)
            self._pending -= len(piece)
            yield piece

    def _skip_rest(self) -> None:
        if self._pending:
            for _ in self.content():
                pass
        if self._padding:
            left = min(self._padding, len(self._buffer) - self._position)
            self._position += left
            # `umoci insert` ends its layers with the last byte of the last file: no padding at
            # all, and no end of the archive. Others read that, and so do we.
            if left < self._padding and (left or self._more()):
                self._take(self._padding - left)
            self._padding = 0

    def _next_header(self) -> bytes | None:
        """The next header block, or None at the end of the archive."""
        start = self._position + self._padding
        block = self._buffer[start : start + BLOCK]
        if len(block) == BLOCK and block[0] and not self._pending:
            self._position = start + BLOCK
            self._padding = 0
            return block
        if self._pending or self._padding:
            self._skip_rest()
        if len(self._buffer) == self._position and not self._more():
            return None
        block = self._take(BLOCK)
        if block[0] == 0 and block == ZERO_BLOCK:
            if len(self._buffer) == self._position and not self._more():
                return None
            if self._take(BLOCK) != ZERO_BLOCK:
                raise LayerError("one zero block in the middle of a tar", subject=self._subject)
            return None
        return block

    def __iter__(self) -> Iterator[Member]:
        local: list[tuple[bytes, bytes]] = []
        long_name = long_link = b""
        extended = 0
        while (block := self._next_header()) is not None:
            check_sum(block, self._subject)
            kind = block[156:157]
            if kind in b"xXgLK":
                content = self._extended(block, extended)
                extended += len(content)
                if kind == b"L":
                    long_name = text(content)
                elif kind == b"K":
                    long_link = text(content)
                elif kind == b"g":
                    self._update_globals(content)
                else:
                    local += pax.parse_records(content, subject=self._subject)
                continue
            extended = 0
            if kind in TYPES:
                yield self._member(block, local, long_name, long_link)
            elif kind == IGNORED:
                self._set_content(self._number(block[124:136], "size"))
            else:
                raise LayerError(
                    f"{text(block[:100])!r} is of the unknown type {kind!r}", subject=self._subject
                )
            local, long_name, long_link = [], b"", b""
        for _ in self._pieces:
            pass

    def _extended(self, block: bytes, before: int) -> bytes:
        size = self._number(block[124:136], "size")
        if size + before > self._header_bytes:
            raise over(
                "header_bytes",
                f"an entry has over {self._header_bytes} bytes of extended headers",
                subject=self._subject,
            )
        content = self._take(size)
        self._padding = -size % BLOCK
        return content

    def _update_globals(self, content: bytes) -> None:
        for key, value in pax.parse_records(content, subject=self._subject):
            if value:
                self._globals[key] = value
            else:
                self._globals.pop(key, None)
        if sum(len(key) + len(value) for key, value in self._globals.items()) > self._header_bytes:
            raise over("header_bytes", "global headers are too large", subject=self._subject)

    def _number(self, field: bytes, what: str) -> int:
        try:
            found = number(field)
            if found < 0 or found > pax.MAX_SIZE:
                raise ValueError
        except ValueError:
            raise LayerError(f"a header's {what} is no number", subject=self._subject) from None
        return found

    def _set_content(self, stored: int) -> None:
        self._pending = stored
        self._padding = -stored % BLOCK

    def _set_file_content(self, member: Member) -> None:
        stored = member.size = member.stored
        if not 0 <= stored <= pax.MAX_SIZE:
            raise ValueError
        self._pending = stored
        self._padding = -stored % BLOCK

    def _member(
        self, block: bytes, local: list[tuple[bytes, bytes]], long_name: bytes, long_link: bytes
    ) -> Member:
        name, owned, size, mtime, kind, link, magic, major, minor, prefix = FIELDS.unpack(block)
        member = Member()
        member.name = long_name or text(name)
        if prefix[0] and not long_name and magic[:6] == USTAR_MAGIC[:6]:
            member.name = text(prefix) + b"/" + member.name
        member.link = long_link or (text(link) if link[0] else b"")
        member.type = TYPES[kind]
        try:
            member.mode, member.uid, member.gid = access(owned)
            member.stored = number(size)
            member.mtime = often(mtime) * pax.NANOSECONDS
            member.device = (number(major), number(minor)) if kind in b"34" else NO_DEVICE
            member.xattrs = NO_XATTRS
            member.extents = None
            if local or self._globals or kind != b"0" or member.name[-1:] == b"/":
                self._finish(member, block, kind, local)
            else:
                self._set_file_content(member)
        except ValueError:
            raise LayerError(
                f"the header of {member.name!r} is damaged", subject=self._subject
            ) from None
        return member

    def _apply_records(
        self, member: Member, local: list[tuple[bytes, bytes]]
    ) -> dict[bytes, bytes]:
        records = self._globals | dict(local)
        member.name = records.get(b"path") or member.name
        member.link = records.get(b"linkpath") or member.link
        if records.get(b"size"):
            member.stored = pax.decimal(records[b"size"])
        if records.get(b"uid"):
            member.uid = pax.decimal(records[b"uid"])
        if records.get(b"gid"):
            member.gid = pax.decimal(records[b"gid"])
        if records.get(b"mtime"):
            member.mtime = pax.parse_time(records[b"mtime"])
        member.xattrs = pax.xattrs_of(records)
        if any(key.startswith(ACL_PREFIX) for key in records):
            from .acl import attributes_of

            is_directory = member.type == entry.DIRECTORY
            lists, member.mode = attributes_of(records, mode=member.mode, is_directory=is_directory)
            member.xattrs = lists | member.xattrs
        return records

    def _finish(
        self, member: Member, block: bytes, kind: bytes, local: list[tuple[bytes, bytes]]
    ) -> None:
        """PAX records, sizes, sparse maps, what a trailing slash means. Raises: ValueError."""
        records = NO_RECORDS
        if local or self._globals:
            records = self._apply_records(member, local)
        if member.type == entry.FILE and kind in b"0\0" and member.name.endswith(b"/"):
            member.type = entry.DIRECTORY
        if member.type != entry.FILE:
            member.stored = member.size = 0
            self._set_content(0)
            return
        self._set_file_content(member)
        stored = member.stored
        if kind == b"S":
            real, extents = pax.old_sparse(block, self._take, self._header_bytes)
            member.size, member.extents = real, pax.check_extents(extents, real, stored)
        elif b"GNU.sparse.major" in records or b"GNU.sparse.size" in records:
            self._set_content(self._pax_sparse(member, records, local))

    def _pax_sparse(
        self, member: Member, records: dict[bytes, bytes], local: list[tuple[bytes, bytes]]
    ) -> int:
        """Formats 0.0, 0.1 and 1.0; the number of bytes that remain stored. Raises: ValueError."""
        stored = member.stored
        version = records.get(b"GNU.sparse.major", b"0"), records.get(b"GNU.sparse.minor", b"0")
        if version == (b"1", b"0"):
            extents, used = pax.sparse_map_in_data(self._take, min(stored, self._header_bytes))
            stored -= used
            real = records.get(b"GNU.sparse.realsize", b"x")
        elif version[0] == b"0":
            extents = pax.pax_sparse_map(local)
            real = records.get(b"GNU.sparse.size") or records.get(b"GNU.sparse.realsize", b"x")
        else:
            raise ValueError
        member.name = records.get(b"GNU.sparse.name") or member.name
        member.size = pax.decimal(real)
        member.extents = pax.check_extents(extents, member.size, stored)
        return stored
