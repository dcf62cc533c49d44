"""Files: a folder or a tar archive that holds an image, read by name and never written.

Names in an archive are data: they are looked up, and never joined to a path on the disk.
"""

from __future__ import annotations

import io
import os
import posixpath
import stat

from ...errors import ContentError, SizeMismatch
from ...value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import IO, BinaryIO, Protocol
else:
    Protocol = object

GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
ENTRY_LIMIT = 100_000
LINK_LIMIT = 8


class Files(Protocol):
    """What a transport reads. Every method raises FileNotFoundError for a name that is absent."""

    def open(self, name: str) -> BinaryIO:
        """A file for reading; the caller closes it."""

    def size(self, name: str) -> int:
        """A file's size in bytes."""

    def close(self) -> None: ...


def read_file(files: Files, name: str, *, limit: int, subject: str) -> bytes:
    """A small file whole. Raises: ContentError, SizeMismatch."""
    try:
        size = files.size(name)
        if size > limit:
            raise SizeMismatch(subject=f"{subject}: {name}", expected=limit, actual=size)
        with files.open(name) as file:
            return file.read()
    except OSError as error:
        raise unreadable(subject, name, error) from error


def unreadable(subject: str, name: str, error: OSError) -> ContentError:
    """What a missing or refused file means for an image."""
    return ContentError(f"{name}: {error.strerror or 'cannot be read'}", subject=subject)


class Folder(Value, kw_only=False):
    """Files below a folder."""

    root: Path

    def open(self, name: str) -> BinaryIO:
        self.size(name)  # a fifo would wait for somebody to write
        return (self.root / name).open("rb", buffering=0)

    def size(self, name: str) -> int:
        status = (self.root / name).stat()
        if not stat.S_ISREG(status.st_mode):
            raise FileNotFoundError(2, "no regular file", name)
        return status.st_size

    def close(self) -> None:
        pass


class Section(io.RawIOBase):
    """A stretch of an open file, read without moving the file's own position."""

    def __init__(self, fd: int, offset: int, size: int) -> None:
        super().__init__()
        self._fd = fd
        self._offset = offset
        self._left = size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        view = memoryview(buffer)[: self._left]
        count = os.preadv(self._fd, [view], self._offset) if len(view) else 0
        self._offset += count
        self._left -= count
        return count


class Archive:
    """Files in a tar archive; a compressed one is unpacked to a temporary file first."""

    def __init__(self, path: Path, *, subject: str) -> None:
        self._subject = subject
        try:
            file: IO[bytes] = path.open("rb")
        except OSError as error:
            raise unreadable(subject, path.name, error) from error
        try:
            magic = file.read(4)
            file.seek(0)
            if magic.startswith(GZIP) or magic == ZSTD:
                with file as packed:
                    file = _decompressed(packed, magic, subject)
            self._file = file
            self._members, self._links = _members(file, subject)
        except BaseException:
            file.close()
            raise

    def open(self, name: str) -> BinaryIO:
        offset, size = self._member(name)
        return Section(self._file.fileno(), offset, size)  # type: ignore[return-value]

    def size(self, name: str) -> int:
        return self._member(name)[1]

    def _member(self, name: str) -> tuple[int, int]:
        """Offset and size; links, by which docker save shares layers, lead inside the archive."""
        found = posixpath.normpath(name)
        for _ in range(LINK_LIMIT):
            if found in self._members:
                return self._members[found]
            if found not in self._links:
                break
            found = self._links[found]
        raise FileNotFoundError(2, "not in the archive", name)

    def close(self) -> None:
        self._file.close()


def _members(
    file: IO[bytes], subject: str
) -> tuple[Mapping[str, tuple[int, int]], Mapping[str, str]]:
    """Where each file's bytes are, and what each link names. A later entry replaces an earlier."""
    import tarfile

    members: dict[str, tuple[int, int]] = {}
    links: dict[str, str] = {}
    try:
        with tarfile.open(fileobj=file, mode="r:") as archive:
            for count, member in enumerate(archive):
                if count >= ENTRY_LIMIT:
                    raise ContentError(f"more than {ENTRY_LIMIT} entries", subject=subject)
                name = posixpath.normpath(member.name)
                if member.isreg() and not member.issparse():
                    members[name] = (member.offset_data, member.size)
                elif member.islnk():
                    links[name] = posixpath.normpath(member.linkname)
                elif member.issym():
                    folder = posixpath.dirname(name)
                    links[name] = posixpath.normpath(posixpath.join(folder, member.linkname))
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise ContentError("not a tar archive that can be read", subject=subject) from error
    return members, links


def _decompressed(packed: IO[bytes], magic: bytes, subject: str) -> IO[bytes]:
    import shutil
    import tempfile
    import zlib

    plain = tempfile.TemporaryFile()  # noqa: SIM115 - closed by whoever opened the archive
    try:
        with open_compressed(packed, magic) as stream:
            shutil.copyfileobj(stream, plain, 1 << 20)
    except (OSError, EOFError, zlib.error, ValueError) as error:
        plain.close()
        raise ContentError("its compression is damaged", subject=subject) from error
    plain.seek(0)
    return plain


def open_compressed(packed: IO[bytes], magic: bytes) -> BinaryIO:
    """The content of a gzip or zstd stream, told apart by its first bytes."""
    if magic.startswith(GZIP):
        import gzip

        return gzip.GzipFile(fileobj=packed)  # type: ignore[return-value]
    import zstandard

    return zstandard.ZstdDecompressor().stream_reader(packed, read_across_frames=True)
