"""What a file or tree takes on the disk, when it was last used, and how to take it away."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from typing import TYPE_CHECKING

from ..errors import StoreError
from .layers.mounts import mounted_on

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

AWAY = "gc-"
"""How the names begin of what was put away."""

Inode = tuple[int, int]
Inodes = dict[Inode, tuple[int, int, int]]
"""Device and inode to size in bytes, names found, and names there are."""


def last_use(path: Path) -> float | None:
    """Seconds since the epoch: when a file was last written or read, as far as the mount options
    let that be seen; when a directory was last written, since looking into it is reading."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    if stat.S_ISDIR(status.st_mode):
        return status.st_mtime
    return max(status.st_atime, status.st_mtime)


class Freed:
    """Bytes that become free as names go away: an inode's, with the last of its names."""

    def __init__(self) -> None:
        self._left: dict[Inode, int] = {}

    def look(self, paths: Iterable[Path]) -> Inodes:
        """What stands under ``paths`` now, each inode once."""
        found: Inodes = {}
        for path in paths:
            look_at(path, found)
        return found

    def count(self, gone: Inodes) -> int:
        """Bytes freed by the going of all that :meth:`look` found, after all that went before."""
        freed = 0
        for inode, (size, here, links) in gone.items():
            left = self._left.get(inode, links) - here
            self._left[inode] = left
            if left <= 0:
                freed += size
        return freed


def size_on_disk(path: Path) -> int:
    """Bytes of whole blocks, each inode once."""
    found: Inodes = {}
    look_at(path, found)
    return sum(size for size, _, _ in found.values())


def look_at(path: Path, found: Inodes) -> None:
    try:
        note(found, os.lstat(path))
    except OSError:
        return
    pending = [os.fspath(path)]
    while pending:
        with contextlib.suppress(OSError), os.scandir(pending.pop()) as items:
            for item in items:
                status = item.stat(follow_symlinks=False)
                note(found, status)
                if stat.S_ISDIR(status.st_mode):
                    pending.append(item.path)


def note(found: Inodes, status: os.stat_result) -> None:
    links = 1 if stat.S_ISDIR(status.st_mode) else status.st_nlink
    inode = (status.st_dev, status.st_ino)
    size, here, _ = found.get(inode, (status.st_blocks * 512, 0, links))
    found[inode] = (size, here + 1, links)


def put_away(path: Path, *, tmp: Path) -> Path | None:
    """Take ``path`` out of sight at once; a tree is returned by its new name, to be freed.

    It goes through ``tmp``, so that a kill in the middle leaves no half of it under its name. What
    cannot go, or is mounted, stays.
    """
    try:
        if not path.is_dir() or path.is_symlink():
            path.unlink()
            return None
        if mounted_on(path) is not None:
            return None
        tmp.mkdir(parents=True, exist_ok=True)
        away = tmp / f"{AWAY}{os.getpid()}-{secrets.token_hex(6)}"
        path.rename(away)
    except OSError:
        return None
    return away


def free(path: Path) -> None:
    """Remove a tree that was put away; what resists is tried again by the next gc."""
    from .layers.builder import remove_tree

    with contextlib.suppress(StoreError):
        remove_tree(path)
