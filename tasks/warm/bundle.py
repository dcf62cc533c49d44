"""The warm start: run a bundle of which a record says that nothing has changed since.

The graph leaves ``ready/<bundle>.json`` when it has found a bundle current: what to run, and the
signatures (device, inode, size, times) of every file that the finding rests on. While all of them
are the same, doit has nothing to do, and neither TOML, schemas nor keys need be looked at. Any
doubt (another option, a missing file, another signature) is the graph's to settle.

This module is read at every start: it imports nothing that Python has not loaded anyway, but json.
"""

from __future__ import annotations

import os

from ..boot import boot_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

VERSION = 2
ALL = ".bundles"
"""The name of the record of all bundles together (see all_bundles.py); no bundle can have it."""
TOO_YOUNG = 50_000_000
"""Nanoseconds: a file that changed this shortly before its signature was taken could change again
within the clock's tick and keep the signature."""


def signature(path: str) -> list[int]:
    """What changes when a file does; an empty list where there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return []
    return [found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns]


def place(path: str) -> list[int]:
    """What changes when a directory is replaced, or given to somebody else with all that is in it:
    device, inode and owner."""
    try:
        found = os.stat(path)
    except OSError:
        return []
    return [found.st_dev, found.st_ino, found.st_uid, found.st_gid]


def is_settled(signed: list[int], now: int) -> bool:
    """Whether a signature taken at ``now`` (nanoseconds) can be trusted later."""
    return not signed or now - max(signed[3:]) > TOO_YOUNG


def load_ready(path: str) -> dict[str, Any] | None:
    """A bundle's record, if there is one and everything it rests on is unchanged."""
    import json

    try:
        with open(path, "rb") as file:
            found = json.load(file)
    except (OSError, ValueError):
        return None
    if not isinstance(found, dict) or found.get("version") != VERSION:
        return None
    if found.get("boot") != boot_id():
        return None
    files, places = found.get("files", {}), found.get("places", {})
    if any(signature(name) != signed for name, signed in files.items()):
        return None
    if any(place(name) != signed for name, signed in places.items()):
        return None
    return found
