"""Well-formed images, one for each thing that layer.md or an archiver can say, beside umoci's.

Whole trees are compared: names, types, modes, owners, nanoseconds, targets, devices, attributes,
content, and which names are one inode. Left out are times of directories that umoci touched itself:
those that no layer describes, and those that a later layer wrote into. Old sparse files and global
PAX records are refused by umoci 0.4.7 (test_layers_fidelity.py has them).
"""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.store.test_layers_fidelity import (
    STORED,
    pax_00,
    pax_01,
    pax_10,
)
from tests.store.test_layers_model import differences, write_layout
from tests.support.layers import Images, item, tar
from tests.support.tar_headers import header, octal, padded, pax
from tests.support.trees import make_tree, scan_entries

END = bytes(1024)
EVERYTHING = [
    item("./", mode=0o750, uid=1, gid=2, mtime=12),
    item("dir/", mode=0o2775, uid=3, mtime=34),
    item("dir/file", "content", mode=0o4711, uid=1000, gid=1001, mtime=56),
    item("dir/empty", "", mode=0o000),
    item("sticky/", mode=0o1777),
    item("hard", type="link", link="dir/file"),
    item("harder", type="link", link="hard"),
    item("soft", link="dir/file", uid=5, gid=6, mtime=78),
    item("absolute", link="/etc/nowhere"),
    item("climbing", link="../../../etc/passwd"),
    item("fifo", type="fifo", mode=0o620, uid=7),
    item("null", type="char", device=(1, 3), mode=0o666),
    item("loop", type="block", device=(7, 200), mode=0o660, gid=6),
]
CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")


def sparse(head: Callable[[], bytes]) -> list[bytes]:
    return [head() + padded(STORED) + header(b"after") + END]


STREAMS: dict[str, list[bytes]] = {
    "ustar": [tar(EVERYTHING, format=tarfile.USTAR_FORMAT)],
    "GNU": [tar(EVERYTHING, format=tarfile.GNU_FORMAT)],
    "PAX": [tar(EVERYTHING, format=tarfile.PAX_FORMAT)],
    "GNU long names and links": [
        tar([item("n" * 200 + "/" + "m" * 100, "x"), item("l", link="t" * 300)],
            format=tarfile.GNU_FORMAT)
    ],
    "PAX long names and links": [
        tar([item("n" * 200 + "/" + "m" * 100, "x"), item("l", link="t" * 300)])
    ],
    "names that are no UTF-8": [header(b"caf\xe9/", kind=b"5") + header(b"caf\xe9/\xff") + END],
    "base-256 numbers": [
        header(b"f", mtime=b"\x80" + bytes(6) + (1_600_000_000).to_bytes(5, "big"),
               uid=b"\x80\0\0\0\0\x2d\xc6\xc0") + END
    ],
    "times to the nanosecond": [
        pax((b"mtime", b"1600000000.123456789")) + header(b"f")
        + pax((b"mtime", b"1500000000.5")) + header(b"d/", kind=b"5")
        + pax((b"mtime", b"1400000000.000000001")) + header(b"l", kind=b"2", link=b"f") + END
    ],
    "PAX sparse 0.0": sparse(pax_00),
    "PAX sparse 0.1": sparse(pax_01),
    "PAX sparse 1.0": sparse(pax_10),
    "extended attributes": [
        pax((b"SCHILY.xattr.security.capability", CAPABILITY), (b"SCHILY.xattr.trusted.t", b"1"))
        + header(b"ping", mode=octal(0o755, 8), uid=octal(5, 8))
        + pax((b"SCHILY.xattr.user.d", b"2\0\xff")) + header(b"d/", kind=b"5") + END
    ],
    "entries without parents": [tar([item("a/b/c/file", "x"), item("a/d/", mode=0o700)])],
    "duplicates": [tar([item("f", "1"), item("d/", mode=0o700), item("f", "22"), item("d/")])],
    "written through a symlink below": [
        tar([item("usr/lib/"), item("lib", link="usr/lib"), item("abs", link="/usr")]),
        tar([item("lib/x", "x"), item("abs/y", "y"), item("lib/.wh.none")]),
    ],
    "a hard link to what is replaced": [
        tar([item("f", "old", uid=4), item("g", type="link", link="f")]),
        tar([item("f", "new"), item("h", type="link", link="g")]),
    ],
    "a file in place of a directory and back": [
        tar([item("d/"), item("d/x", "x"), item("e", "e")]),
        tar([item("d", "file"), item("e/"), item("e/y", "y")]),
        tar([item("d/"), item("d/z", "z")]),
    ],
    "whiteouts": [
        tar([item("d/"), item("d/a", "a"), item("d/b", "b"), item("e/x/y", "y"), item("f", "f")]),
        tar([item("d/.wh.a"), item(".wh.e"), item(".wh.f"), item("f", "again")]),
    ],
    "an opaque directory": [
        tar([item("d/"), item("d/a", "a"), item("d/b/c", "c")]),
        tar([item("d/", mode=0o711), item("d/.wh..wh..opq"), item("d/new", "n")]),
    ],
    "an empty layer between": [tar([item("f", "1")]), tar([]), tar([item("g", "2")])],
}  # fmt: skip


def same_as_umoci(place: Path, streams: list[bytes], **given: Any) -> None:
    umoci = shutil.which("umoci")
    assert umoci, "umoci is not installed"
    ours, _ = Images(place / "state").build(*streams)
    write_layout(place / "layout", streams, **given)
    words = [umoci, "unpack", "--image", f"{place}/layout:1", f"{place}/umoci"]
    subprocess.run(words, capture_output=True, check=True)
    found = {os.fsdecode(entry.path): entry for entry in scan_entries(ours)}
    assert not list(differences(found, place / "umoci/rootfs"))


@pytest.mark.parametrize("what", STREAMS)
def test_what_an_archive_says_is_what_umoci_makes(tmp_path: Path, what: str) -> None:
    same_as_umoci(tmp_path, STREAMS[what])


@pytest.mark.parametrize(
    "words",
    [
        ["tar", "--format=gnu"],
        ["tar", "--format=posix", "-S", "--xattrs", "--xattrs-include=*"],
        ["bsdtar", "--format", "pax"],
    ],
    ids=["GNU tar", "GNU tar, PAX", "bsdtar"],
)
def test_what_archivers_write_is_what_umoci_makes(tmp_path: Path, words: list[str]) -> None:
    source = tmp_path / "source"
    source.mkdir()
    make_tree(source)
    with open(source / "holes", "wb") as file:
        file.truncate(1 << 20)
        file.seek(300_000)
        file.write(b"x" * 5000)
    archive = tmp_path / "layer.tar"
    subprocess.run([*words, "-C", source, "-cf", archive, "."], check=True, capture_output=True)
    same_as_umoci(tmp_path, [archive.read_bytes()])


@pytest.mark.parametrize("members", [1, 7])
def test_several_members_of_gzip_are_one_stream(tmp_path: Path, members: int) -> None:
    stream = tar(EVERYTHING)
    step = len(stream) // members + 1
    packed = b"".join(gzip.compress(stream[x : x + step]) for x in range(0, len(stream), step))
    same_as_umoci(tmp_path, [stream], packed=[packed])
