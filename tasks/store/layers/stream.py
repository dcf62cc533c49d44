"""LayerStream: a blob's uncompressed pieces, with every digest and size checked on the way."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator

from ...errors import DigestMismatch, SizeMismatch
from ...oci.digest import new_hash
from ...oci.media_type import LAYER_COMPRESSION
from ..blob_stamp import is_stamped, stamp
from .inflate import compression_of, pieces
from .source import LayerSource, UnpackLimits, over

RATIO_FLOOR = 1 << 20
"""Below so many unpacked bytes no compression ratio is suspicious."""


class LayerStream:
    """Iterate once over :meth:`pieces` to its end; then all that the descriptor says is true.

    The packed bytes are not hashed again where the file is stamped as verified: the hash of what
    they unpack to decides, and only where that is wrong are they looked at.

    ``advance`` is told how many packed bytes were read.
    """

    def __init__(
        self,
        descriptor_file: int,
        source: LayerSource,
        limits: UnpackLimits,
        *,
        advance: Callable[[int], None],
        note: Callable[[str], None],
    ) -> None:
        self._file = descriptor_file
        self._source = source
        self._limits = limits
        self._advance = advance
        self._note = note
        self._packed_hash = (
            None
            if is_stamped(descriptor_file, source.descriptor.digest)
            else new_hash(source.descriptor.digest.algorithm)
        )
        self._mtime = os.fstat(descriptor_file).st_mtime_ns
        self._packed_size = 0
        self._head = b""
        self.subject = f"layer {source.descriptor.digest}"

    def _read_file(self, size: int) -> bytes:
        if self._packed_size + size > self._source.descriptor.size:
            size = self._source.descriptor.size - self._packed_size + 1
        found = os.read(self._file, size)
        if self._packed_hash is not None:
            self._packed_hash.update(found)
        self._packed_size += len(found)
        if self._packed_size > self._source.descriptor.size:
            raise SizeMismatch(
                subject=self.subject,
                expected=self._source.descriptor.size,
                actual=os.fstat(self._file).st_size,
            )
        self._advance(len(found))
        return found

    def _read(self, size: int) -> bytes:
        if self._head:
            found, self._head = self._head, b""
            return found
        return self._read_file(size)

    def pieces(self) -> Generator[bytes, None, None]:
        """The uncompressed stream. Raises: ContentError and its kinds, LimitExceeded."""
        self._head = self._read_file(1 << 16)
        compression = compression_of(self._head, subject=self.subject)
        self._compare_with_name(compression)
        running = new_hash(self._source.diff_id.algorithm)
        total = 0
        for piece in pieces(compression, self._read, subject=self.subject):
            running.update(piece)
            total += len(piece)
            if total > RATIO_FLOOR and total > self._packed_size * self._limits.compression_ratio:
                raise over(
                    "compression_ratio",
                    f"unpacks to more than {self._limits.compression_ratio} times its size",
                    subject=self.subject,
                )
            yield piece
        self._verify(running.hexdigest())

    def _compare_with_name(self, compression: str) -> None:
        media_type = self._source.descriptor.media_type
        said = LAYER_COMPRESSION.get(media_type)
        if self._head and said is not None and said != compression:
            self._note(
                f"{self.subject} is called {media_type} but is "
                f"{compression or 'not compressed'}; its content decides"
            )

    def _verify(self, unpacked_hex: str) -> None:
        while self._read_file(1 << 16):
            pass
        descriptor, diff_id = self._source.descriptor, self._source.diff_id
        if self._packed_size != descriptor.size:
            raise SizeMismatch(
                subject=self.subject, expected=descriptor.size, actual=self._packed_size
            )
        is_wrong = unpacked_hex != diff_id.encoded
        if self._packed_hash is not None or is_wrong:
            self._verify_packed()
        if is_wrong:
            raise DigestMismatch(
                subject=f"{self.subject} unpacked",
                expected=str(diff_id),
                actual=f"{diff_id.algorithm}:{unpacked_hex}",
                hint="the image's configuration lists another diff_id; the image is broken",
            )

    def _verify_packed(self) -> None:
        digest = self._source.descriptor.digest
        running = self._packed_hash
        if running is None:
            running = new_hash(digest.algorithm)
            os.lseek(self._file, 0, os.SEEK_SET)
            while piece := os.read(self._file, 1 << 20):
                running.update(piece)
        if running.hexdigest() != digest.encoded:
            raise DigestMismatch(
                subject=self.subject,
                expected=str(digest),
                actual=f"{digest.algorithm}:{running.hexdigest()}",
                hint="the stored blob is damaged: remove it, and the next run fetches it again",
            )
        if self._packed_hash is not None and os.fstat(self._file).st_mtime_ns == self._mtime:
            stamp(self._file, digest)
