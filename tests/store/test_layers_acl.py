"""Access control lists in PAX headers are set, or recorded as missing; never lost silently."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tasks.store.layers.acl import attributes_of, parse
from tests.support.layers import Images, item, tar
from tests.support.trees import scan_entries

ACL = "user::rw-,user:lisa:r-x:1000,group::r--,group:7:rwx,mask::r-x,other::---"
XATTR = b"system.posix_acl_access"
PACKED = bytes.fromhex(
    "02000000" "01000600ffffffff" "02000500e8030000" "04000400ffffffff"
    "0800070007000000" "10000500ffffffff" "20000000ffffffff"
)  # fmt: skip


def test_a_list_is_set_and_recorded(images: Images) -> None:
    pax = {"SCHILY.acl.access": ACL}
    rootfs, found = images.build(
        tar([item("f", "x", mode=0o650, pax=pax), item("d/", mode=0o750, pax={
            "SCHILY.acl.default": "user::rwx,user:9:r--,group::r-x,mask::r-x,other::---"})])
    )  # fmt: skip
    assert dict(found["f"].xattrs) == {XATTR: PACKED}
    assert os.getxattr(rootfs / "f", XATTR) == PACKED
    assert os.getxattr(rootfs / "d", b"system.posix_acl_default")[:4] == PACKED[:4]
    assert scan_entries(rootfs) == list(found.values())
    assert images.lost() == []


def test_what_gnu_tar_and_setfacl_make(images: Images, tmp_path: Path) -> None:
    """A list as a real archiver writes it comes to the bytes that the kernel had.

    The ids are nobody's here: GNU tar writes the names of those that have one, and no ids.
    """
    packed = PACKED.replace(b"\xe8\x03\0\0", b"\x60\xea\0\0").replace(
        b"\x07\0\x07\0\0\0", b"\x07\0\x61\xea\0\0"
    )
    (tmp_path / "f").write_text("x")
    os.chmod(tmp_path / "f", 0o640)
    os.setxattr(tmp_path / "f", XATTR, packed)
    bsdtar = shutil.which("bsdtar")
    assert bsdtar, "bsdtar is not installed"
    archives = [
        [bsdtar, "--format", "pax", "--acls", "--numeric-owner", "-C", str(tmp_path), "-cf-", "f"],
        ["tar", "--format=pax", "--acls", "--numeric-owner", "-C", str(tmp_path), "-c", "f"],
    ]
    for number, words in enumerate(archives):
        stream = subprocess.run(words, check=True, capture_output=True).stdout
        assert b"SCHILY.acl.access" in stream
        rootfs, found = images.build(stream, name=f"it{number}")
        assert os.getxattr(rootfs / "f", XATTR) == packed
        assert scan_entries(rootfs)[1:] == list(found.values())[1:]


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("SCHILY.acl.access", "user::rw-,user:lisa:r--,group::r--,mask::r--,other::r--"),
        ("SCHILY.acl.access", "nonsense"),
        ("SCHILY.acl.ace", "owner@:rwx::allow"),
        ("SCHILY.acl.default", "user::rw-,group::r--,other::r--"),
    ],
    ids=["a name without an id", "damaged", "of NFSv4", "a default on a file"],
)
def test_what_cannot_be_set_is_recorded(images: Images, key: str, text: str) -> None:
    _, found = images.build(tar([item("f", "x", pax={key: text})]))
    assert dict(found["f"].xattrs) == {key.encode(): text.encode()}
    assert [(lost["path"], lost["what"]) for lost in images.lost()] == [("f", f"xattr {key}")]


def test_the_list_decides_over_the_mode() -> None:
    """libarchive writes the bits of the owning group where the mask belongs."""
    records = {b"SCHILY.acl.access": ACL.encode()}
    found = attributes_of(records, mode=0o4640, is_directory=False)
    assert found == ({XATTR: PACKED}, 0o4650)


def test_a_list_that_only_repeats_the_mode_is_none() -> None:
    records = {b"SCHILY.acl.access": b"user::rw-,group::r--,other::r--"}
    assert attributes_of(records, mode=0o644, is_directory=False) == ({}, 0o644)


@pytest.mark.parametrize(
    "text",
    [
        b"user::rwx", b"user::rwz,group::r--,other::r--", b"user::rwx,user::rwx,group::r--",
        b"user::rw-,user:1:r--,group::r--,other::r--", b"user:-1:rwx,group::r--,other::r--",
        b"user:4294967295:r--,user::rwx,group::r--,mask::r--,other::r--", b"user:1_0:r--,user::rwx,group::r--,mask::r--,other::r--", b"x", b"user", b"user:",
    ],
)  # fmt: skip
def test_what_is_no_list_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match=r".*"):
        parse(text)
