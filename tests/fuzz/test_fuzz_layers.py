"""The fuzz target's seeds pass, and so do seeds with a few bytes changed (a fixed choice)."""

from __future__ import annotations

import random

from tasks.store.layers.merge import Tree
from tests.fuzz.fuzz_layers import apply_stack, check_one, fixed_checksums, seeds


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
