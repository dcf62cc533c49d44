"""The fuzz target's seeds pass, and so do seeds with a few bytes changed (a fixed choice)."""

from __future__ import annotations

import random

from tasks.store.layers.merge import Tree
from tests.fuzz.fuzz_layers import apply_stack, check_one, seeds


def test_seeds_are_layers() -> None:
    for seed in seeds():
        assert isinstance(apply_stack(seed), Tree)


def test_damaged_seeds_are_refused_or_read() -> None:
    chance = random.Random(11)
    for seed in seeds():
        for _ in range(150):
            data = bytearray(seed)
            for _ in range(chance.randint(1, 4)):
                data[chance.randrange(len(data))] = chance.choice(b"\x00\xff/.0179 =\n5xgLKS")
            check_one(bytes(data))
            check_one(fixed_checksums(bytes(data)))


def fixed_checksums(data: bytes) -> bytes:
    """The same with each header's checksum made right, so that damage gets further."""
    out = bytearray(data)
    for start in range(0, len(out) - 511, 512):
        if out[start + 257 : start + 262] == b"ustar":
            out[start + 148 : start + 156] = b" " * 8
            out[start + 148 : start + 156] = f"{sum(out[start : start + 512]):06o}\0 ".encode()
    return bytes(out)
