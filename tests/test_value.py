"""Value: records as people know them from dataclasses, and held to that."""

from __future__ import annotations

import copy
import pickle
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.value import Value


class Named(Value):
    name: str
    size: int = 0
    tags: tuple[str, ...] = ()


class Placed(Value, kw_only=False):
    """Refuses what it must not hold."""

    left: int
    right: int = 7

    def __post_init__(self) -> None:
        if self.left < 0:
            raise ValueError("negative")


@dataclass(frozen=True, slots=True)
class Peer:
    left: int
    right: int = 7


def test_defaults_stand_in_and_repr_shows_every_field() -> None:
    assert repr(Named(name="a", tags=("x",))) == "Named(name='a', size=0, tags=('x',))"
    assert Placed(1) == Placed(1, 7) == Placed(left=1, right=7)


@given(st.integers(0), st.integers(), st.integers(0), st.integers())
def test_equality_and_hash_are_those_of_a_dataclass(a: int, b: int, c: int, d: int) -> None:
    ours, theirs = Placed(a, b) == Placed(c, d), Peer(a, b) == Peer(c, d)
    assert ours is theirs
    assert not ours or hash(Placed(a, b)) == hash(Placed(c, d))


def test_classes_of_equal_fields_are_not_equal() -> None:
    class Other(Value, kw_only=False):
        left: int
        right: int = 7

    assert Placed(1) != Other(1)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (Named, "lacks 'name'"),
        (lambda: Named(name="a", colour=1), "has no colour"),
        (lambda: Named("a"), "takes its fields by name"),
        (lambda: Placed(1, 2, 3), "takes its fields by name"),
        (lambda: Placed(1, left=2), "'left' twice"),
        (lambda: Placed(right=2), "lacks 'left'"),
    ],
)
def test_wrong_fields_are_refused(make: Any, said: str) -> None:
    with pytest.raises(TypeError, match=said):
        make()


def test_a_record_cannot_be_changed_nor_grow() -> None:
    found: Any = Named(name="a")
    for change in (
        lambda: setattr(found, "name", "b"),
        lambda: setattr(found, "colour", 1),
        lambda: delattr(found, "name"),
    ):
        with pytest.raises(AttributeError):
            change()
    assert found.name == "a"


def test_what_is_refused_is_refused_in_a_copy_too() -> None:
    with pytest.raises(ValueError, match="negative"):
        Placed(-1)
    with pytest.raises(ValueError, match="negative"):
        Placed(1).replacing(left=-1)
    assert Placed(1).replacing(left=3) == Placed(3)


def test_records_travel() -> None:
    found = Named(name="a", size=3)
    assert pickle.loads(pickle.dumps(found)) == copy.deepcopy(found) == found
