"""Byte streams of an archive: plain, gzip or zstd, written with pinned settings.

One input gives one output: no names, no times, a fixed level, and blocks of a fixed size, so that
the number of threads changes nothing.
"""

from __future__ import annotations

import os
import zlib
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, Protocol

from ..errors import ContentError, DeclarationError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CHUNK = 1 << 20
WINDOW = 1 << 15
GZIP_LEVEL, ZSTD_LEVEL = 6, 3
OTHER_ARCHIVES = (".zip", ".7z", ".txz", ".tbz2", ".gz", ".zst", ".xz", ".bz2", ".cpio")
"""Names that promise what we do not write."""

GZIP_HEAD = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
GZIP_MAGIC, ZSTD_MAGIC = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"


class Sink(Protocol):
    def write(self, data: bytes, /) -> object: ...


def compression_of(name: str) -> str | None:
    """What a file name promises: ``""`` for ``.tar``, ``gzip``, ``zstd``; None for a directory."""
    for suffixes, found in (
        ((".tar",), ""),
        ((".tar.gz", ".tgz"), "gzip"),
        ((".tar.zst", ".tzst"), "zstd"),
    ):
        if name.endswith(suffixes):
            return found
    if ".tar." in name or name.endswith(OTHER_ARCHIVES):
        raise DeclarationError(
            "not a kind of archive that can be written",
            subject=name,
            hint="use .tar, .tar.gz, .tar.zst, or a name without these for a directory",
        )
    return None


@contextmanager
def compressed(stream: IO[bytes], compression: str) -> Iterator[Sink]:
    """Write through to ``stream``, which stays open."""
    if compression == "gzip":
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            sink = GzipSink(stream, pool)
            yield sink
            sink.finish()
    elif compression == "zstd":
        writer = zstd_writer(stream)
        yield writer
        writer.close()
    else:
        yield stream


def zstd_writer(stream: IO[bytes]) -> Any:
    """zstandard carries its own libzstd, so its bytes are pinned with it; else Python's own, told
    to do the same."""
    try:
        import zstandard
    except ImportError:
        zstd = stdlib_zstd()
        names = zstd.CompressionParameter
        options = {names.compression_level: ZSTD_LEVEL, names.checksum_flag: 1}
        return zstd.ZstdFile(stream, "wb", options=options)
    maker = zstandard.ZstdCompressor(level=ZSTD_LEVEL, write_checksum=True)
    return maker.stream_writer(stream, closefd=False)


def stdlib_zstd() -> Any:
    import importlib

    for name in ("compression.zstd", "backports.zstd"):
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise ContentError(
        "zstd needs a library that is not installed",
        subject=".tar.zst",
        hint="pip install zstandard, or use .tar.gz",
    )


class GzipSink:
    """One gzip member, its blocks deflated side by side, each primed with the 32 KiB before it."""

    def __init__(self, stream: IO[bytes], pool: ThreadPoolExecutor) -> None:
        self.stream = stream
        self.pool = pool
        self.pending: deque[Future[bytes]] = deque()
        self.buffer = bytearray()
        self.window = b""
        self.crc = 0
        self.length = 0
        stream.write(GZIP_HEAD)

    def write(self, data: bytes) -> int:
        self.crc = zlib.crc32(data, self.crc)
        self.length += len(data)
        self.buffer += data
        while len(self.buffer) >= CHUNK:
            self.deflate(bytes(self.buffer[:CHUNK]))
            del self.buffer[:CHUNK]
        return len(data)

    def deflate(self, block: bytes) -> None:
        self.pending.append(self.pool.submit(deflate_block, block, self.window))
        self.window = block[-WINDOW:]
        if len(self.pending) > 16:
            self.stream.write(self.pending.popleft().result())

    def finish(self) -> None:
        if self.buffer:
            self.deflate(bytes(self.buffer))
        while self.pending:
            self.stream.write(self.pending.popleft().result())
        last = b"\x03\x00"
        tail = self.crc.to_bytes(4, "little") + (self.length & 0xFFFFFFFF).to_bytes(4, "little")
        self.stream.write(last + tail)


def deflate_block(block: bytes, window: bytes) -> bytes:
    if window:
        engine = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, -15, 8, 0, window)
    else:
        engine = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, -15, 8, 0)
    return engine.compress(block) + engine.flush(zlib.Z_SYNC_FLUSH)


class ArchiveReader:
    """Reads an archive of any of the three kinds; every fault in it is a ContentError."""

    def __init__(self, stream: Any, subject: str) -> None:
        self.stream = stream
        self.subject = subject

    def read(self, size: int) -> bytes:
        """Up to ``size`` bytes, fewer at the end only."""
        parts: list[bytes] = []
        while size:
            try:
                part = self.stream.read(min(size, CHUNK))
            except Exception as problem:
                if isinstance(problem, MemoryError):
                    raise
                raise ContentError(f"damaged archive: {problem}", subject=self.subject) from problem
            if not part:
                break
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def exactly(self, size: int) -> bytes:
        """``size`` bytes. Raises: ContentError where the archive ends before."""
        found = self.read(size)
        if len(found) != size:
            raise ContentError("the archive ends too early", subject=self.subject)
        return found


@contextmanager
def open_archive(path: Path) -> Iterator[ArchiveReader]:
    """Open for reading, by content and not by name. Raises: ContentError."""
    with path.open("rb") as raw:
        magic = raw.read(4)
        raw.seek(0)
        stream: Any = raw
        if magic.startswith(GZIP_MAGIC):
            stream = gzip_reader(raw)
        elif magic == ZSTD_MAGIC:
            stream = zstd_reader(raw)
        yield ArchiveReader(stream, path.name)


def gzip_reader(raw: IO[bytes]) -> Any:
    engine: Any
    try:
        import isal.igzip as engine
    except ImportError:
        import gzip as engine
    return engine.GzipFile(fileobj=raw, mode="rb")


def zstd_reader(raw: IO[bytes]) -> Any:
    try:
        import zstandard
    except ImportError:
        return stdlib_zstd().ZstdFile(raw, "rb")
    return zstandard.ZstdDecompressor().stream_reader(raw, closefd=False)
