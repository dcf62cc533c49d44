"""Write a merged tree: directories are made, everything else is a link to a layer's pool.

The tree is new and its parent is ours alone (0700), so every component that is opened here is a
directory that was just made here. In the same walk the entries are written, sorted by path.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ...errors import StoreError
from .index import (
    FILE_CODE,
    LINKED,
    Meta,
    pool_name,
    xattrs_from,
)
from .listing import IMPLIED_MODE
from .merge import LAYER_BYTES, Directory, identity
from .pool import Metadata, set_times, write_all

OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
COPY_INSTEAD = frozenset({errno.EMLINK, errno.EXDEV, errno.EPERM, errno.EACCES, errno.ENOTSUP})
TIME_GRAIN = 2
LATEST = 1 << 31


class AlteredLayer(Exception):
    """A shared layer is not as it was made, or cannot be read; ``position`` is the layer's."""

    def __init__(self, position: int) -> None:
        super().__init__(position)
        self.position = position


class Linker:
    """Writes the directories of a tree and links everything else to the layers' pools.

    Files of layers that are not ``unchecked`` are compared with their records first. A layer that
    stands more than once in the stack has one pool, given by ``firsts`` (a position's own number
    where it is the first of its layer): what two of its places both show are two files, of which
    the second is a copy, made once in ``copies`` (an empty directory) and linked from there.
    """

    def __init__(
        self,
        pools: Sequence[int],
        *,
        firsts: Sequence[int],
        copies: int,
        single: bool,
        implied_mtime: int,
        unrepresented: Callable[[bytes, str, str], None],
        unchecked: frozenset[int],
    ) -> None:
        self._pools = pools
        self._firsts = firsts
        self._copies = copies
        self._shown: dict[tuple[int, str], int] | None = (
            {} if len(set(firsts)) < len(firsts) else None
        )
        self._implied_mtime = implied_mtime
        self._unrepresented = unrepresented
        self._unchecked = unchecked
        self._current = b""
        self._metadata = Metadata(single=single, unrepresented=self._describe)

    @property
    def may_be_shared(self) -> bool:
        """Whether two processes may link: not where one must know what the other showed."""
        return self._shown is None

    def _describe(self, number: int, what: str, reason: str) -> None:
        self._unrepresented(self._current, what, reason)

    def write(
        self,
        root: Directory,
        fd: int,
        *,
        left: frozenset[int] = frozenset(),
        made: frozenset[int] = frozenset(),
    ) -> None:
        """Fill the empty directory ``fd``, which is closed, with what ``root`` holds.

        ``left`` are directories that somebody else fills, by the ids of their nodes, and ``made``
        those that are there already. Raises: OSError, StoreError, AlteredLayer.
        """
        stack = [(fd, root, self._fill(fd, root))]
        try:
            while stack:
                fd, directory, names = stack[-1]
                for name, child in names:
                    if id(child) in left:
                        continue
                    if id(child) not in made:
                        os.mkdir(name, 0o700, dir_fd=fd)
                    inner = os.open(name, OPEN_DIRECTORY, dir_fd=fd)
                    stack.append((inner, child, self._fill(inner, child)))
                    break
                else:
                    self._finish(fd, directory)
                    stack.pop()
                    os.close(fd)
        finally:
            for fd, _, _ in stack:
                os.close(fd)

    def _fill(self, fd: int, directory: Directory) -> Iterator[tuple[bytes, Directory]]:
        """Link what is no directory, then give the directories, to be made one after the other."""
        inner = []
        for name, node in directory.children.items():
            if isinstance(node, Directory):
                inner.append((name, node))
            else:
                self._link(fd, name, node)
        yield from inner

    def _link(self, fd: int, name: bytes, leaf: bytes) -> None:
        position, kind, number, mode, seconds, size = LINKED.unpack_from(leaf)
        pool = self._pools[position]
        source = pool_name(number)
        if position not in self._unchecked:
            try:
                found = os.stat(source, dir_fd=pool, follow_symlinks=False)
            except OSError:
                raise AlteredLayer(position) from None
            if (
                kind == FILE_CODE
                and (found[0], found[6], found[8]) != (stat.S_IFREG | mode, size, seconds)
                and not _is_unchanged(found, mode, seconds, size)
            ):
                raise AlteredLayer(position)
        if self._shown is not None:
            pool, source = self._apart(position, source)
        try:
            os.link(source, name, src_dir_fd=pool, dst_dir_fd=fd, follow_symlinks=False)
        except OSError as error:
            if error.errno not in COPY_INSTEAD:
                raise
            self._copy(fd, name, pool, source)

    def _apart(self, position: int, number: str) -> tuple[int, str]:
        """Where to link from: the pool, or a copy where another place of the layer shows this."""
        assert self._shown is not None, "some layer stands twice"
        pool = self._pools[position]
        if self._shown.setdefault((self._firsts[position], number), position) == position:
            return pool, number
        name = f"{position}-{number}"
        try:
            self._copy(self._copies, os.fsencode(name), pool, number)
        except FileExistsError:
            pass  # one more name of it
        return self._copies, name

    def _copy(self, fd: int, name: bytes, pool: int, number: str) -> None:
        """A copy of an inode that cannot have one more name here."""
        found = os.stat(number, dir_fd=pool, follow_symlinks=False)
        self._current = name
        if not stat.S_ISREG(found.st_mode):
            self._copy_node(fd, name, pool, number, found)
            return
        source = os.open(number, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=pool)
        target = os.open(
            name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600,
            dir_fd=fd,
        )  # fmt: skip
        try:
            copy_content(source, target)
            if (found.st_uid, found.st_gid) != (os.geteuid(), os.getegid()):
                os.fchown(target, found.st_uid, found.st_gid)
            for attribute in attributes(source):
                os.setxattr(target, attribute, os.getxattr(source, attribute))
            os.fchmod(target, stat.S_IMODE(found.st_mode))
            set_times(target, found.st_mtime_ns)
        finally:
            os.close(source)
            os.close(target)

    def _copy_node(
        self, fd: int, name: bytes, pool: int, number: str, found: os.stat_result
    ) -> None:
        if stat.S_ISLNK(found.st_mode):
            os.symlink(os.readlink(os.fsencode(number), dir_fd=pool), name, dir_fd=fd)
        else:
            os.mknod(name, found.st_mode, found.st_rdev, dir_fd=fd)
            os.chmod(name, stat.S_IMODE(found.st_mode), dir_fd=fd)
        if (found.st_uid, found.st_gid) != (os.geteuid(), os.getegid()):
            os.chown(name, found.st_uid, found.st_gid, dir_fd=fd, follow_symlinks=False)
        os.utime(name, ns=(found.st_mtime_ns, found.st_mtime_ns), dir_fd=fd, follow_symlinks=False)

    def _finish(self, fd: int, directory: Directory) -> None:
        """A directory's own metadata, when all its names are there; its time last of all."""
        if directory.record is None:
            os.fchmod(fd, IMPLIED_MODE)
            set_times(fd, self._implied_mtime)
            return
        meta = Meta(directory.record[LAYER_BYTES:])
        self._current = identity(directory.record)
        self._metadata.own_file(fd, meta.number, meta.uid, meta.gid)
        if meta.xattrs:
            self._metadata.set_xattrs(fd, meta.number, xattrs_from(meta.xattrs), follow=True)
        os.fchmod(fd, meta.mode)
        set_times(fd, meta.mtime)


