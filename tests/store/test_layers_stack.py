"""Kept stacks: an image that begins as one before it did is built from what was kept of that one,
and is what it would be without."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.errors import LayerError
from tasks.store.layers import merging
from tasks.store.layers.merge import Tree
from tests.support.layer_stacks import stacks
from tests.support.layers import Images, item, tar
from tests.support.trees import scan_entries

SLOW = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
BASE = tar([item("a/"), *(item(f"a/{number}", str(number)) for number in range(20)), item("b/")])
MIDDLE = tar(
    [item("b/"), item("b/c/"), item("b/c/file", "x"), item("b/d/e", "y"), item("b/t", "t")]
)
UPPER = {
    "another file": [item("a/more", "more")],
    "a whiteout": [item("b/c/.wh.file")],
    "an opaque directory": [item("b/.wh..wh..opq")],
    "a directory that goes": [item("b", link="a")],
    "another mode of a directory": [item("b/c/", mode=0o700)],
    "a parent that is not there": [item("n/e/w", "new")],
    "a hard link to what is below": [item("l", type="link", link="b/c/file")],
    "the first name goes": [item("a/.wh.0"), item("z", type="link", link="a/1")],
    "nothing": [],
}


@pytest.fixture(autouse=True)
def keeping() -> Iterator[None]:
    """Also the smallest stacks are kept."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(merging, "WORTH_KEEPING", 0)
        yield


def merged(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The positions of the layers that are merged from now on."""
    found: list[int] = []
    apply = Tree.apply

    def seen(tree: Tree, position: int, *arguments: Any, **more: Any) -> None:
        found.append(position)
        apply(tree, position, *arguments, **more)

    monkeypatch.setattr(Tree, "apply", seen)
    return found


def kept(images: Images, name: str) -> Path:
    (found,) = (images.state / "layers/sha256").glob(f"*/{name}")
    return found


@pytest.mark.parametrize("first", UPPER)
@pytest.mark.parametrize("second", UPPER)
def test_only_another_top_layer_is_merged(
    images: Images, monkeypatch: pytest.MonkeyPatch, first: str, second: str
) -> None:
    images.build(BASE, MIDDLE, tar(UPPER[first]), name="first")
    positions = merged(monkeypatch)
    for name in ("second", "third"):
        rootfs, found = images.build(BASE, MIDDLE, tar(UPPER[second]), name=name)
        assert scan_entries(rootfs) == list(found.values())
    assert positions == [2, 2]


def test_most_of_the_list_is_copied(images: Images) -> None:
    """Shown by a kept list that says something else."""
    images.build(BASE, MIDDLE, tar(UPPER["another file"]), name="first")
    listing = kept(images, "listing")
    before = listing.stat()
    lie = listing.read_bytes().replace(b'"path":"b/c/file"', b'"path":"b/c/life"')
    listing.write_bytes(lie)
    os.utime(listing, ns=(before.st_atime_ns, before.st_mtime_ns))
    _, found = images.build(BASE, MIDDLE, tar(UPPER["nothing"]), name="second")
    assert "b/c/life" in found
    # Where the directory was touched it is listed anew; so is all where links may have changed.
    for upper in ("a whiteout", "another mode of a directory", "a hard link to what is below"):
        _, found = images.build(BASE, MIDDLE, tar(UPPER[upper]), name="second")
        assert ("b/c/life" in found) == (upper == "another mode of a directory"), upper


def test_a_derived_image_begins_where_its_base_ended(
    images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    images.build(BASE, MIDDLE, name="base")
    positions = merged(monkeypatch)
    layers = BASE, MIDDLE, tar(UPPER["a whiteout"]), tar(UPPER["another file"])
    rootfs, found = images.build(*layers, name="derived")
    assert positions == [1, 2, 3]
    assert scan_entries(rootfs) == list(found.values())
    images.build(*layers, name="again")
    assert positions == [1, 2, 3, 3]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def other(path: Path) -> None:
    line, _, rest = path.read_bytes().partition(b"\n")
    path.write_bytes(line.replace(b'"boot"', b'"toob"') + b"\n" + rest)


@pytest.mark.parametrize("name", ["stack", "listing", "listed"])
@pytest.mark.parametrize("harm", [cut, empty, other, os.unlink])
def test_what_is_damaged_is_not_used(
    images: Images, name: str, harm: Callable[[Path], None]
) -> None:
    images.build(BASE, MIDDLE, tar(UPPER["a whiteout"]), name="first")
    harm(kept(images, name))
    rootfs, found = images.build(BASE, MIDDLE, tar(UPPER["another file"]), name="second")
    assert scan_entries(rootfs) == list(found.values())


def test_layers_that_were_unpacked_anew_are_merged_anew(
    images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, top = images.layer(BASE), tar(UPPER["a whiteout"])
    images.build(base, MIDDLE, top, name="first")
    facts = images.state / "layers/sha256" / base.diff_id.encoded / "layer.json"
    facts.write_text(json.dumps(json.loads(facts.read_bytes()) | {"format": 0}))
    positions = merged(monkeypatch)
    rootfs, found = images.build(base, MIDDLE, top, name="second")
    assert positions == [0, 1, 2]
    assert scan_entries(rootfs) == list(found.values())


@given(stacks(), st.data())
@settings(max_examples=100, deadline=None, suppress_health_check=SLOW)
def test_another_top_layer_gives_what_it_gives_without(stack: list[list[Any]], data: Any) -> None:
    """Whatever the layers are, and whatever was built before."""
    below = [tar(layer) for layer in stack]
    tops = [tar(layer) for layer in data.draw(stacks())]
    with tempfile.TemporaryDirectory() as place:
        images = Images(Path(place) / "state")
        for number, top in enumerate([*tops, *tops]):
            fresh = Images(Path(place) / str(number))
            found: list[Any] = []
            for each in (images, fresh):
                try:
                    rootfs, entries = each.build(*below, top)
                except LayerError as error:
                    found.append(error.message)
                else:
                    found.append(entries)
                    assert scan_entries(rootfs) == list(entries.values())
            assert found[0] == found[1]
