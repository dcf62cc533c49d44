"""Make a tree out of recorded entries and their content, beneath an empty directory of our own.

The entries come checked (see recorded_entries): parents are directories made here before, so no
path follows a link. Owners, devices and attributes that this user or file system cannot make are
reported and not silently dropped.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING

from ..errors import StoreError
from ..oci import entry as kinds
from ..oci.entry import Entry
from .layers.pool import ROOTLESS_XATTR, rootless_owner
from .recorded_entries import show
from .refusal import ANOTHER_PLACE, FULL, hint_for

if TYPE_CHECKING:
    from pathlib import Path

CANNOT = frozenset({errno.EPERM, errno.EACCES, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS})
DEVICE_MODE = {kinds.CHARACTER: stat.S_IFCHR, kinds.BLOCK: stat.S_IFBLK}

Content = Callable[[Entry], Iterable[bytes]]
Lost = Callable[[Entry, str, str], None]


def write_tree(*, rootfs: Path, entries: Iterable[Entry], content: Content, lost: Lost) -> None:
    """Fill ``rootfs``, an existing empty directory; ``lost`` hears of each gap: the
    entry, what (owner, mode, mtime, device, hard_link, ``xattr NAME``) and why.

    Directory modes and times come last, deepest first, so that read-only directories are filled.
    Raises: StoreError, OSError where there is no room, and whatever ``content`` raises.
    """
    root = os.fsencode(rootfs)
    directories: list[Entry] = []
    for entry in entries:
        path = os.path.join(root, entry.path) if entry.path else root
        try:
            make(path, root, entry, content, lost)
            if entry.type == kinds.DIRECTORY:
                directories.append(entry)
            elif not entry.hard_link:
                set_metadata(path, entry, lost)
        except OSError as problem:
            if problem.errno in FULL:
                # Nothing to do with this file: whoever made the tree says where there is no room.
                raise
            raise refused(problem, entry) from problem
    for entry in reversed(directories):
        set_metadata(os.path.join(root, entry.path) if entry.path else root, entry, lost)


def refused(problem: OSError, entry: Entry) -> StoreError:
    return StoreError(
        problem.strerror or "cannot be written",
        subject=show(entry.path),
        hint=hint_for(problem, ANOTHER_PLACE),
    )


def make(path: bytes, root: bytes, entry: Entry, content: Content, lost: Lost) -> None:
    if entry.hard_link:
        make_link(path, root, entry, lost)
    elif entry.type == kinds.DIRECTORY:
        if entry.path:
            os.mkdir(path, 0o700)
    elif entry.type == kinds.FILE:
        make_file(path, content(entry))
    elif entry.type == kinds.SYMLINK:
        os.symlink(entry.target, path)
    elif entry.type == kinds.FIFO:
        os.mkfifo(path, 0o600)
    else:
        make_device(path, entry, lost)


def make_file(path: bytes, chunks: Iterable[bytes]) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(path, flags, 0o600), "wb", buffering=0) as stream:
        for chunk in chunks:
            view = memoryview(chunk)
            while view:
                view = view[stream.write(view) :]


def make_link(path: bytes, root: bytes, entry: Entry, lost: Lost) -> None:
    """A hard link, or a copy where the file system knows none."""
    first = os.path.join(root, entry.hard_link)
    try:
        os.link(first, path, follow_symlinks=False)
    except OSError as problem:
        if problem.errno not in CANNOT | {errno.EMLINK}:
            raise
        lost(entry, "hard_link", reason(problem))
        if entry.type == kinds.SYMLINK:
            os.symlink(entry.target, path)
        elif entry.type == kinds.FILE:
            with open(first, "rb") as stream:
                make_file(path, iter(lambda: stream.read(1 << 20), b""))
        set_metadata(path, entry, lost)


def make_device(path: bytes, entry: Entry, lost: Lost) -> None:
    """A device, or an empty file in its place."""
    try:
        major, minor = entry.device or (0, 0)
        os.mknod(path, DEVICE_MODE[entry.type] | 0o600, os.makedev(major, minor))
    except OSError as problem:
        if problem.errno not in CANNOT:
            raise
        lost(entry, "device", reason(problem))
        make_file(path, ())


def set_metadata(path: bytes, entry: Entry, lost: Lost) -> None:
    """Owner first, because chown clears set-user-ID bits and capabilities; the time last."""
    set_owner(path, entry, lost)
    for name, value in entry.xattrs:
        attempt(partial(set_xattr, path, name, value), entry, f"xattr {kinds.text(name)}", lost)
    if entry.type != kinds.SYMLINK:
        attempt(lambda: os.chmod(path, entry.mode), entry, "mode", lost)
    times = (entry.mtime, entry.mtime)
    attempt(lambda: os.utime(path, ns=times, follow_symlinks=False), entry, "mtime", lost)


def set_owner(path: bytes, entry: Entry, lost: Lost) -> None:
    """The owner itself, or, for an ordinary user, a note of it as umoci makes one."""
    if os.geteuid() == 0:
        status = os.lstat(path)
        if (status.st_uid, status.st_gid) != (entry.uid, entry.gid):
            own = partial(os.chown, path, entry.uid, entry.gid, follow_symlinks=False)
            attempt(own, entry, "owner", lost)
    elif not entry.uid and not entry.gid:
        return
    elif entry.type in (kinds.FILE, kinds.DIRECTORY):
        note = partial(set_xattr, path, ROOTLESS_XATTR, rootless_owner(entry.uid, entry.gid))
        attempt(note, entry, "owner", lost)
    else:
        lost(entry, "owner", f"{entry.uid}:{entry.gid}: an ordinary user owns all here")


def set_xattr(path: bytes, name: bytes, value: bytes) -> None:
    os.setxattr(path, name, value, follow_symlinks=False)


def attempt(action: Callable[[], object], entry: Entry, what: str, lost: Lost) -> None:
    try:
        action()
    except OSError as problem:
        if problem.errno not in CANNOT:
            raise StoreError(reason(problem), subject=show(entry.path)) from problem
        lost(entry, what, reason(problem))


def reason(problem: OSError) -> str:
    return problem.strerror or "cannot be written"
