"""Pool: a directory of inodes with numbers for names, one for each entry of a layer.

Nothing of an image's naming gets here, so nothing of it can lead outside.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Callable, Iterator
from hashlib import sha256

from ...errors import LayerError
from ...oci import entry
from .index import pool_name
from .pax import Extent
from .tar_reader import Member

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO, Protocol
else:
    Protocol = object

CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
SPECIAL_BITS = stat.S_ISUID | stat.S_ISGID | stat.S_ISVTX
REFUSALS = frozenset({errno.EPERM, errno.EACCES, errno.EINVAL, errno.ENOTSUP, errno.ENOSYS})
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.E2BIG, errno.ERANGE})
ACL_PREFIX = b"system.posix_acl_"
ROOTLESS_XATTR = b"user.rootlesscontainers"
AS_IT_IS = 0xFFFFFFFF
ZEROS = bytes(1 << 16)
NODE_TYPES = {entry.CHARACTER: stat.S_IFCHR, entry.BLOCK: stat.S_IFBLK, entry.FIFO: stat.S_IFIFO}


class Content(Protocol):
    """What a file holds: in one piece where it is in memory anyway, or in several."""

    def whole(self) -> memoryview | None: ...

    def content(self) -> Iterator[memoryview]: ...


def rootless_owner(uid: int, gid: int) -> bytes:
    """The true owner as umoci records it: protobuf ``{uint32 uid = 1; uint32 gid = 2}``.

    A zero is what the file's owner is inside anyway, and recorded as the number for "as it is".
    """

    def varint(value: int) -> bytes:
        found = bytearray()
        while value > 0x7F:
            found.append(value & 0x7F | 0x80)
            value >>= 7
        return bytes([*found, value])

    return b"\x08" + varint(uid or AS_IT_IS) + b"\x10" + varint(gid or AS_IT_IS)


def umask() -> int:
    """This process's umask, read without changing it under the feet of other threads."""
    with open("/proc/self/status", "rb") as status:
        for line in status:
            if line.startswith(b"Umask:"):
                return int(line.split()[1], 8)
    return 0o777


class Metadata:
    """Gives inodes their owner, mode, attributes and time, and notes what this host cannot give.

    ``single`` is for a user who cannot give files away: the owner is then recorded beside them.
    """

    def __init__(self, *, single: bool, unrepresented: Callable[[int, str, str], None]) -> None:
        self.single = single
        self._unrepresented = unrepresented
        self._uid, self._gid = os.geteuid(), os.getegid()
        self.late_bits = SPECIAL_BITS | umask()

    def describe(self, number: int, what: str, reason: str) -> None:
        self._unrepresented(number, what, reason)

    def own_file(self, fd: int, number: int, uid: int, gid: int) -> None:
        """Owner of a file or directory that is open."""
        if self.single:
            if uid or gid:
                self._record_owner(fd, number, uid, gid)
        elif uid != self._uid or gid != self._gid:
            try:
                os.fchown(fd, uid, gid)
            except OSError as error:
                self._refused(error, number, "owner", f"{uid}:{gid}")

    def _record_owner(self, fd: int, number: int, uid: int, gid: int) -> None:
        try:
            os.setxattr(fd, ROOTLESS_XATTR, rootless_owner(uid, gid))
        except OSError as error:
            self._refused(error, number, "owner", f"{uid}:{gid}")

    def own_node(self, pool: int, number: int, uid: int, gid: int) -> None:
        """Owner of a symlink, device or fifo, which cannot be opened."""
        if self.single:
            if uid or gid:
                self.describe(number, "owner", f"{uid}:{gid}: an ordinary user owns all here")
        elif uid != self._uid or gid != self._gid:
            try:
                os.chown(pool_name(number), uid, gid, dir_fd=pool, follow_symlinks=False)
            except OSError as error:
                self._refused(error, number, "owner", f"{uid}:{gid}")

    def set_xattrs(
        self, target: int | str, number: int, xattrs: dict[bytes, bytes], *, follow: bool
    ) -> None:
        for name, value in xattrs.items():
            if self.single and name == ROOTLESS_XATTR:
                continue
            if self.single and name.startswith(ACL_PREFIX):
                # The ids in it would be other people's on this host.
                self.describe(number, f"xattr {entry.text(name)}", f"{value.hex()}: not mapped")
                continue
            try:
                os.setxattr(target, name, value, follow_symlinks=follow)
            except OSError as error:
                self._refused(error, number, f"xattr {entry.text(name)}", value.hex())

    def _refused(self, error: OSError, number: int, what: str, value: str) -> None:
        if error.errno not in REFUSALS and not (
            what.startswith("xattr") and error.errno in NO_ROOM
        ):
            raise error
        self.describe(number, what, f"{value}: {os.strerror(error.errno or 0)}")


