"""Complete a layer whose pool lacks files that upper layers hid: only those are written.

The layer's stream is read again from the start, verified as ever, and what the pool has is passed
over.
"""

from __future__ import annotations

from collections.abc import Iterator

from . import index
from .pool import Metadata, Pool

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .pool import Content
    from .tar_reader import Member


class Completing(Pool):
    """Takes the members of a layer again; ``old`` are the records of its index, in their order."""

    def __init__(
        self, fd: int, path: str, metadata: Metadata, old: Iterator[tuple[bytes, bytes]]
    ) -> None:
        super().__init__(fd, path, metadata)
        self._old = enumerate(old)

    def add_file(self, number: int, member: Member, content: Content) -> bytes:
        sha256 = next(index.sha256_of(record) for at, (_, record) in self._old if at == number)
        if sha256.startswith(index.LACKING):
            return super().add_file(number, member, content)
        return sha256

    def add_symlink(self, number: int, member: Member) -> None:
        """It is there."""

    def add_node(self, number: int, member: Member, content: Content) -> None:
        """It is there."""
