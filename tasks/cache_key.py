"""The key under which a CI's own cache keeps the state directory, and what to fall back to.

Any older state directory is a good start: what the lock does not name any more is ignored, and
``gc`` takes it away.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .oci.digest import digest_bytes
from .value import Value

if TYPE_CHECKING:
    from .oci.platform import Platform

STATE_FORMAT = 1
"""Bumped when an older state directory is of no use at all."""


class CacheKey(Value):
    """``restore`` are prefixes, the best first."""

    key: str
    restore: tuple[str, ...]


def cache_key(*, lock: bytes, host: Platform, prefix: str = "doit-oci") -> CacheKey:
    """From the lock's bytes: equal locks have equal keys, whoever asks.

    >>> from .oci.platform import Platform
    >>> cache_key(lock=b"", host=Platform("linux", "amd64")).restore
    ('doit-oci-1-linux-amd64-',)
    """
    parts = [prefix, str(STATE_FORMAT), host.os, host.architecture, host.variant]
    start = "-".join(part for part in parts if part) + "-"
    return CacheKey(key=start + digest_bytes(lock).encoded[:32], restore=(start,))
