"""Guards: one process (and one thread) at a time on one step; released by the kernel at any end."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from _thread import allocate_lock

from ..errors import StoreError
from .refusal import FULL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@contextlib.contextmanager
def guard(path: Path, waiting: Callable[[], None] | None = None) -> Iterator[bool]:
    """Hold an exclusive lock on ``path`` and yield whether another holder was waited for, which
    ``waiting`` is called before.

    A file system without locks gives none, nor does one without room for the file, which gc is
    about to make: the guard then only orders nothing, and what is written stays right because
    everything is renamed into place whole.
    Raises: StoreError where the lock file cannot be made.
    """
    try:
        descriptor = _open(path)
    except OSError as cause:
        if cause.errno not in FULL:
            raise StoreError(
                f"cannot be locked: {cause.strerror}",
                subject=str(path),
                hint="the state directory must be writable; choose another with --dir",
            ) from cause
        yield False
        return
    try:
        yield _lock(descriptor, waiting)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def guard_if_free(path: Path) -> Iterator[bool]:
    """Hold a guard for the time of the block if nobody else does; yields whether it is held, as it
    is where there is no room for its file: who cannot make it holds none."""
    try:
        descriptor = _open(path)
    except OSError as cause:
        yield cause.errno in FULL
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


class SharedGuard:
    """What any number of processes hold at the same time, and :func:`guard` waits for: taken once
    however often it is asked for, given up at :meth:`release` or with the process."""

    def __init__(self, path: Path) -> None:
        self._path, self._mutex = path, allocate_lock()
        self._descriptor: int | None = None

    def take(self) -> None:
        """Wait for whoever holds it alone. Where it cannot be made, nobody does."""
        with self._mutex:
            if self._descriptor is not None:
                return
            with contextlib.suppress(OSError):
                self._descriptor = _open(self._path)
                fcntl.flock(self._descriptor, fcntl.LOCK_SH)

    def release(self) -> None:
        with self._mutex:
            if self._descriptor is not None:
                os.close(self._descriptor)
                self._descriptor = None


def _open(path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)


def _lock(descriptor: int, waiting: Callable[[], None] | None) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if waiting is not None:
            waiting()
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        return True
    except OSError as cause:
        if cause.errno not in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
    return False
