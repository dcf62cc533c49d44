"""Files that upper layers hide have no inode, and get one when an image shows them: large ones are
left out of their layer, small ones are held in one file."""

from __future__ import annotations

import json
import os
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tasks.errors import ContentError
from tasks.store.layers import unpack
from tasks.store.layers.cover import WORTH_LEAVING
from tasks.store.layers.held import HELD_FILE
from tasks.store.layers.index import pool_name
from tests.support.layers import Images, item, tar
from tests.support.trees import scan_entries

SMALL = os.urandom(1000)
LARGE = os.urandom(WORTH_LEAVING)
OTHER = os.urandom(WORTH_LEAVING)


def held(images: Images) -> list[Path]:
    """The files of what layers hold."""
    return list((images.state / "layers/sha256").glob("*/held"))


def pool_sizes(images: Images) -> list[int]:
    """Sizes of all files in all pools."""
    pools = (images.state / "layers/sha256").glob("*/pool/*")
    return sorted(path.lstat().st_size for path in pools)


BASE = tar([item("d/"), item("d/large", LARGE), item("d/small", SMALL), item("other", OTHER)])
HIDING = [
    ("a file over it", [item("d/large", "new")]),
    ("a whiteout", [item("d/.wh.large")]),
    ("an opaque whiteout", [item("d/.wh..wh..opq")]),
    ("a whiteout of its directory", [item(".wh.d")]),
    ("a file in place of its directory", [item("d", "file")]),
    ("a symlink in place of its directory", [item("d", link="elsewhere")]),
    ("an opaque root", [item(".wh..wh..opq"), item("other", "o")]),
]


@pytest.mark.parametrize(("what", "upper"), HIDING, ids=[what for what, _ in HIDING])
def test_a_hidden_file_is_not_written(images: Images, what: str, upper: list[Any]) -> None:
    rootfs, found = images.build(BASE, tar(upper))
    assert "d/large" not in found or found["d/large"].size == 3
    assert scan_entries(rootfs) == list(found.values())
    sizes = pool_sizes(images)
    assert sizes.count(WORTH_LEAVING) == (0 if what == "an opaque root" else 1)
    assert sizes.count(len(SMALL)) == ("d/small" in found)


def test_another_image_gets_what_the_first_left_out(images: Images) -> None:
    images.build(BASE, tar([item("d/.wh.large")]), name="first")
    before = images.rootfs("first").joinpath("other").stat().st_ino
    rootfs, found = images.build(BASE, name="second")
    assert rootfs.joinpath("d/large").read_bytes() == LARGE
    assert scan_entries(rootfs) == list(found.values())
    # What was there already is shared with the first image as ever.
    assert rootfs.joinpath("other").stat().st_ino == before
    assert not images.rootfs("first").joinpath("d/large").exists()


def test_what_was_made_whole_is_not_read_again(images: Images) -> None:
    layers = [images.layer(stream) for stream in (BASE, tar([item("d/.wh.large")]))]
    images.build(*layers, name="first")
    images.build(layers[0], name="second")
    layers[0].path.unlink()
    rootfs, _ = images.build(layers[0], name="third")
    assert rootfs.joinpath("d/large").read_bytes() == LARGE


@pytest.mark.parametrize(
    ("lower", "upper", "seen"),
    [
        ([item("a", LARGE), item("b", type="link", link="a")], [item(".wh.a")], "b"),
        ([item("l", link="d"), item("d/"), item("l/x", LARGE)], [item("l", link="e")], "d/x"),
        ([item("d/"), item("d/x", LARGE), item("l", link="d")], [item("l/x", "new")], ""),
    ],
    ids=["a hard link stays", "written through a symlink that goes", "hidden through a symlink"],
)
def test_names_that_mislead_change_nothing(
    images: Images, lower: list[Any], upper: list[Any], seen: str
) -> None:
    rootfs, found = images.build(tar(lower), tar(upper))
    assert scan_entries(rootfs) == list(found.values())
    if seen:
        assert rootfs.joinpath(seen).read_bytes() == LARGE


