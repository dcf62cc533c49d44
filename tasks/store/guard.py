"""Guards: one process (and one thread) at a time on one step; released by the kernel at any end."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os

from ..errors import StoreError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextlib.contextmanager
def guard(path: Path) -> Iterator[bool]:
    """Hold an exclusive lock on ``path`` and yield whether another holder was waited for.

    A file system without locks gives none: the guard then only orders nothing, and what is
    written stays right because everything is renamed into place whole.
    Raises: StoreError where the lock file cannot be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as cause:
        raise StoreError(
            f"cannot be locked: {cause.strerror}",
            subject=str(path),
            hint="the state directory must be writable; choose another with --dir",
        ) from cause
    try:
        yield _lock(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def guard_if_free(path: Path) -> Iterator[bool]:
    """Hold a guard for the time of the block if nobody else does; yields whether it is held."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError:
        yield False
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        return True
    except OSError as cause:
        if cause.errno not in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
    return False
