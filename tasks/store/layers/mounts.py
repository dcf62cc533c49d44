"""Which mounts stand on or under a directory: what must not be removed from under them."""

from __future__ import annotations

import os
import re
from pathlib import Path

OCTAL = re.compile(rb"\\([0-7]{3})")


def unescape(field: bytes) -> bytes:
    return OCTAL.sub(lambda found: bytes([int(found[1], 8)]), field)


def mounted_on(path: Path) -> Path | None:
    """A mount point at or under ``path`` in this mount namespace."""
    root = os.fsencode(os.path.realpath(path))
    with open("/proc/self/mountinfo", "rb") as file:
        for line in file:
            point = unescape(line.split(b" ")[4])
            if point == root or point.startswith(root + b"/"):
                return Path(os.fsdecode(point))
    return None
