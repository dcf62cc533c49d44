"""A file that several processes change: each reads it, and replaces it before the next one reads.

The temporary file is the guard: it stands beside the file under one name, and whoever holds its
lock writes it and gives it the final name. So processes with nothing else in common keep out of
each other's way, and what a killed one left is the next one's to take over.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from functools import partial

from .atomic import store_error, sync_folder, write_atomic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@contextlib.contextmanager
def replacement(path: Path) -> Iterator[Callable[[bytes], None]]:
    """Nobody else replaces ``path`` in this block; yields what writes its new content.

    Where the folder cannot be written, or knows no locks, that is only said when something is to
    be written, or done without. Raises: StoreError.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        descriptor = take(temporary)
    except OSError:
        yield partial(write_atomic, path)
        return
    written = False

    def write(content: bytes) -> None:
        nonlocal written
        try:
            os.ftruncate(descriptor, 0)
            with open(descriptor, "wb", closefd=False) as file:
                file.write(content)
                file.flush()
                os.fsync(descriptor)
            temporary.rename(path)
            written = True
            sync_folder(path.parent)
        except OSError as error:
            raise store_error(error, path) from error

    try:
        yield write
    finally:
        if not written:
            with contextlib.suppress(OSError):
                temporary.unlink()
        os.close(descriptor)


def take(temporary: Path) -> int:
    """Open and lock the file of that name: whoever had it may have renamed it meanwhile."""
    while True:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(temporary, flags, 0o666)
        try:
            lock(descriptor, temporary)
            if os.path.samestat(os.fstat(descriptor), os.stat(temporary)):
                return descriptor
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def lock(descriptor: int, temporary: Path) -> None:
    """Wait for whoever has it. Raises: OSError where there are no locks, and leaves nothing."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