class Pool:
    """Writes inodes into the directory ``fd``; ``path`` is its path, where calls take no dir_fd."""

    def __init__(self, fd: int, path: str, metadata: Metadata) -> None:
        self._fd = fd
        self._path = path
        self._metadata = metadata
        self._late_bits, self._single = metadata.late_bits, metadata.single
        self._uid, self._gid = (0, 0) if metadata.single else (os.geteuid(), os.getegid())

    def add_file(self, number: int, member: Member, content: Content) -> bytes:
        """Make a file and return its sha256."""
        mode = member.mode
        late_mode = mode & self._late_bits or (self._single and mode & 0o200 == 0)
        fd = os.open(pool_name(number), CREATE, 0o600 if late_mode else mode, dir_fd=self._fd)
        try:
            if member.extents is not None:
                digest = write_sparse(fd, content.content(), member.size, member.extents)
            elif (piece := content.whole()) is not None:
                digest = sha256(piece).digest()
                if piece and os.write(fd, piece) < len(piece):
                    os.lseek(fd, 0, os.SEEK_SET)
                    write_all(fd, piece)
            else:
                digest = write_pieces(fd, content.content())
            if member.uid != self._uid or member.gid != self._gid:
                self._metadata.own_file(fd, number, member.uid, member.gid)
            if member.xattrs:
                self._metadata.set_xattrs(fd, number, member.xattrs, follow=True)
            if late_mode:
                os.fchmod(fd, mode)
            os.utime(fd, ns=(member.mtime, member.mtime))
        finally:
            os.close(fd)
        return digest

    def add_symlink(self, number: int, member: Member) -> None:
        target = member.link
        try:
            os.symlink(target, pool_name(number).encode(), dir_fd=self._fd)
        except OSError as error:
            if error.errno in (errno.ENAMETOOLONG, errno.ENOENT, errno.EINVAL):
                raise LayerError(
                    f"the symlink target {target[:80]!r} cannot be stored: {error.strerror}",
                    subject="",
                ) from error
            raise
        self._metadata.own_node(self._fd, number, member.uid, member.gid)
        if member.xattrs:
            self._metadata.set_xattrs(
                f"{self._path}/{pool_name(number)}", number, member.xattrs, follow=False
            )
        set_times(pool_name(number), member.mtime, self._fd)

    def add_node(self, number: int, member: Member, content: Content) -> None:
        """A device or fifo; where this host refuses it, an empty file that nobody takes for one."""
        name, kind, device = pool_name(number), member.type, member.device
        mode = NODE_TYPES[kind] | member.mode & 0o777
        try:
            os.mknod(name, mode, os.makedev(*device), dir_fd=self._fd)
        except OSError as error:
            if kind == entry.FIFO or error.errno not in (errno.EPERM, errno.EACCES, errno.EINVAL):
                raise
            self._metadata.describe(
                number, "device", f"{kind} {device[0]}:{device[1]} is an empty file here"
            )
            self.add_file(number, member, content)
            return
        self._metadata.own_node(self._fd, number, member.uid, member.gid)
        if member.mode & self._metadata.late_bits:
            os.chmod(name, member.mode, dir_fd=self._fd)
        if member.xattrs:
            self._metadata.set_xattrs(
                f"{self._path}/{pool_name(number)}", number, member.xattrs, follow=False
            )
        set_times(name, member.mtime, self._fd)


def set_times(target: int | str, mtime: int, directory: int | None = None) -> None:
    """Both times of an inode; a time that the kernel cannot take is clamped by it."""
    if directory is None:
        os.utime(target, ns=(mtime, mtime))
    else:
        os.utime(target, ns=(mtime, mtime), dir_fd=directory, follow_symlinks=False)


def write_all(fd: int, piece: memoryview) -> None:
    written = os.write(fd, piece)
    while written < len(piece):
        piece = piece[written:]
        written = os.write(fd, piece)


def write_pieces(fd: int, content: Iterator[memoryview]) -> bytes:
    """Write a file piece by piece; its sha256."""
    running = sha256()
    for piece in content:
        running.update(piece)
        write_all(fd, piece)
    return running.digest()


def write_sparse(fd: int, content: Iterator[memoryview], size: int, extents: list[Extent]) -> bytes:
    """Write a sparse file as sparse, and hash it as it is read."""
    running = sha256()
    hashed = 0

    def hash_zeros(until: int) -> None:
        nonlocal hashed
        while hashed < until:
            count = min(until - hashed, len(ZEROS))
            running.update(memoryview(ZEROS)[:count])
            hashed += count

    rest = memoryview(b"")
    for offset, length in extents:
        hash_zeros(offset)
        os.lseek(fd, offset, os.SEEK_SET)
        left = length
        while left:
            if not rest:
                rest = next(content)
            piece, rest = rest[:left], rest[left:]
            running.update(piece)
            write_all(fd, piece)
            left -= len(piece)
        hashed += length
    hash_zeros(size)
    os.ftruncate(fd, size)
    return running.digest()


class Unrepresented:
    """JSON lines of what a host could not represent: number in the pool, what, and why."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def add(self, number: int, what: str, reason: str) -> None:
        self._file.write(json.dumps([number, what, reason]).encode() + b"\n")
