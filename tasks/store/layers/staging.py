"""Work in progress under tmp/: each piece is locked while its process lives, and removed after.

The lock belongs to open files, so a killed process gives it up; children that outlive it keep it.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from struct import Struct

from ...errors import StoreError
from .in_use import is_in_use
from .remove import remove_here

PREFIX = "unpack-"
GUARD = ".unpack.lock"
FLAGS = Struct("=i")
GET_FLAGS, SET_FLAGS, TOP_DIRECTORY = 0x80086601, 0x40086602, 0x20000
"""ioctl_iflags(2), FS_TOPDIR_FL; other file systems refuse it."""

ORIGIN = "origin"
"""In a work directory: the name that its ``old`` tree stood under, for those who still use it."""

OLD = "old"
LATER = "later"
"""In a work directory: its old tree is large, and is removed after its build has returned."""


@contextmanager
def locked(path: Path, how: int) -> Iterator[None]:
    """Hold a flock on a file, made if need be. Raises: BlockingIOError with LOCK_NB."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(fd, how)
        yield
    finally:
        os.close(fd)


@contextmanager
def work_directory(tmp: Path, containers: Path | None = None) -> Iterator[Path]:
    """A new private directory in ``tmp``, gone at the end unless something still needs it."""
    tmp.mkdir(parents=True, exist_ok=True)
    spread_out(tmp)
    with locked(tmp / GUARD, fcntl.LOCK_EX):
        path = tmp / f"{PREFIX}{os.urandom(6).hex()}"
        path.mkdir(0o700)
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(fd, fcntl.LOCK_EX)
    try:
        forget_defaults(path)
        yield path
    finally:
        try:
            if not (path / LATER).exists():
                remove_work(path, containers)
        finally:
            os.close(fd)


def spread_out(directory: Path) -> None:
    """Let ext4 give each new directory in there a part of the disk of its own.

    It passes over inodes that were freed in the last minutes, one by one and anew for each file:
    near a tree that was just removed this takes longer than all of the rest.
    """
    with suppress(OSError):
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            (flags,) = FLAGS.unpack(fcntl.ioctl(fd, GET_FLAGS, bytes(FLAGS.size)))
            if not flags & TOP_DIRECTORY:
                fcntl.ioctl(fd, SET_FLAGS, FLAGS.pack(flags | TOP_DIRECTORY))
        finally:
            os.close(fd)


def forget_defaults(path: Path) -> None:
    """Let nothing be inherited: neither a group nor a default access control list."""
    os.chmod(path, 0o700)
    with suppress(OSError):
        os.removexattr(path, "system.posix_acl_default")


def remove_work(path: Path, containers: Path | None) -> None:
    """Remove a work directory, unless a container still runs from the old tree in it.

    What does not go now, a mount or a file on a damaged disk, does not undo the work that was done:
    each later build tries again.
    """
    origin = path / ORIGIN
    if origin.exists() and is_in_use(path / OLD, Path(origin.read_text()), containers):
        return
    with suppress(OSError, StoreError):
        remove_here(path)


def clean_stale(tmp: Path, containers: Path | None) -> None:
    """Remove what killed processes left behind."""
    if not (tmp / GUARD).exists():
        return
    with locked(tmp / GUARD, fcntl.LOCK_EX):
        names = [name for name in os.listdir(tmp) if name.startswith(PREFIX)]
        claimed = {name: _claim(tmp / name) for name in names}
    for name, fd in claimed.items():
        if fd is None:
            continue
        try:
            remove_work(tmp / name, containers)
        finally:
            os.close(fd)


def _claim(path: Path) -> int | None:
    """The lock of a work directory whose process is gone."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(fd)
        if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
            raise
        return None
    return fd
