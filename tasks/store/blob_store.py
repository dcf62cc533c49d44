"""BlobStore: bytes by digest. A name in it means that its bytes are complete and verified.

Unfinished blobs lie in the temporary folder, one file per digest. That file is at once the lock
that processes meet at, so that two of them never fetch one blob twice, and what a later run
continues from.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import threading

from ..errors import ContentError, DigestMismatch, SizeMismatch
from ..oci.descriptor import Descriptor
from ..oci.digest import HEX_LENGTH, Digest, digest_bytes, new_hash
from .atomic import start_writeback, store_error, sync_folder, write_atomic
from .blob_stamp import is_stamped, stamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    import hashlib
    from collections.abc import Iterable, Iterator
    from pathlib import Path
    from types import TracebackType
    from typing import BinaryIO

    from .settling import Settling, Telling

CHUNK = 1 << 20
WRITEBACK = 8 << 20
FIRST_WRITEBACK = 2 << 20
"""The disk begins with a large blob as soon as it is known to be one."""


class BlobStore:
    """Blobs under ``root/<algorithm>/<encoded>``; ``tmp`` is on the same file system."""

    def __init__(self, root: Path, tmp: Path | None = None) -> None:
        self.root = root
        self.tmp = tmp or root.parent / "tmp"

    def path(self, digest: Digest) -> Path:
        return self.root / digest.algorithm / digest.encoded

    def has_blob(self, descriptor: Descriptor) -> bool:
        """Whether a file of the right name and size is there; reading it checks the content."""
        try:
            status = os.stat(self.path(descriptor.digest), follow_symlinks=False)
        except OSError:
            return False
        return stat.S_ISREG(status.st_mode) and status.st_size == descriptor.size

    def has_digest(self, digest: Digest) -> bool:
        """Whether a file of that name is there, when its size is not known."""
        return self.path(digest).is_file()

    def has_any(self) -> bool:
        """Whether anything was ever stored."""
        try:
            with os.scandir(self.root) as folders:
                return any(folders)
        except OSError:
            return False

    def get_blob(self, digest: Digest, *, limit: int) -> bytes:
        """A small blob whole, verified.

        Raises: StoreError (absent), DigestMismatch (the blob is then removed), SizeMismatch.
        """
        path = self.path(digest)
        try:
            with path.open("rb") as file:
                content = file.read(limit + 1)
        except OSError as error:
            raise store_error(error, path) from error
        if len(content) > limit:
            raise SizeMismatch(subject=str(digest), expected=limit, actual=path.stat().st_size)
        actual = digest_bytes(content, digest.algorithm)
        if actual != digest:
            self.discard(digest)
            raise wrong_content(digest, str(actual))
        return content

    def open_blob(self, descriptor: Descriptor) -> VerifiedReader:
        """A stored blob for reading; the caller closes it. Raises: StoreError, SizeMismatch."""
        path = self.path(descriptor.digest)
        try:
            file = path.open("rb", buffering=0)
        except OSError as error:
            raise store_error(error, path) from error
        size = os.fstat(file.fileno()).st_size
        if size != descriptor.size:
            file.close()
            raise SizeMismatch(
                subject=f"stored blob {descriptor.digest}", expected=descriptor.size, actual=size
            )
        return VerifiedReader(file, descriptor, self)

    def put_blob(self, content: bytes, digest: Digest | None = None) -> Digest:
        """Store bytes in memory. Raises: DigestMismatch, StoreError."""
        actual = digest_bytes(content, digest.algorithm if digest else "sha256")
        if digest and actual != digest:
            raise DigestMismatch(subject="blob", expected=str(digest), actual=str(actual))
        path = self.path(actual)
        try:
            present = path.stat().st_size == len(content)
        except OSError:
            present = False
        if not present:
            write_atomic(path, content, tmp=self.tmp, sync_name=False)
        return actual

    def put_stream(
        self,
        descriptor: Descriptor,
        stream: BinaryIO,
        settling: Settling,
        telling: Telling | None = None,
    ) -> bool:
        """Store what a stream holds; False where the blob is there already.

        It has its name when ``settling`` is left. Raises: DigestMismatch, SizeMismatch, StoreError.
        """
        with self.partial(descriptor) as partial:
            if partial.is_stored:
                return False
            partial.restart()
            buffer = bytearray(CHUNK)
            view = memoryview(buffer)
            while count := stream.readinto(buffer):  # type: ignore[attr-defined]
                partial.write(view[:count])
                if telling is not None:
                    telling.advance(count)
                settling.hasten(partial)
            partial.check()
            settling.take(partial, telling)
        return True

    def partial(self, descriptor: Descriptor) -> PartialBlob:
        """Begin or continue a blob; waits for another process that is at the same one."""
        return PartialBlob(self, descriptor)

    def discard(self, digest: Digest) -> None:
        """Take a blob whose content is wrong out of the store, so that it is fetched anew."""
        with contextlib.suppress(OSError):
            self.path(digest).unlink()

    def verify(self, digest: Digest) -> None:
        """Hash a stored blob unless that was done and it was not touched since.

        Raises: StoreError (absent), DigestMismatch (the blob is then removed).
        """
        path = self.path(digest)
        try:
            with path.open("rb", buffering=0) as file:
                if is_stamped(file.fileno(), digest):
                    return
                size = os.fstat(file.fileno()).st_size
                descriptor = Descriptor(media_type="", digest=digest, size=size)
                VerifiedReader(file, descriptor, self).drain()
                stamp(file.fileno(), digest)
        except OSError as error:
            raise store_error(error, path) from error

    def discard_damaged(self, descriptors: Iterable[Descriptor]) -> list[Digest]:
        """Take out those that are there and are not what their names say."""
        found = []
        for descriptor in descriptors:
            if not self.has_blob(descriptor):
                continue
            try:
                with self.open_blob(descriptor) as reader:
                    reader.drain()
            except ContentError:
                found.append(descriptor.digest)
        return found

    def sync(self) -> None:
        """Make the names of what was stored survive a power cut."""
        for algorithm in HEX_LENGTH:
            with contextlib.suppress(FileNotFoundError):
                sync_folder(self.root / algorithm)

    def digests(self) -> Iterator[Digest]:
        """Every digest in the store, in no order."""
        for algorithm in HEX_LENGTH:
            folder = self.root / algorithm
            with contextlib.suppress(OSError):
                for entry in os.scandir(folder):
                    with contextlib.suppress(ContentError):
                        yield Digest(algorithm, entry.name)


class VerifiedReader:
    """A stored blob's bytes; at the end its digest is checked, once.

    Whoever stops before the end has verified nothing and calls :meth:`drain` first.
    """

    def __init__(self, file: BinaryIO, descriptor: Descriptor, store: BlobStore) -> None:
        self._file = file
        self._descriptor = descriptor
        self._store = store
        self._hash = new_hash(descriptor.digest.algorithm)
        self._done = False

    def read(self, size: int = -1) -> bytes:
        """Up to ``size`` bytes, fewer only at the end. Raises: DigestMismatch, at the end."""
        content = self._file.read(size)
        self._hash.update(content)
        if size < 0 or not content:
            self._finish()
        return content

    def readinto(self, buffer: bytearray | memoryview) -> int:
        """Raises: DigestMismatch, at the end."""
        count = self._file.readinto(buffer)  # type: ignore[attr-defined]
        if count:
            self._hash.update(memoryview(buffer)[:count])
        else:
            self._finish()
        return int(count)

    def drain(self) -> None:
        """Read and verify what is left. Raises: DigestMismatch."""
        buffer = bytearray(CHUNK)
        while self.readinto(buffer):
            pass

    def _finish(self) -> None:
        if self._done:
            return
        self._done = True
        digest = self._descriptor.digest
        if self._hash.hexdigest() != digest.encoded:
            self._store.discard(digest)
            raise wrong_content(digest, f"{digest.algorithm}:{self._hash.hexdigest()}")

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> VerifiedReader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def wrong_content(digest: Digest, actual: str) -> DigestMismatch:
    """A stored blob was damaged since it was verified."""
    return DigestMismatch(
        subject=f"stored blob {digest}",
        expected=str(digest),
        actual=actual,
        hint="the damaged blob was removed; run the same command again to fetch it anew",
    )


class PartialBlob:
    """A blob in the making: ``offset`` bytes of it are here and hashed.

    Closing without :meth:`settle` keeps the bytes, so that the next attempt continues there.
    """

    def __init__(self, store: BlobStore, descriptor: Descriptor) -> None:
        self._store = store
        self.descriptor = descriptor
        digest = descriptor.digest
        self.path = store.tmp / f"{digest.algorithm}-{digest.encoded}.partial"
        self.offset = 0
        self.is_stored = False
        self._fd = -1
        self._owns_name = False
        self._is_handed_over = False
        self._flushed = self._synced = 0
        self._sync_failed: OSError | None = None
        self._guard = threading.Lock()
        self._made: hashlib._Hash | None = None

    @property
    def _hash(self) -> hashlib._Hash:
        """Made with the first byte, because loading what hashes takes a while."""
        if self._made is None:
            self._made = new_hash(self.descriptor.digest.algorithm)
        return self._made

    def __enter__(self) -> PartialBlob:
        try:
            self._store.tmp.mkdir(parents=True, exist_ok=True)
            self._store.path(self.descriptor.digest).parent.mkdir(parents=True, exist_ok=True)
            self._fd = self._lock()
            self._owns_name = True
            self.is_stored = self._store.has_blob(self.descriptor)
            if not self.is_stored:
                self._continue()
        except OSError as error:
            self.close()
            raise store_error(error, self.path) from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._is_handed_over:
            return
        if self._owns_name and (self.is_stored or self.offset == 0 or self._sync_failed):
            self._unlink()
        self.close()

    def _unlink(self) -> None:
        with contextlib.suppress(OSError):
            self.path.unlink()

    def _lock(self) -> int:
        """Open the file and own it: whoever held it before may have renamed or removed it."""
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        while True:
            fd = os.open(self.path, flags, 0o666)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX)
                mine = os.fstat(fd)
                with contextlib.suppress(FileNotFoundError):
                    theirs = os.stat(self.path, follow_symlinks=False)
                    if (mine.st_dev, mine.st_ino) == (theirs.st_dev, theirs.st_ino):
                        return fd
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)

    def _continue(self) -> None:
        """Hash what an earlier run left; more than the whole blob is rubbish."""
        size = os.fstat(self._fd).st_size
        if size > self.descriptor.size:
            os.ftruncate(self._fd, 0)
        elif not size:
            return
        buffer = bytearray(CHUNK)
        view = memoryview(buffer)
        while count := os.readv(self._fd, [buffer]):
            self._hash.update(view[:count])
            self.offset += count

    def write(self, content: bytes | memoryview) -> None:
        """Append. Raises: SizeMismatch before a byte too many is written, StoreError."""
        size = self.offset + len(content)
        if size > self.descriptor.size:
            raise SizeMismatch(
                subject=f"blob {self.descriptor.digest}",
                expected=self.descriptor.size,
                actual=size,
            )
        self._hash.update(content)
        try:
            written = os.write(self._fd, content)
            while written < len(content):
                written += os.write(self._fd, content[written:])
        except OSError as error:
            raise store_error(error, self.path) from error
        self.offset = size
        if size - self._flushed >= (WRITEBACK if self._flushed else FIRST_WRITEBACK):
            self.start_writeback()

    def restart(self) -> None:
        """Forget what is there."""
        os.ftruncate(self._fd, 0)
        os.lseek(self._fd, 0, os.SEEK_SET)
        self.offset = self._flushed = self._synced = 0
        self._made = None

    @property
    def unsynced(self) -> int:
        """How many bytes have come since :meth:`sync` was last called."""
        return self.offset - self._synced

    def sync(self) -> None:
        """Put what has come on the disk, from any thread, while more is written."""
        with self._guard:
            if self._fd < 0:
                return
            self._synced = self.offset
            try:
                os.fdatasync(self._fd)
            except OSError as error:
                # The kernel says a failure once: the next fsync would find nothing wrong.
                self._sync_failed = error

    def start_writeback(self) -> None:
        """Let the disk begin with what has come since the last time."""
        start_writeback(self._fd, self._flushed, self.offset - self._flushed)
        self._flushed = self.offset

    def hand_over(self) -> PartialBlob:
        """Whoever gets it settles and closes it, in place of the ``with`` statement."""
        if self._flushed:
            self.start_writeback()
        self._is_handed_over = True
        return self

    def check(self) -> None:
        """Whether the blob is whole and what its digest says.

        Raises: SizeMismatch (the bytes stay), DigestMismatch (they are dropped).
        """
        digest = self.descriptor.digest
        if self.offset != self.descriptor.size:
            raise SizeMismatch(
                subject=f"blob {digest}", expected=self.descriptor.size, actual=self.offset
            )
        actual = self._hash.hexdigest()
        if actual != digest.encoded:
            self.restart()
            raise DigestMismatch(
                subject=f"blob {digest}",
                expected=str(digest),
                actual=f"{digest.algorithm}:{actual}",
            )

    def settle(self) -> None:
        """Put what was checked on the disk, and give it its name.

        The name itself is made durable by :meth:`BlobStore.sync`, once for many blobs.
        Raises: StoreError.
        """
        path = self._store.path(self.descriptor.digest)
        try:
            if self._sync_failed is not None:
                raise self._sync_failed
            stamp(self._fd, self.descriptor.digest)
            os.fsync(self._fd)
        except OSError as error:
            # What may not be on the disk is nothing for a later run to continue from.
            self._unlink()
            raise store_error(error, path) from error
        self._owns_name = False
        try:
            self.path.replace(path)
        except OSError as error:
            raise store_error(error, path) from error
        self.is_stored = True

    def close(self) -> None:
        with self._guard:
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1
