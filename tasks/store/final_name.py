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
from .refusal import ANOTHER_PLACE, hint_for

if TYPE_CHECKING:
    from collections.abc import Iterator

NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


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
            if partial is None and not link_nameless(descriptor, destination):
                partial = copy_aside(descriptor, destination)
            if partial is not None:
                link_or_rename(partial, destination)
            sync_directory(destination.absolute().parent)
    finally:
        if partial:
            partial.unlink(missing_ok=True)


@contextlib.contextmanager
def new_directory(destination: Path) -> Iterator[Path]:
    """An empty directory to fill; renamed to ``destination`` when the block ends without an error.

    Raises: StoreError where something of that name exists, or there is no room for it.
    """
    refuse_existing(destination)
    with said_of(destination):
        sweep(destination)
        parent = destination.absolute().parent
        partial = Path(tempfile.mkdtemp(prefix=partial_prefix(destination), dir=parent))
    descriptor = os.open(partial, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        hold(descriptor)
        with said_of(destination):
            yield partial
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
        raise StoreError(
            problem.strerror or "cannot be written",
            subject=str(destination),
            hint=hint_for(problem, ANOTHER_PLACE),
        ) from problem


def partial_prefix(destination: Path) -> str:
    return f".{destination.name}.partial-"


def open_partial(destination: Path) -> tuple[int, Path | None]:
    try:
        parent = destination.absolute().parent
        flags = os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC
        return os.open(parent, flags, 0o666), None
    except OSError as problem:
        if problem.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL):
            raise
    return open_named(destination)


def open_named(destination: Path) -> tuple[int, Path]:
    """A hidden file beside the final name, locked while it is written."""
    parent = destination.absolute().parent
    partial = parent / f"{partial_prefix(destination)}{os.getpid()}-{secrets.token_hex(4)}"
    descriptor = os.open(partial, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o666)
    hold(descriptor)
    return descriptor, partial


def hold(descriptor: int) -> None:
    """Keep it from being swept; a file system without locks lets nobody sweep."""
    with contextlib.suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_SH)


def link_nameless(descriptor: int, destination: Path) -> bool:
    """Name a file that has none; whether the file system has links."""
    # With a directory's descriptor Python calls linkat, which follows the link in /proc.
    parent = os.open(destination.absolute().parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        source = f"/proc/self/fd/{descriptor}"
        os.link(source, destination.absolute(), src_dir_fd=parent, follow_symlinks=True)
    except OSError as problem:
        if problem.errno not in NO_LINKS:
            raise
        return False
    finally:
        os.close(parent)
    return True


def copy_aside(descriptor: int, destination: Path) -> Path:
    """The same bytes beside the final name, where a file without a name cannot get one."""
    copy, partial = open_named(destination)
    try:
        with open(copy, "wb") as target, open(f"/proc/self/fd/{descriptor}", "rb") as source:
            shutil.copyfileobj(source, target, 1 << 20)
            target.flush()
            os.fsync(copy)
    except BaseException:
        partial.unlink()
        raise
    return partial


def link_or_rename(partial: Path, destination: Path) -> None:
    """A link never replaces what somebody else put there meanwhile."""
    try:
        os.link(partial, destination)
    except OSError as problem:
        if problem.errno not in NO_LINKS:
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