def test_a_layer_half_made_whole_is_taken_up(
    images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if the process had died after each step of putting what was missing in place."""
    images.build(BASE, tar([item("d/.wh.large")]), name="first")
    replace = os.replace

    def dies(dying: str, source: Any, target: Any) -> None:
        if Path(target).name == dying:
            raise KeyboardInterrupt
        replace(source, target)

    for dying in (unpack.INDEX_FILE, unpack.LAYER_FILE):
        monkeypatch.setattr(os, "replace", partial(dies, dying))
        with pytest.raises(KeyboardInterrupt):
            images.build(BASE, name="second")
        monkeypatch.undo()
    rootfs, found = images.build(BASE, name="second")
    assert rootfs.joinpath("d/large").read_bytes() == LARGE
    assert scan_entries(rootfs) == list(found.values())


def test_a_damaged_blob_is_found_while_a_layer_is_made_whole(images: Images) -> None:
    layers = [images.layer(stream) for stream in (BASE, tar([item("d/.wh.large")]))]
    images.build(*layers, name="first")
    content = layers[0].path.read_bytes()
    layers[0].path.write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
    with pytest.raises(ContentError):
        images.build(layers[0], name="second")
    layers[0].path.write_bytes(content)
    rootfs, _ = images.build(layers[0], name="second")
    assert rootfs.joinpath("d/large").read_bytes() == LARGE


HOLDING = tar(
    [
        item("d/"),
        item("d/one", SMALL, mode=0o4755, uid=5, gid=6, pax={"SCHILY.xattr.user.x": "value"}),
        item("d/two", "", mtime=1.25),
        item("d/three", SMALL[::-1]),
        item("seen", "seen"),
    ]
)
HIDES = tar([item("d/.wh..wh..opq"), item("top", "top")])


def test_small_files_are_released_without_their_blob(images: Images) -> None:
    layers = [images.layer(stream) for stream in (HOLDING, HIDES)]
    images.build(*layers, name="first")
    assert [path.stat().st_size for path in held(images)] == [2 * len(SMALL)]
    before = images.rootfs("first").joinpath("seen").stat().st_ino
    layers[0].path.unlink()
    for name in ("second", "third"):
        rootfs, found = images.build(layers[0], name=name)
        assert scan_entries(rootfs) == list(found.values())
        assert held(images) == []
    assert rootfs.joinpath("d/three").read_bytes() == SMALL[::-1]
    assert found["d/one"].mode == 0o4755
    assert found["d/one"].xattrs == ((b"user.x", b"value"),)
    assert found["d/two"].mtime == 1_250_000_000
    assert rootfs.joinpath("seen").stat().st_ino == before


def test_only_what_is_seen_is_released(images: Images) -> None:
    layers = [images.layer(stream) for stream in (HOLDING, HIDES)]
    images.build(*layers, name="first")
    layers[0].path.unlink()
    shows = tar([item("d/.wh.one"), item("d/.wh.two"), item("l", type="link", link="d/three")])
    again = [item("d/.wh.three"), item("d/.wh.two"), item("top", "top")]
    for upper, left in ((shows, 2), (tar(again), 1), (HIDES, 1)):
        rootfs, found = images.build(layers[0], upper, name="second")
        assert scan_entries(rootfs) == list(found.values())
        assert [path.stat().st_size for path in held(images)] == [2 * len(SMALL)]
        (facts,) = (
            json.loads(path.read_bytes())
            for path in (images.state / "layers/sha256").glob("*/layer.json")
            if (path.parent / "held").exists()
        )
        assert facts["held"] == left
    rootfs, found = images.build(layers[0], name="third")
    assert scan_entries(rootfs) == list(found.values())
    assert held(images) == []


def test_a_large_file_that_is_seen_brings_what_is_held(images: Images) -> None:
    images.build(BASE, tar([item(".wh.d")]), name="first")
    assert len(held(images)) == 1
    rootfs, found = images.build(BASE, name="second")
    assert scan_entries(rootfs) == list(found.values())
    assert held(images) == []


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def lose(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


@pytest.mark.parametrize("harm", [cut, lose, os.unlink])
def test_what_is_held_and_damaged_comes_from_the_blob(images: Images, harm: Any) -> None:
    images.build(HOLDING, HIDES, name="first")
    (path,) = held(images)
    harm(path)
    rootfs, found = images.build(HOLDING, name="second")
    assert rootfs.joinpath("d/one").read_bytes() == SMALL
    assert scan_entries(rootfs) == list(found.values())


@pytest.mark.parametrize("dying", [pool_name(3), unpack.INDEX_FILE, unpack.LAYER_FILE, HELD_FILE])
def test_a_layer_half_released_is_taken_up(
    images: Images, monkeypatch: pytest.MonkeyPatch, dying: str
) -> None:
    """As if the process had died at one of the steps of putting what was held in place."""
    layers = [images.layer(stream) for stream in (HOLDING, HIDES)]
    images.build(*layers, name="first")
    layers[0].path.unlink()
    kept = {call: getattr(os, call) for call in ("rename", "replace", "unlink")}

    def dies(call: str, path: Any, *more: Any, **others: Any) -> None:
        if Path(more[0] if more else path).name == dying:
            raise KeyboardInterrupt
        kept[call](path, *more, **others)

    for call in kept:
        monkeypatch.setattr(os, call, partial(dies, call))
    with pytest.raises(KeyboardInterrupt):
        images.build(layers[0], name="second")
    monkeypatch.undo()
    rootfs, found = images.build(layers[0], name="second")
    assert scan_entries(rootfs) == list(found.values())
    assert rootfs.joinpath("d/one").read_bytes() == SMALL
