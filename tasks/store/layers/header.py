"""One 512-byte tar header block: numbers, checksum, names.

Spec: POSIX.1-2017 pax, "ustar Interchange Format"; GNU tar manual, "Basic Tar Format".
"""

from __future__ import annotations

import struct
from functools import lru_cache
from zlib import adler32

from ...errors import LayerError

BLOCK = 512
ZERO_BLOCK = bytes(BLOCK)
ADLER_MODULUS = 65521
CHECKSUM_SPACES = 8 * 0x20

# name, (mode, uid, gid), size, mtime, (checksum), type, link name, magic, (names), device, prefix
FIELDS = struct.Struct("100s24s12s12s8xc100s8s64x8s8s155s12x")
CHECKSUM = slice(148, 156)

USTAR_MAGIC = b"ustar\x0000"


def number(field: bytes) -> int:
    """An octal number padded with spaces or NULs, or a GNU base-256 one.

    >>> number(b"0000644\\0"), number(b"\\x80" + bytes(6) + b"\\x05"), number(b"\\xff" * 8)
    (420, 5, -1)

    Raises: ValueError.
    """
    try:
        return int(field.rstrip(b"\0 ") or b"0", 8)
    except ValueError:
        return _odd_number(field)


often = lru_cache(maxsize=4096)(number)
"""The same, for fields that are alike in many headers."""


@lru_cache(maxsize=4096)
def access(fields: bytes) -> tuple[int, int, int]:
    """Mode, uid and gid, which stand side by side. Raises: ValueError."""
    return number(fields[:8]) & 0o7777, number(fields[8:16]), number(fields[16:])


def _odd_number(field: bytes) -> int:
    if field[0] & 0x80:
        value = int.from_bytes(field, "big") & ((1 << (8 * len(field) - 1)) - 1)
        if field[0] & 0x40:
            value -= 1 << (8 * len(field) - 1)
        return value
    text = field.split(b"\0", 1)[0].strip(b" ")
    return int(text, 8) if text else 0


def text(field: bytes) -> bytes:
    """A name up to its NUL, or the whole field."""
    end = field.find(b"\0")
    return field if end < 0 else field[:end]


def check_sum(block: bytes, subject: str) -> None:
    """Compare a header with its checksum, unsigned or (as old archivers wrote it) signed.

    Raises: LayerError.
    """
    field = block[148:156]
    if adler32(block) & 0xFFFF == _low_half(field):
        return
    signed = struct.unpack("512b", block)
    if _stored(field) != sum(signed) - sum(signed[CHECKSUM]) + CHECKSUM_SPACES:
        raise LayerError("this is no tar header: its checksum does not fit", subject=subject)


@lru_cache(maxsize=8192)
def _low_half(field: bytes) -> int:
    """The low half of the Adler-32 of a header whose checksum is right: the sum of all bytes plus
    one, modulo a number that is larger than most sums. C does in it what a loop here would."""
    stored = _stored(field)
    if not 0 <= stored <= 0x3FFFF:
        return -1
    return (stored + sum(field) - CHECKSUM_SPACES + 1) % ADLER_MODULUS


def _stored(field: bytes) -> int:
    try:
        return number(field)
    except ValueError:
        return -1
