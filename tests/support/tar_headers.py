"""Tar headers byte by byte, for what no archiver writes."""

from __future__ import annotations

import struct

BLOCK = 512


def octal(value: int, width: int) -> bytes:
    return f"{value:0{width - 1}o}".encode() + b"\0"


def header(
    name: bytes,
    *,
    size: bytes = octal(0, 12),
    kind: bytes = b"0",
    uid: bytes = octal(0, 8),
    mtime: bytes = octal(1_700_000_000, 12),
    link: bytes = b"",
    magic: bytes = b"ustar\x0000",
    tail: bytes = b"",
    mode: bytes = octal(0o644, 8),
) -> bytes:
    """A header by hand, for what no library writes."""
    block = bytearray(
        struct.pack(
            "100s8s8s8s12s12s8sc100s8s",
            name, mode, uid, octal(0, 8), size, mtime, b" " * 8, kind, link, magic,
        ).ljust(BLOCK, b"\0")
    )  # fmt: skip
    if tail:
        block[386 : 386 + len(tail)] = tail
    block[148:156] = f"{sum(block):06o}".encode() + b"\0 "
    return bytes(block)


def padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % BLOCK)


def pax(*records: tuple[bytes, bytes], kind: bytes = b"x") -> bytes:
    content = b""
    for key, value in records:
        body = b" " + key + b"=" + value + b"\n"
        size = len(body)
        while len(str(size)) + len(body) != size:
            size = len(str(size)) + len(body)
        content += str(size).encode() + body
    return header(b"pax", kind=kind, size=octal(len(content), 12)) + padded(content)
