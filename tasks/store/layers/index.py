"""The index of an unpacked layer: what each of its entries says, in the order of the layer.

One binary record an entry, read and written a few million times a second where JSON is not; the
format is private to one version of this package (``FORMAT``), an index of another is made anew.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Container, Iterator
from pathlib import Path

from ...oci import entry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO

    from .tar_reader import Member

FORMAT = 5

WHITEOUT, OPAQUE, HARD_LINK = "whiteout", "opaque", "link"
KINDS = (
    entry.FILE,
    entry.DIRECTORY,
    entry.SYMLINK,
    entry.CHARACTER,
    entry.BLOCK,
    entry.FIFO,
    HARD_LINK,
    WHITEOUT,
    OPAQUE,
)
FILE_CODE, DIRECTORY_CODE, SYMLINK_CODE = 0, 1, 2
HARD_LINK_CODE, WHITEOUT_CODE, OPAQUE_CODE = 6, 7, 8
CODES = {kind: code for code, kind in enumerate(KINDS)}

NANOSECONDS = 1_000_000_000
READ = 1 << 17

LACKING = bytes(27)
"""How what stands in place of a sha256 begins, where a pool lacks a file that upper layers hid."""

HELD = LACKING + b"\1"
"""The same of a file whose content is held (see `held`); its checksum follows, and the fields of a
device say where it stands."""

ABSENT = bytes(32)
"""In place of the sha256 of a file whose content is nowhere but in the layer's blob."""

LENGTHS = struct.Struct("<HI")
"""Bytes of the path, bytes of the rest: what stands before each record."""

META = struct.Struct("<BIHIIqIQ32sIIH")
"""Kind, number in the pool, mode, uid, gid, mtime (s, ns), size, sha256, device, target length.

The target and the extended attributes, as the JSON text of an entry, follow.
"""

CHECKED = struct.Struct("<BIH8xq4xQ")
"""Of the same: kind, number, mode, mtime (s) and size, which a shared file is compared by."""

LINKED = struct.Struct("<HBIH8xq4xQ")
"""The same behind a layer's position, as it is in a tree."""

NUMBER = struct.Struct("<I")
SHA256 = slice(META.size - 42, META.size - 10)


class Meta:
    """An entry's record without its path, unpacked."""

    __slots__ = (
        "device", "gid", "kind", "mode", "mtime", "number", "sha256", "size", "target", "uid",
        "xattrs",
    )  # fmt: skip

    def __init__(self, record: bytes) -> None:
        kind, number, mode, uid, gid, seconds, nanoseconds, size, sha256, major, minor, length = (
            META.unpack_from(record)
        )
        self.kind = kind
        self.number = number
        self.mode = mode
        self.uid = uid
        self.gid = gid
        self.mtime = seconds * NANOSECONDS + nanoseconds
        self.size = size
        self.sha256 = sha256
        self.device = (major, minor)
        end = META.size + length
        self.target = record[META.size : end]
        self.xattrs = record[end:]


def pack(
    kind: int,
    number: int,
    *,
    mode: int = 0,
    uid: int = 0,
    gid: int = 0,
    mtime: int = 0,
    size: int = 0,
    sha256: bytes = b"",
    device: tuple[int, int] = (0, 0),
    target: bytes = b"",
    xattrs: bytes = b"",
) -> bytes:
    """A record without its path. Raises: struct.error for numbers that no system has."""
    seconds, nanoseconds = divmod(mtime, NANOSECONDS)
    return (
        META.pack(
            kind, number, mode, uid, gid, seconds, nanoseconds, size, sha256, *device, len(target)
        )
        + target
        + xattrs
    )


def pack_file(member: Member, number: int, sha256: bytes, offset: int = 0) -> bytes:
    """A file's record, as :func:`pack` makes it; most records are. Raises: struct.error."""
    seconds, nanoseconds = divmod(member.mtime, NANOSECONDS)
    record = META.pack(
        FILE_CODE, number, member.mode, member.uid, member.gid, seconds, nanoseconds, member.size,
        sha256, offset >> 32, offset & 0xFFFFFFFF, 0,
    )  # fmt: skip
    return record + xattrs_text(member.xattrs) if member.xattrs else record


def pool_name(number: int) -> str:
    """What an inode is called in its pool. ext4 compares a new name with all that stand in its
    block of the directory: long names are fewer."""
    return str(number).zfill(40)


def kind_of(record: bytes) -> int:
    return record[0]


def sha256_of(record: bytes) -> bytes:
    return record[SHA256]


def number_of(record: bytes) -> int:
    found: int = NUMBER.unpack_from(record, 1)[0]
    return found


def is_lacking(record: bytes) -> bool:
    """Whether the pool has no inode for this file."""
    return record.startswith(LACKING, SHA256.start)


def is_held(record: bytes) -> bool:
    return record.startswith(HELD, SHA256.start)


def target_of(record: bytes) -> bytes:
    length = record[META.size - 2] | record[META.size - 1] << 8
    return record[META.size : META.size + length]


def xattrs_text(xattrs: dict[bytes, bytes]) -> bytes:
    """Extended attributes as they stand in an entry's line."""
    if not xattrs:
        return b""
    found = {entry.text(name): value.hex() for name, value in xattrs.items()}
    return json.dumps(found, sort_keys=True, separators=(",", ":")).encode()


def xattrs_from(text: bytes) -> dict[bytes, bytes]:
    if not text:
        return {}
    return {entry.raw(name): bytes.fromhex(value) for name, value in json.loads(text).items()}


def read_records(file: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """Path and record of each entry, in order. ``file`` was written whole; see :class:`Writer`."""
    buffer = b""
    position = 0
    head = LENGTHS.size
    while True:
        while len(buffer) - position >= head:
            path_length, length = LENGTHS.unpack_from(buffer, position)
            start = position + head
            end = start + path_length + length
            if end > len(buffer):
                break
            position = end
            middle = start + path_length
            yield buffer[start:middle], buffer[middle:end]
        more = file.read(READ)
        if not more:
            assert position == len(buffer), "an index is complete when it has its name"
            return
        buffer = buffer[position:] + more
        position = 0


def records_of(path: Path) -> Iterator[tuple[bytes, bytes]]:
    """Path and record of each entry of an index file."""
    with open(path, "rb", buffering=0) as file:
        yield from read_records(file)


def find_files(path: Path, numbers: Container[int]) -> dict[int, tuple[int, bytes]]:
    """Where in an index the records of files stand, and those, by their numbers in the pool.

    Raises: OSError, ValueError, struct.error.
    """
    from mmap import ACCESS_READ, mmap

    found = {}
    position = 0
    with open(path, "rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as content:
        while position < len(content):
            path_length, length = LENGTHS.unpack_from(content, position)
            start = position + LENGTHS.size + path_length
            position = start + length
            if content[start] == FILE_CODE:
                number = NUMBER.unpack_from(content, start + 1)[0]
                if number in numbers:
                    found[number] = start, content[start:position]
    return found


class Writer:
    """Appends records to a file through a buffer."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.count = 0

    def add(self, path: bytes, record: bytes) -> None:
        self._file.write(LENGTHS.pack(len(path), len(record)) + path + record)
        self.count += 1
