"""The content of a rootfs's files, from the disk, held against the recorded entries."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from ..errors import ContentError, DigestMismatch, SizeMismatch, StoreError
from .mapped_opener import MappedOpener
from .recorded_entries import show

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path
    from typing import Any, Self

    from ..oci.entry import Entry

CHUNK = 1 << 20


def checked_content(chunks: Iterable[bytes], entry: Entry) -> Iterator[bytes]:
    """Pass on what an entry promises, and end in an error where it was something else.

    Raises: SizeMismatch, DigestMismatch, after the last good byte was passed on.
    """
    import hashlib

    running, size = hashlib.sha256(), 0
    for chunk in chunks:
        running.update(chunk)
        size += len(chunk)
        if size > entry.size:
            break
        yield chunk
    if size != entry.size:
        raise SizeMismatch(subject=show(entry.path), expected=entry.size, actual=size)
    if running.hexdigest() != entry.sha256:
        raise DigestMismatch(
            subject=show(entry.path),
            expected=f"sha256:{entry.sha256}",
            actual=f"sha256:{running.hexdigest()}",
            hint="the tree was changed after it was built; see it with: verify",
        )


class TreeContent:
    """The files of one tree, for the time of a block: also those that a build by an ordinary user
    gave to somebody else."""

    def __init__(self, rootfs: Path) -> None:
        self._root = os.fsencode(rootfs)
        self._opener = MappedOpener(open_regular)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *how: Any) -> None:
        self._opener.close()

    def of(self, entry: Entry) -> Iterator[bytes]:
        """The verified bytes of one file. Raises: ContentError, StoreError."""
        return checked_content(self._raw(entry), entry)

    def _raw(self, entry: Entry) -> Iterator[bytes]:
        try:
            descriptor = self._opener.open(os.path.join(self._root, entry.path))
        except OSError as problem:
            raise unreadable(entry, problem) from problem
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise ContentError("is no regular file any more", subject=show(entry.path))
            while chunk := os.read(descriptor, CHUNK):
                yield chunk
        except OSError as problem:
            raise unreadable(entry, problem) from problem
        finally:
            os.close(descriptor)


def open_regular(path: bytes) -> int:
    """Never through a link, and never a wait for a FIFO's other end."""
    return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)


def unreadable(entry: Entry, problem: OSError) -> ContentError | StoreError:
    if problem.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
        return ContentError(
            "is missing from the tree",
            subject=show(entry.path),
            hint="the tree was changed after it was built; see it with: verify",
        )
    hint = None
    if problem.errno in (errno.EACCES, errno.EPERM):
        hint = "belongs to another user; do this as the user who built the bundle, or as root"
    return StoreError(problem.strerror or "cannot be read", subject=show(entry.path), hint=hint)
