"""Whiteouts remove what lower layers brought, and nothing else, in whatever order they stand."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest

from tasks.errors import InvalidWhiteout
from tests.support.layers import Images, item, tar

BASE = [
    item("etc/", mode=0o750),
    item("etc/passwd", "root"),
    item("etc/deep/"),
    item("etc/deep/file", "deep"),
    item("usr/"),
    item("usr/lib/"),
    item("usr/lib/libc", "c"),
    item("usr/lib/libm", "m"),
    item("lib", link="usr/lib"),
]


def names(found: dict[str, Any]) -> set[str]:
    return set(found) - {""}


@pytest.mark.parametrize(
    ("layer", "gone"),
    [
        ([item("etc/.wh.passwd")], {"etc/passwd"}),
        ([item("etc/.wh.deep")], {"etc/deep", "etc/deep/file"}),
        ([item("etc/.wh..wh..opq")], {"etc/passwd", "etc/deep", "etc/deep/file"}),
        ([item(".wh.lib")], {"lib"}),
        ([item("lib/.wh.libc")], {"usr/lib/libc"}),
        ([item("lib/.wh..wh..opq")], {"usr/lib/libc", "usr/lib/libm"}),
        ([item("etc/.wh.nothing")], set()),
        ([item("nowhere/.wh.nothing")], set()),
        ([item("etc/passwd/.wh.nothing")], set()),
        ([item("etc/.wh..wh.plnk")], set()),
        ([item(".wh..wh..opq")], {entry[0].name.rstrip("/") for entry in BASE}),
        ([item("etc/.wh.passwd/")], {"etc/passwd"}),
    ],
)
def test_whiteout_removes(images: Images, layer: Any, gone: set[str]) -> None:
    before = {entry[0].name.rstrip("/") for entry in BASE}
    rootfs, found = images.build(tar(BASE), tar(layer))
    assert names(found) == before - gone
    for name in gone:
        assert not (rootfs / name).is_symlink()
        assert not (rootfs / name).exists()


@pytest.mark.parametrize(
    "layer",
    [
        [item("etc/.wh.passwd"), item("etc/passwd", "new")],
        [item("etc/.wh..wh..opq"), item("etc/passwd", "new"), item("etc/", mode=0o700)],
        [item("etc/.wh.deep"), item("etc/deep/"), item("etc/deep/other", "x")],
        [item(".wh.etc"), item("etc/deep/other", "x")],
        [item(".wh.lib"), item("lib/"), item("lib/.wh.libc")],
        [item("lib/"), item("lib/.wh.libc"), item("lib/.wh..wh..opq")],
        [item("lib", link="etc"), item("lib/.wh.passwd")],
        [item("lib", link="/etc"), item("lib/.wh.passwd")],
    ],
)
def test_order_in_the_layer_does_not_matter(images: Images, layer: Any) -> None:
    seen = []
    for number, order in enumerate(permutations(layer)):
        _, found = images.build(tar(BASE), tar(order), name=f"o{number}")
        seen.append(found)
    assert all(found == seen[0] for found in seen)
    assert "usr/lib/libc" in seen[0]


def test_opaque_keeps_what_its_own_layer_brings(images: Images) -> None:
    rootfs, found = images.build(
        tar(BASE), tar([item("etc/own", "own"), item("etc/.wh..wh..opq"), item("etc/more/x", "x")])
    )
    assert {name for name in found if name.startswith("etc")} == {
        "etc", "etc/own", "etc/more", "etc/more/x",
    }  # fmt: skip
    assert found["etc"].mode == 0o750
    assert (rootfs / "etc/own").read_text() == "own"


def test_a_directory_that_was_removed_and_is_only_implied_is_a_new_one(images: Images) -> None:
    for layer in ([item("etc/x", "x"), item(".wh.etc")], [item(".wh.etc"), item("etc/x", "x")]):
        _, found = images.build(tar(BASE), tar(layer))
        assert (found["etc"].mode, found["etc"].mtime) == (0o755, 0)


@pytest.mark.parametrize("name", [".wh.", ".wh..", ".wh...", "etc/.wh.", "etc/.wh..", "etc/.wh..."])
def test_whiteout_of_nothing_is_refused(images: Images, name: str) -> None:
    with pytest.raises(InvalidWhiteout):
        images.build(tar(BASE), tar([item(name)]))
    assert not images.rootfs().exists()
