"""Decompressors: each gives bounded pieces of the uncompressed stream, whatever the input is.

Spec: RFC 1952 (several members make one stream), RFC 8878 (several and skippable frames).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ...errors import ContentError, UnsupportedMediaType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol
else:
    Protocol = object

PIECE = 1 << 19
"""Most bytes that one piece holds."""

PACKED_READ = 1 << 17

GZIP_MAGIC = b"\x1f\x8b"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
OTHERS = {b"BZh": "bzip2", b"\xfd7zXZ\x00": "xz", b"\x04\x22\x4d\x18": "lz4"}
MOST_ZSTD_WINDOW = 1 << 27

Read = Callable[[int], bytes]


class _Member(Protocol):
    """One gzip member being inflated."""

    def feed(self, packed: bytes) -> bytes: ...
    @property
    def wants_input(self) -> bool: ...
    def at_end(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...


class _IsalMember:
    def __init__(self) -> None:
        from isal import igzip_lib

        self._inner: Any = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)

    def feed(self, packed: bytes) -> bytes:
        found: bytes = self._inner.decompress(packed, PIECE)
        return found

    @property
    def wants_input(self) -> bool:
        return bool(self._inner.needs_input)

    def at_end(self) -> bool:
        return bool(self._inner.eof)

    @property
    def unused_data(self) -> bytes:
        found: bytes = self._inner.unused_data
        return found


class _ZlibMember:
    def __init__(self) -> None:
        import zlib

        self._inner = zlib.decompressobj(wbits=31)
        self._full = False

    def feed(self, packed: bytes) -> bytes:
        found = self._inner.decompress(self._inner.unconsumed_tail + packed, PIECE)
        self._full = len(found) == PIECE
        return found

    @property
    def wants_input(self) -> bool:
        return not self._inner.unconsumed_tail and not self._full

    def at_end(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data


def compression_of(head: bytes, *, subject: str) -> str:
    """``gzip``, ``zstd`` or, for anything else, an empty text: by content, never by name.

    Raises: UnsupportedMediaType for compressions that no layer may have.
    """
    if head.startswith(GZIP_MAGIC):
        return "gzip"
    if head.startswith(ZSTD_MAGIC) or (head[1:4] == b"\x2a\x4d\x18" and head[0] & 0xF0 == 0x50):
        return "zstd"
    for magic, name in OTHERS.items():
        if head.startswith(magic):
            raise UnsupportedMediaType(
                f"the layer is compressed with {name}; expected gzip, zstd or nothing",
                subject=subject,
                hint="convert the image, for example with skopeo copy --dest-compress",
            )
    return ""


def _gzip_member() -> tuple[Callable[[], _Member], tuple[type[Exception], ...]]:
    """What inflates one member here, and what it raises for a damaged one."""
    import zlib

    try:
        from isal import igzip_lib
    except ImportError:
        return _ZlibMember, (zlib.error, EOFError)
    failure: Any = igzip_lib.error
    return _IsalMember, (failure, EOFError)


def gunzip(read: Read, *, subject: str) -> Iterator[bytes]:
    """Every member of a gzip stream; zeros after the last one are padding. Raises: ContentError."""
    new_member, failures = _gzip_member()
    rest = read(PACKED_READ)
    while rest:
        member = new_member()
        try:
            while not member.at_end():
                piece = member.feed(rest)
                if piece:
                    yield piece
                if member.at_end():
                    break
                rest = read(PACKED_READ) if member.wants_input else b""
                if not rest and member.wants_input:
                    raise ContentError("the gzip stream ends too early", subject=subject)
        except failures as error:
            raise ContentError(f"the gzip stream is damaged: {error}", subject=subject) from error
        rest = member.unused_data or read(PACKED_READ)
        while rest and not rest.strip(b"\0"):
            rest = read(PACKED_READ)


def unzstd(read: Read, *, subject: str) -> Iterator[bytes]:
    """Every frame of a zstd stream, skippable ones skipped. Raises: ContentError."""
    try:
        import zstandard
    except ImportError:
        yield from _unzstd_stdlib(read, subject=subject)
        return

    class Source:
        def read(self, size: int) -> bytes:
            return read(size)

    unpacker = zstandard.ZstdDecompressor(max_window_size=MOST_ZSTD_WINDOW)
    source: Any = Source()
    with unpacker.stream_reader(
        source, read_size=PACKED_READ, read_across_frames=True, closefd=False
    ) as reader:
        while True:
            try:
                piece = reader.read(PIECE)
            except zstandard.ZstdError as error:
                raise ContentError(
                    f"the zstd stream is damaged: {error}", subject=subject
                ) from error
            if not piece:
                return
            yield piece


def _unzstd_stdlib(read: Read, *, subject: str) -> Iterator[bytes]:
    try:
        from compression import zstd  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        raise UnsupportedMediaType(
            "the layer is compressed with zstd, and no zstd library is installed",
            subject=subject,
            hint="pip install zstandard",
        ) from None
    rest = read(PACKED_READ)
    while rest:
        frame: Any = zstd.ZstdDecompressor()
        try:
            while not frame.eof:
                piece = frame.decompress(rest, PIECE)
                if piece:
                    yield piece
                if frame.eof:
                    break
                rest = read(PACKED_READ) if frame.needs_input else b""
                if not rest and frame.needs_input:
                    raise ContentError("the zstd stream ends too early", subject=subject)
        except (zstd.ZstdError, EOFError) as error:
            raise ContentError(f"the zstd stream is damaged: {error}", subject=subject) from error
        rest = frame.unused_data or read(PACKED_READ)


def plain(read: Read) -> Iterator[bytes]:
    """An uncompressed stream."""
    while piece := read(PIECE):
        yield piece


def pieces(compression: str, read: Read, *, subject: str) -> Iterator[bytes]:
    """The uncompressed stream of what ``read`` gives. Raises: ContentError and its kinds."""
    if compression == "gzip":
        return gunzip(read, subject=subject)
    if compression == "zstd":
        return unzstd(read, subject=subject)
    return plain(read)
