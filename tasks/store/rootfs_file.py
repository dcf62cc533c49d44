"""A small file inside a rootfs, read as a process chrooted into it would: never another file.

An image decides what stands there: links that lead to the host, a fifo that would block for ever,
a device. Links are followed by hand, with the rootfs as the root.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from ..errors import StoreError

LARGEST = 16 << 20
MOST_LINKS = 40


def read_rootfs_file(rootfs: Path, path: str) -> bytes | None:
    """The content of a regular file; None where there is none. Raises: StoreError."""
    handle = _open_beneath(rootfs, path)
    if handle is None:
        return None
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise StoreError("is no regular file", subject=f"/{path.lstrip('/')} in the rootfs")
    with open(handle, "rb") as file:
        content = file.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise StoreError(f"is larger than {LARGEST} bytes", subject=f"/{path} in the rootfs")
    return content


def _open_beneath(rootfs: Path, path: str) -> int | None:
    """A descriptor of what ``path`` leads to inside; None where it leads nowhere."""
    walk = _Walk(path)
    try:
        return walk.open(rootfs)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO):
            return None
        raise StoreError(
            f"cannot be read: {error.strerror}", subject=f"/{path.lstrip('/')} in the rootfs"
        ) from error
    finally:
        walk.close()


class _Walk:
    """Goes component by component; every open refuses links and never blocks."""

    def __init__(self, path: str) -> None:
        self.stack: list[int] = []
        self.todo = _components(path)
        self.links = 0

    def open(self, rootfs: Path) -> int | None:
        """Raises: OSError."""
        self.stack = [os.open(rootfs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)]
        while self.todo:
            name = self.todo.pop()
            if name == "..":
                self.leave(keep=max(len(self.stack) - 1, 1))
                continue
            target = _link_target(self.stack[-1], name)
            if target is not None:
                self.follow(target)
            elif self.todo:
                flags = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
                self.stack.append(os.open(name, flags, dir_fd=self.stack[-1]))
            else:
                flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
                return os.open(name, flags, dir_fd=self.stack[-1])
        return None

    def follow(self, target: str) -> None:
        self.links += 1
        if self.links > MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        if target.startswith("/"):
            self.leave(keep=1)
        self.todo += _components(target)

    def leave(self, *, keep: int) -> None:
        while len(self.stack) > keep:
            os.close(self.stack.pop())

    def close(self) -> None:
        self.leave(keep=0)


def _components(path: str) -> list[str]:
    """In reverse, so that the next one can be popped."""
    return [part for part in path.split("/") if part not in ("", ".")][::-1]


def _link_target(folder: int, name: str) -> str | None:
    try:
        return os.readlink(name, dir_fd=folder)
    except OSError as error:
        if error.errno == errno.EINVAL:
            return None
        raise