def copy_content(source: int, target: int) -> None:
    """Share the blocks where the file system can, copy in the kernel or through us otherwise."""
    try:
        while os.copy_file_range(source, target, 1 << 30):
            pass
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
        os.lseek(source, 0, os.SEEK_SET)
        os.lseek(target, 0, os.SEEK_SET)
        while piece := os.read(source, 1 << 18):
            write_all(target, memoryview(piece))


def _is_unchanged(found: os.stat_result, mode: int, seconds: int, size: int) -> bool:
    """Whether a file of a pool still looks as it was made: size, mode and (to 2 s) time.

    Times that not every file system can hold are not compared.
    """
    return (
        found.st_size == size
        and (found.st_mode ^ mode) & 0o777 == 0
        and stat.S_ISREG(found.st_mode)
        and (-TIME_GRAIN < found.st_mtime - seconds < TIME_GRAIN or not 0 <= seconds < LATEST)
    )


def attributes(source: int) -> list[str]:
    """The names of a file's extended attributes: none where its file system has no such thing."""
    try:
        return os.listxattr(source)
    except OSError as error:
        if error.errno != errno.ENOTSUP:
            raise
        return []


def no_room(error: OSError, path: Path) -> StoreError:
    """A failing file system, in words."""
    from ..refusal import ANOTHER_STATE, hint_for

    hint = hint_for(error, ANOTHER_STATE)
    if error.errno == errno.EXDEV:
        hint = "tmp/ and bundles/ of the state directory must be on one file system"
    return StoreError(f"cannot unpack: {error.strerror or error}", subject=str(path), hint=hint)
