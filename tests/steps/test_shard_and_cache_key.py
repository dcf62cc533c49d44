"""Splits and keys that are the same everywhere."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.cache_key import cache_key
from tasks.errors import DeclarationError
from tasks.oci.platform import Platform
from tasks.shard import parse_shard, shard, shard_of

GOLDEN_SPLIT = [4, 3, 4, 2, 1, 5, 2, 5, 2, 2, 5, 5]
KEYS = {f"image-{number}": f"{number:064x}" for number in range(1000)}


@given(keys=st.dictionaries(st.text(), st.text(), max_size=30), count=st.integers(1, 20))
def test_every_name_is_in_exactly_one_shard(keys: dict[str, str], count: int) -> None:
    found = [name for k in range(1, count + 1) for name in shard(keys, number=k, count=count)]
    assert sorted(found) == sorted(keys)


def test_a_shard_does_not_depend_on_the_order_or_on_the_others() -> None:
    backwards = dict(reversed(KEYS.items()))
    for number in (1, 2, 3):
        expected = set(shard(KEYS, number=number, count=3))
        assert set(shard(backwards, number=number, count=3)) == expected
        half = dict(list(KEYS.items())[::2])
        assert set(shard(half, number=number, count=3)) == expected & half.keys()


def test_shards_are_about_equally_large() -> None:
    sizes = [len(shard(KEYS, number=number, count=8)) for number in range(1, 9)]
    assert sum(sizes) == 1000
    assert min(sizes) > 90
    assert max(sizes) < 165


def test_one_machine_more_moves_only_what_it_takes() -> None:
    moved = [key for key in KEYS.values() if shard_of(key, 8) != shard_of(key, 9)]
    assert 50 < len(moved) < 190
    assert {shard_of(key, 9) for key in moved} == {9}


def test_any_number_of_machines_is_as_quick_as_a_few() -> None:
    count = 10**12
    found = {shard_of(key, count) for key in KEYS.values()}
    assert len(found) > 990
    assert min(found) >= 1
    assert max(found) <= count


def test_the_split_is_the_golden_one() -> None:
    assert [shard_of(f"{number:064x}", 5) for number in range(12)] == GOLDEN_SPLIT


@pytest.mark.parametrize(
    "text", ["", "0/3", "4/3", "1", "1/", "/2", "a/b", "1/2/3", "-1/3", "1.0/2"]
)
def test_what_is_no_shard_is_refused(text: str) -> None:
    with pytest.raises(DeclarationError, match="expected K/N"):
        parse_shard(text)


def test_cache_key_follows_the_lock_and_the_platform_alone() -> None:
    amd64 = Platform("linux", "amd64")
    one = cache_key(lock=b"{}", host=amd64)
    assert one == cache_key(lock=b"{}", host=amd64)
    assert one.key.startswith(one.restore[0])
    assert one.key != cache_key(lock=b"{} ", host=amd64).key
    assert not cache_key(lock=b"{}", host=Platform("linux", "arm64")).key.startswith(one.restore)
    assert one.key == "doit-oci-1-linux-amd64-44136fa355b3678a1146ad16f7e8649e"
