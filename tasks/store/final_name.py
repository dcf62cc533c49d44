"""Give what is made outside of the state directory its name only when it is whole.

A file has no name at all until then (O_TMPFILE), so a kill leaves nothing behind; where the file
system has no such files, and for directories, a hidden name beside the final one is used, locked
while it is written, and swept by the next writer of the same name.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import shutil
import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING

from ..errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def new_file(destination: Path) -> Iterator[IO[bytes]]:
    """A file to fill; it appears under ``destination`` when the block ends without an error.

    Raises: StoreError where something of that name exists, or the directory cannot take it.
    """
    refuse_existing(destination)
    with said_of(destination):
        sweep(destination)
        descriptor, partial = open_partial(destination)
    try:
        with said_of(destination), open(descriptor, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(descriptor)
            publish(descriptor, partial, destination)
    finally:
        if partial:
            partial.unlink(missing_ok=True)


@contextlib.contextmanager
def new_directory(destination: Path) -> Iterator[Path]:
    """An empty directory to fill; renamed to ``destination`` when the block ends without an error.

    Raises: StoreError where something of that name exists.
    """
    refuse_existing(destination)
    with said_of(destination):
        sweep(destination)
        parent = destination.absolute().parent
        partial = Path(tempfile.mkdtemp(prefix=partial_prefix(destination), dir=parent))
    descriptor = os.open(partial, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield partial
        with said_of(destination):
            refuse_existing(destination)
            partial.rename(destination)
            sync_directory(parent)
    except BaseException:
        remove_tree(partial)
        raise
    finally:
        os.close(descriptor)


def refuse_existing(destination: Path) -> None:
    if os.path.lexists(destination):
        raise StoreError(
            "exists already", subject=str(destination), hint="remove it, or choose another name"
        )


@contextlib.contextmanager
def said_of(destination: Path) -> Iterator[None]:
    """What the operating system refuses, said of the name that the user gave."""
    try:
        yield
    except OSError as problem:
        hints = {
            errno.ENOSPC: "free some space, then try again",
            errno.EDQUOT: "free some of your quota, then try again",
            errno.EROFS: "the file system is read-only; choose another place",
            errno.EACCES: "the directory belongs to someone else; choose another place",
        }
        raise StoreError(
            problem.strerror or "cannot be written",
            subject=str(destination),
            hint=hints.get(problem.errno or 0),
        ) from problem


def partial_prefix(destination: Path) -> str:
    return f".{destination.name}.partial-"


def open_partial(destination: Path) -> tuple[int, Path | None]:
    parent = destination.absolute().parent
    try:
        flags = os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC
        return os.open(parent, flags, 0o666), None
    except OSError as problem:
        if problem.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL):
            raise
    partial = parent / f"{partial_prefix(destination)}{os.getpid()}-{secrets.token_hex(4)}"
    descriptor = os.open(partial, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o666)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    return descriptor, partial


def publish(descriptor: int, partial: Path | None, destination: Path) -> None:
    """Link, not rename: a link never replaces what somebody else put there meanwhile."""
    parent = os.open(destination.absolute().parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if partial is None:
            source = f"/proc/self/fd/{descriptor}"
            os.link(source, destination.absolute(), src_dir_fd=parent, follow_symlinks=True)
        else:
            link_or_rename(partial, destination)
        with contextlib.suppress(OSError):
            os.fsync(parent)
    finally:
        os.close(parent)


def link_or_rename(partial: Path, destination: Path) -> None:
    try:
        os.link(partial, destination)
    except OSError as problem:
        if problem.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
            raise
        refuse_existing(destination)
        partial.rename(destination)


def sweep(destination: Path) -> None:
    """Remove what a killed writer of this name left; a living one holds its lock."""
    parent = destination.absolute().parent
    prefix = partial_prefix(destination)
    for name in os.listdir(parent):
        if not name.startswith(prefix):
            continue
        left = parent / name
        with contextlib.suppress(OSError):
            descriptor = os.open(left, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if left.is_dir():
                    remove_tree(left)
                else:
                    left.unlink()
            finally:
                os.close(descriptor)


def remove_tree(path: Path) -> None:
    """Remove a tree of ours, read-only directories included."""
    for parent, names, _ in os.walk(path):
        for name in names:
            child = os.path.join(parent, name)
            if not os.path.islink(child):
                with contextlib.suppress(OSError):
                    os.chmod(child, 0o700)
    shutil.rmtree(path, ignore_errors=True)


def sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError:
        pass
    finally:
        os.close(descriptor)
