"""BlobStamp: a stored file whose content was verified says so by its modification time.

The nanoseconds of the time are a checksum over the digest, the size, the inode and the seconds. A
file that is written to, replaced or copied has another time or another inode, so it has no stamp
and its content is looked at again. Links keep it, and nothing more has to be kept anywhere.
"""

from __future__ import annotations

import contextlib
import os

from ..oci.digest import new_hash

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..oci.digest import Digest

SECOND = 1_000_000_000


def stamp(fd: int, digest: Digest) -> None:
    """Mark an open file as verified, where its owner is who we are."""
    found = os.fstat(fd)
    # A second earlier, so that no file comes from the future.
    seconds = found.st_mtime_ns // SECOND - 1
    time = seconds * SECOND + _nanoseconds(digest, found.st_size, found.st_ino, seconds)
    with contextlib.suppress(OSError):
        os.utime(fd, ns=(found.st_atime_ns, time))


def is_stamped(fd: int, digest: Digest) -> bool:
    """Whether the content of an open file was verified, and not touched since."""
    found = os.fstat(fd)
    seconds, nanoseconds = divmod(found.st_mtime_ns, SECOND)
    return nanoseconds == _nanoseconds(digest, found.st_size, found.st_ino, seconds)


def _nanoseconds(digest: Digest, size: int, inode: int, seconds: int) -> int:
    running = new_hash("sha256")
    running.update(f"{digest} {size} {inode} {seconds}".encode())
    return int.from_bytes(running.digest()[:8], "little") % SECOND
