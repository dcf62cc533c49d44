"""Whiteout: what the last component of a layer entry's name says of the layers below.

Spec: image-spec 1.1 layer.md, "Whiteouts" and "Opaque Whiteout".
"""

from __future__ import annotations

from ..errors import InvalidWhiteout

PREFIX = b".wh."
AUFS_PREFIX = b".wh..wh."
OPAQUE = b".wh..wh..opq"


def is_whiteout(name: bytes) -> bool:
    return name.startswith(PREFIX)


def parse_whiteout(name: bytes) -> bytes:
    """The name that a whiteout removes; empty for an opaque one, and for what AUFS keeps to itself.

    >>> parse_whiteout(b".wh.passwd")
    b'passwd'
    >>> parse_whiteout(OPAQUE)
    b''

    Raises: InvalidWhiteout for names that would remove nothing, the directory or its parent.
    """
    if name.startswith(AUFS_PREFIX):
        return b""
    removed = name[len(PREFIX) :]
    if removed in (b"", b".", b".."):
        raise InvalidWhiteout(
            "a whiteout must name what it removes; this one names "
            + ("nothing" if not removed else "the directory itself or its parent"),
            subject=repr(name),
        )
    return removed
