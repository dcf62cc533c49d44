"""Shards: the same split of the bundles everywhere, by key, for matrices that have no cluster."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from .errors import DeclarationError

if TYPE_CHECKING:
    from collections.abc import Mapping


MULTIPLIER = 2862933555777941757
"""Of a linear congruential generator over 64 bits."""

DIGITS = 40
"""Characters of K/N: Python refuses to read a number of thousands."""


def parse_shard(text: str) -> tuple[int, int]:
    """``K/N``, counted from one.

    >>> parse_shard("2/5")
    (2, 5)

    Raises: DeclarationError.
    """
    first, slash, second = text.partition("/")
    if slash and first.isdecimal() and second.isdecimal() and len(text) < DIGITS:
        found = int(first), int(second)
        if 1 <= found[0] <= found[1]:
            return found
    raise DeclarationError(
        "not a shard; expected K/N with K from 1 to N",
        subject=text,
        hint="the second of five machines takes --shard 2/5",
    )


def shard(keys: Mapping[str, str], *, number: int, count: int) -> list[str]:
    """The names of one shard; ``keys`` maps each name to a text that is the same everywhere.

    A name stays where it is when others come or go. Equal keys go together, so that no two
    machines build one thing.
    """
    return [name for name, key in keys.items() if shard_of(key, count) == number]


def shard_of(key: str, count: int) -> int:
    """From 1 to ``count``; one more machine moves 1/N, all of it to itself.

    Jump consistent hashing: as if one machine came after the other, and drew each time whether it
    takes the key. Only the draws that it wins are made, about ln N of them.
    """
    state = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big")
    taken, drawn = 0, 0
    while drawn < count:
        taken = drawn
        state = (state * MULTIPLIER + 1) % (1 << 64)
        drawn = ((taken + 1) << 31) // ((state >> 33) + 1)
    return taken + 1
