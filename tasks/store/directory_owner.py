"""Mode and owner of directories as the image has them, whatever this host could represent."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

from ..errors import StoreError
from ..oci.entry import DIRECTORY, Entry

TYPE_CHECKING = False
if TYPE_CHECKING:
    Owner = tuple[int, int, int]
    """Mode (the twelve permission bits), uid and gid."""


def directory_owners(entries: Path, paths: Iterable[str]) -> dict[str, Owner]:
    """The owners of those absolute ``paths`` that are directories; none before there is a rootfs.

    Entries are searched as text: a large image has a hundred thousand, and two are wanted.
    """
    needles = {
        path: b'"path":' + json.dumps(os.fsdecode(path.lstrip("/"))).encode() + b","
        for path in paths
    }
    found: dict[str, Owner] = {}
    try:
        content = entries.read_bytes()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise StoreError(
            f"cannot be read: {error.strerror}",
            subject=str(entries),
            hint="build the root file system again: rootfs:NAME",
        ) from error
    for path, needle in needles.items():
        place = content.find(needle)
        if place >= 0:
            start = content.rfind(b"\n", 0, place) + 1
            entry = Entry.from_line(content[start : content.index(b"\n", place)])
            if entry.type == DIRECTORY:
                found[path] = (entry.mode, entry.uid, entry.gid)
    return found
