"""Extended tar headers: PAX records, extended attributes and GNU's maps of sparse files.

Spec: POSIX.1-2017 pax, "pax Extended Header"; GNU tar manual, "Storing Sparse Files".
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping

from ...errors import LayerError
from .header import BLOCK, number

NANOSECONDS = 1_000_000_000
XATTR_PREFIX = b"SCHILY.xattr."
LIBARCHIVE_PREFIX = b"LIBARCHIVE.xattr."
SPARSE_PREFIX = b"GNU.sparse."
MAX_SIZE = (1 << 63) - 1

OLD_SPARSE = struct.Struct("12s12s")
OLD_SPARSE_IN_HEADER = (386, 4)
OLD_SPARSE_EXTENDED = 482
OLD_SPARSE_REAL_SIZE = slice(483, 495)
OLD_SPARSE_IN_BLOCK = (0, 21)
OLD_SPARSE_BLOCK_EXTENDED = 504

Extent = tuple[int, int]
"""Offset in the file and number of bytes that are stored there."""


def parse_records(content: bytes, *, subject: str) -> list[tuple[bytes, bytes]]:
    """``length key=value\\n`` records in order, repeated keys included. Raises: LayerError."""
    found = []
    position = 0
    try:
        while position < len(content):
            space = content.index(b" ", position, position + 20)
            digits = content[position:space]
            end = position + int(digits)
            if not digits.isdigit() or end <= space or end > len(content):
                raise ValueError
            if content[end - 1] != 0x0A:
                raise ValueError
            key, equals, value = content[space + 1 : end - 1].partition(b"=")
            if not key or not equals:
                raise ValueError
            found.append((key, value))
            position = end
    except ValueError:
        raise LayerError("a PAX header is damaged", subject=subject) from None
    return found


def decimal(value: bytes) -> int:
    """A plain decimal number of a PAX record. Raises: ValueError."""
    if not value.lstrip(b"-").isdigit():
        raise ValueError
    return int(value)


def parse_time(value: bytes) -> int:
    """Nanoseconds of ``[-]seconds[.fraction]``; what is finer than that is cut off.

    >>> parse_time(b"1.5"), parse_time(b"-1.5"), parse_time(b"2")
    (1500000000, -1500000000, 2000000000)

    Raises: ValueError.
    """
    whole, _, fraction = value.partition(b".")
    negative = whole.startswith(b"-")
    if fraction and not fraction.isdigit():
        raise ValueError
    nanoseconds = int(fraction[:9].ljust(9, b"0")) if fraction else 0
    seconds = decimal(whole)
    return seconds * NANOSECONDS + (-nanoseconds if negative else nanoseconds)


def xattrs_of(records: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
    """The extended attributes that records carry, in either spelling. Raises: ValueError."""
    found: dict[bytes, bytes] = {}
    for key, value in records.items():
        if key.startswith(LIBARCHIVE_PREFIX):
            from base64 import b64decode
            from urllib.parse import unquote_to_bytes

            name = unquote_to_bytes(key[len(LIBARCHIVE_PREFIX) :])
            padded = value + b"=" * (-len(value) % 4)
            found.setdefault(name, b64decode(padded, validate=True))
    for key, value in records.items():
        if key.startswith(XATTR_PREFIX):
            found[key[len(XATTR_PREFIX) :]] = value
    if any(not name or b"\0" in name for name in found):
        raise ValueError
    return found


def _old_extents(block: bytes, place: tuple[int, int]) -> Iterator[Extent]:
    start, count = place
    for index in range(count):
        offset, size = OLD_SPARSE.unpack_from(block, start + index * OLD_SPARSE.size)
        if not offset.strip(b"\0 ") and not size.strip(b"\0 "):
            return
        yield number(offset), number(size)


def old_sparse(header: bytes, take: Callable[[int], bytes], most: int) -> tuple[int, list[Extent]]:
    """Real size and map of an old GNU sparse file (type ``S``); ``take`` reads on in the archive.

    ``most`` is the limit in bytes of extension blocks. Raises: ValueError.
    """
    extents = list(_old_extents(header, OLD_SPARSE_IN_HEADER))
    more = header[OLD_SPARSE_EXTENDED]
    while more:
        most -= BLOCK
        if most < 0:
            raise ValueError
        block = take(BLOCK)
        extents.extend(_old_extents(block, OLD_SPARSE_IN_BLOCK))
        more = block[OLD_SPARSE_BLOCK_EXTENDED]
    return number(header[OLD_SPARSE_REAL_SIZE]), extents


def pax_sparse_map(records: list[tuple[bytes, bytes]]) -> list[Extent]:
    """The map of formats 0.0 (repeated records) and 0.1 (one record). Raises: ValueError."""
    numbers: list[int] = []
    for key, value in records:
        if key == b"GNU.sparse.map":
            numbers = [decimal(part) for part in value.split(b",")] if value else []
        elif key in (b"GNU.sparse.offset", b"GNU.sparse.numbytes"):
            numbers.append(decimal(value))
    return pair_up(numbers)


def pair_up(numbers: list[int]) -> list[Extent]:
    if len(numbers) % 2:
        raise ValueError
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def sparse_map_in_data(take: Callable[[int], bytes], most: int) -> tuple[list[Extent], int]:
    """The map of format 1.0 at the head of the data, and how many bytes of data it took.

    Raises: ValueError.
    """
    text = take(BLOCK)
    used = BLOCK
    head, newline, _ = text.partition(b"\n")
    wanted = 1 + 2 * decimal(head)
    if not newline or not 1 <= wanted <= most:
        raise ValueError
    missing = wanted - text.count(b"\n")
    blocks = [text]
    while missing > 0:
        used += BLOCK
        if used > most:
            raise ValueError
        blocks.append(take(BLOCK))
        missing -= blocks[-1].count(b"\n")
    return pair_up([decimal(line) for line in b"".join(blocks).split(b"\n")[1:wanted]]), used


def check_extents(extents: list[Extent], real_size: int, stored: int) -> list[Extent]:
    """Extents must rise, not overlap, lie in the file, and add up to the stored bytes.

    Raises: ValueError.
    """
    end = total = 0
    for offset, size in extents:
        if offset < end or size < 0 or offset + size > real_size:
            raise ValueError
        end = offset + size
        total += size
    if total != stored or not 0 <= real_size <= MAX_SIZE:
        raise ValueError
    return [extent for extent in extents if extent[1]]
