"""Which mounts stand on or under a directory: what must not be removed from under them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

OCTAL = re.compile(rb"\\([0-7]{3})")


def _unescape(field: bytes) -> bytes:
    return OCTAL.sub(lambda found: bytes([int(found[1], 8)]), field)


def _tables() -> Iterator[bytes]:
    """The mount table of every mount namespace that can be seen."""
    seen = set()
    for pid in ["self", *filter(str.isdigit, os.listdir("/proc"))]:
        try:
            namespace = os.readlink(f"/proc/{pid}/ns/mnt")
            if namespace in seen:
                continue
            with open(f"/proc/{pid}/mountinfo", "rb") as file:
                table = file.read()
        except OSError:
            continue
        seen.add(namespace)
        yield table


def mounted_on(path: Path) -> Path | None:
    """A mount point at or under ``path`` in this mount namespace."""
    root = os.fsencode(os.path.realpath(path))
    with open("/proc/self/mountinfo", "rb") as file:
        for line in file:
            point = _unescape(line.split(b" ")[4])
            if point == root or point.startswith(root + b"/"):
                return Path(os.fsdecode(point))
    return None


def is_lower_of_overlay(path: Path) -> bool:
    """Whether some overlay that can be seen has ``path``, or something in it, as a layer."""
    root = os.fsencode(os.path.realpath(path))
    for table in _tables():
        for line in table.splitlines():
            options = line.rpartition(b" ")[2]
            if b"lowerdir" not in options:
                continue
            for option in options.split(b","):
                key, _, value = option.partition(b"=")
                if not key.startswith(b"lowerdir"):
                    continue
                for lower in _unescape(value).split(b":"):
                    if lower == root or lower.startswith(root + b"/"):
                        return True
    return False
