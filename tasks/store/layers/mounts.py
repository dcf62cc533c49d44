"""Which mounts stand on or under a directory: what must not be removed from under them."""

from __future__ import annotations

import os
from pathlib import Path

ESCAPES = ((b"\\040", b" "), (b"\\011", b"\t"), (b"\\012", b"\n"), (b"\\134", b"\\"))


def unescape(field: bytes) -> bytes:
    """A field of mountinfo, whose blanks and backslashes are octal. Spec: proc(5)."""
    if b"\\" in field:
        for escape, meant in ESCAPES:
            field = field.replace(escape, meant)
    return field


def mounted_on(path: Path) -> Path | None:
    """A mount point at or under ``path`` in this mount namespace."""
    root = os.fsencode(os.path.realpath(path))
    with open("/proc/self/mountinfo", "rb") as file:
        for line in file:
            point = unescape(line.split(b" ")[4])
            if point == root or point.startswith(root + b"/"):
                return Path(os.fsdecode(point))
    return None
