"""Digest: ``algorithm:encoded`` over exact bytes.

Spec: image-spec 1.1 descriptor.md, "Digests" and "Registered algorithms".
"""

from __future__ import annotations

from ..errors import InvalidDigest
from ..value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    import hashlib
    from typing import NewType

HEX_LENGTH = {"sha256": 64, "sha512": 128}
HEX_DIGITS = frozenset("0123456789abcdef")


class Digest(Value, kw_only=False):
    """A digest that is known to be well formed, so that it may stand in a path or a URL."""

    algorithm: str
    encoded: str

    def __post_init__(self) -> None:
        length = HEX_LENGTH.get(self.algorithm)
        if length is None or len(self.encoded) != length or not HEX_DIGITS.issuperset(self.encoded):
            text = f"{self.algorithm}:{self.encoded}"
            raise InvalidDigest(
                "not a digest; expected sha256 or sha512, a colon, and lower-case hexadecimal",
                subject=text[:160],
            )

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.encoded}"

    @property
    def short(self) -> str:
        """Twelve characters, for people only."""
        return self.encoded[:12]


if TYPE_CHECKING:
    DiffID = NewType("DiffID", Digest)
    """The digest of a layer's uncompressed tar stream."""

    ChainID = NewType("ChainID", Digest)
    """The digest of a stack of DiffIDs."""
else:

    def DiffID(digest):  # noqa: N802 - a type, to whoever checks types
        return digest

    ChainID = DiffID


def parse_digest(text: str) -> Digest:
    """Parse ``algorithm:encoded``.

    >>> parse_digest("sha256:" + "0" * 64).short
    '000000000000'

    Raises: InvalidDigest.
    """
    algorithm, _, encoded = text.partition(":")
    return Digest(algorithm, encoded)


def new_hash(algorithm: str) -> hashlib._Hash:
    """A running hash of a registered algorithm."""
    import hashlib

    return hashlib.new(algorithm, usedforsecurity=False)


def digest_bytes(content: bytes, algorithm: str = "sha256") -> Digest:
    """The digest of bytes in memory."""
    running = new_hash(algorithm)
    running.update(content)
    return Digest(algorithm, running.hexdigest())
