"""Remove a tree: whatever its modes and depth, never through a symlink or a mount."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ...errors import StoreError
from .mounts import mounted_on

OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
FORBIDDEN = frozenset({errno.EACCES, errno.EPERM})


def remove_here(path: Path) -> None:
    """Remove a tree with this process's own rights. Raises: StoreError, OSError."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(found.st_mode):
        os.unlink(path)
        return
    refuse_mounted(path)
    parent = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _remove(parent, path.name)
    finally:
        os.close(parent)


def refuse_mounted(path: Path) -> None:
    """Raises: StoreError where something is mounted in a tree that is to go."""
    point = mounted_on(path)
    if point is not None:
        raise StoreError(
            f"will not be removed: {point} is mounted there",
            subject=str(path),
            hint=f"umount {point}",
        )


def _open(parent: int, name: str) -> int:
    """Open a directory to empty it, and let ourselves in where its mode does not."""
    try:
        fd = os.open(name, OPEN_DIRECTORY, dir_fd=parent)
    except PermissionError:
        os.chmod(name, 0o700, dir_fd=parent)
        fd = os.open(name, OPEN_DIRECTORY, dir_fd=parent)
    try:
        found = os.fstat(fd)
        if found.st_mode & 0o700 != 0o700 and found.st_uid == os.geteuid() != 0:
            os.fchmod(fd, 0o700)
    except OSError:
        os.close(fd)
        raise
    return fd


def _remove(parent: int, name: str) -> None:
    """Depth first, with a descriptor for each level instead of a call."""
    stack = [(parent, name, _open(parent, name))]
    names = [_split(stack[-1][2])]
    try:
        while stack:
            _, _, fd = stack[-1]
            if names[-1]:
                inner = names[-1].pop()
                stack.append((fd, inner, _open(fd, inner)))
                names.append(_split(stack[-1][2]))
                continue
            above, last, fd = stack.pop()
            names.pop()
            os.close(fd)
            _unless_gone(os.rmdir, last, above)
    finally:
        for _, _, fd in stack:
            os.close(fd)


def _unless_gone(remove: Callable[..., None], name: str, directory: int) -> None:
    """Two may clean at once."""
    with suppress(FileNotFoundError):
        remove(name, dir_fd=directory)


def _split(fd: int) -> list[str]:
    """Unlink what is no directory; the names of the directories that remain."""
    directories = []
    with os.scandir(fd) as found:
        for item in found:
            if item.is_dir(follow_symlinks=False):
                directories.append(item.name)
            else:
                _unless_gone(os.unlink, item.name, fd)
    return directories
