"""A tree that is large enough for two processes is the tree that one would write."""

from __future__ import annotations

import os
from pathlib import Path

from tests.support.layers import Images, item, tar
from tests.support.trees import scan_entries


def many(images: Images, *, strange: bool) -> tuple[Path, bytes]:
    pax = {"SCHILY.xattr.unheard.of": "1"} if strange else {}
    entries = [item("./", mode=0o711, mtime=5), item("usr/", mode=0o555, mtime=6)]
    for part in range(4):
        entries.append(item(f"usr/p{part}/", mode=0o500 + part, mtime=7, uid=part, pax=pax))
        entries.extend(
            item(f"usr/p{part}/d{number % 20}/f{number}", "", mtime=8) for number in range(2_800)
        )
    entries += [item("hard", type="link", link="usr/p1/d0/f0"), item("usr/s", link="p2")]
    rootfs, found = images.build(tar(entries))
    assert len(found) > 11_000
    assert scan_entries(rootfs) == list(found.values()) or strange
    return rootfs, images.entries().read_bytes()


def test_in_two_processes(images: Images) -> None:
    rootfs, first = many(images, strange=False)
    before = rootfs.stat().st_ino
    second, listed = many(images, strange=False)
    assert listed == first
    assert second.stat().st_ino != before
    assert os.listdir(images.state / "bundles/it") == ["rootfs"]


def test_what_the_second_process_cannot_represent_is_listed(images: Images) -> None:
    many(images, strange=True)
    many(images, strange=True)
    assert [line["path"] for line in images.lost()] == [f"usr/p{part}" for part in range(4)]
