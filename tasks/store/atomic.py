"""Files that appear whole or not at all: temporary name, write, fsync, rename, fsync."""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
from pathlib import Path

from ..errors import StoreError

SUFFIX = ".tmp"
"""How the hidden names end of files that have no final name yet."""

SYNC_FILE_RANGE_WRITE = 2
_number = itertools.count()


def write_atomic(
    path: Path,
    content: bytes,
    *,
    tmp: Path | None = None,
    mode: int = 0o666,
    sync: bool = True,
    sync_name: bool = True,
) -> None:
    """Write ``content`` under ``path``, whose folder is made if need be.

    ``tmp`` is a folder on the same file system for the temporary name; without one it stands
    beside ``path``. ``mode`` is subject to the umask. Without ``sync_name`` a power cut may take
    the name away, but never the content from under it. Without ``sync`` it may leave a file that
    is cut short: only for what its reader checks and can do without. Raises: StoreError.
    """
    temporary = temporary_name(path, tmp)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        try:
            with open(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                if sync:
                    os.fsync(descriptor)
            temporary.replace(path)
            if sync and sync_name:
                sync_folder(path.parent)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
    except OSError as error:
        raise store_error(error, path) from error


def temporary_name(path: Path, tmp: Path | None = None) -> Path:
    """A name that no other process or thread uses at this moment."""
    unique = f"{os.getpid()}-{threading.get_ident():x}-{next(_number)}"
    return (tmp or path.parent) / f".{path.name}.{unique}{SUFFIX}"


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut, where the file system can."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def start_writeback(descriptor: int, offset: int, count: int) -> None:
    """Let the kernel begin to write some bytes of a file to the disk, so that fsync is short.

    Only a hint: nothing is waited for, and nothing is promised.
    """
    import ctypes

    call = getattr(ctypes.CDLL(None), "sync_file_range", None)
    if call is not None:
        call(descriptor, ctypes.c_int64(offset), ctypes.c_int64(count), SYNC_FILE_RANGE_WRITE)


def store_error(error: OSError, path: Path) -> StoreError:
    """An operating system's refusal in the state directory, with what to do about it."""
    from .refusal import ANOTHER_STATE, hint_for

    hint = hint_for(error, ANOTHER_STATE)
    return StoreError(error.strerror or str(error), subject=str(path), hint=hint)
