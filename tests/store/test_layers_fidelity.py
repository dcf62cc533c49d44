"""What a layer says is what stands on the disk: one table row for each sentence."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks.errors import LayerError
from tests.support.command import CHECKOUT
from tests.support.layers import Images, item, tar
from tests.support.tar_headers import BLOCK, header, octal, padded, pax
from tests.support.trees import scan_entries

LONG = "d" * 120 + "/" + "e" * 120 + "/file"


def stands_as_recorded(rootfs: Path, found: dict[str, Any]) -> None:
    """The tree on the disk against its entries, all of them and everything of each."""
    scanned = {os.fsdecode(entry.path): entry for entry in scan_entries(rootfs)}
    assert scanned == found


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_kind_of_entry_stands_as_it_is_written(images: Images, format: int) -> None:
    entries = [
        item("./", mode=0o750, uid=1, gid=2, mtime=12),
        item("dir/", mode=0o2775, uid=3, mtime=34),
        item("dir/file", "content", mode=0o4711, uid=1000, gid=1001, mtime=56),
        item("dir/empty", "", mode=0o000),
        item("dir/sticky/", mode=0o1777),
        item("dir/hard", type="link", link="dir/file"),
        item("soft", link="dir/file", uid=5, gid=6, mtime=78),
        item("dangling", link="/no/where"),
        item("to-link", type="link", link="soft"),
        item("fifo", type="fifo", mode=0o620, uid=7),
        item("char", type="char", device=(1, 7), mode=0o666),
        item("block", type="block", device=(259, 70000 if format != 0 else 7), mode=0o660),
        item("without/a/parent", "x"),
    ]
    rootfs, found = images.build(tar(entries, format=format))
    stands_as_recorded(rootfs, found)
    assert (found["dir/file"].mode, found["dir/file"].uid) == (0o4711, 1000)
    assert found["dir/hard"].hard_link == b"dir/file"
    assert found["to-link"].hard_link == b"soft"
    assert os.readlink(rootfs / "dangling") == "/no/where"
    assert (found["without"].mode, found["without"].mtime) == (0o755, 0)
    assert found["dir"].mtime == 34_000_000_000
    assert found[""].mode == 0o750


@pytest.mark.parametrize("format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_and_links(images: Images, format: int) -> None:
    entries = [
        item(LONG, "long"),
        item("s", link="t" * 150),
        item("h", type="link", link=LONG),
        item("ünï", "x"),
    ]
    rootfs, found = images.build(tar(entries, format=format))
    assert (rootfs / LONG).read_text() == "long"
    assert os.readlink(rootfs / "s") == "t" * 150
    assert (rootfs / "h").read_text() == "long"
    assert (rootfs / "ünï").exists()
    stands_as_recorded(rootfs, found)


def test_ustar_prefix(images: Images) -> None:
    name = "p" * 120 + "/" + "n" * 90
    rootfs, _ = images.build(tar([item(name, "x")], format=tarfile.USTAR_FORMAT))
    assert (rootfs / name).read_text() == "x"


def test_names_that_are_no_utf8(images: Images) -> None:
    stream = header(b"caf\xe9", size=octal(2, 12)) + padded(b"ok") + bytes(1024)
    rootfs, found = images.build(stream)
    assert os.listdir(os.fsencode(rootfs)) == [b"caf\xe9"]
    stands_as_recorded(rootfs, found)


def test_pax_records_have_the_last_word(images: Images) -> None:
    stream = (
        pax(
            (b"path", b"real"), (b"uid", b"3000000"), (b"gid", b"4000000"), (b"size", b"3"),
            (b"mtime", b"1234567890.123456789"), (b"SCHILY.xattr.user.one", b"\x00\xff=\n"),
            (b"LIBARCHIVE.xattr.user.two", b"dmFsdWU"), (b"comment", b"none"),
        )
        + header(b"short", size=octal(0, 12))
        + padded(b"abc")
        + header(b"after", size=octal(1, 12))
        + padded(b"x")
        + bytes(1024)
    )  # fmt: skip
    rootfs, found = images.build(stream)
    assert (rootfs / "real").read_text() == "abc"
    assert found["real"].mtime == 1_234_567_890_123_456_789
    assert (found["real"].uid, found["real"].gid) == (3_000_000, 4_000_000)
    assert dict(found["real"].xattrs) == {b"user.one": b"\x00\xff=\n", b"user.two": b"value"}
    assert "after" in found
    stands_as_recorded(rootfs, found)


def test_global_pax_records_last_until_they_are_replaced(images: Images) -> None:
    stream = (
        pax((b"uid", b"77"), (b"mtime", b"5"), kind=b"g")
        + header(b"one")
        + pax((b"uid", b"88"))
        + header(b"two")
        + pax((b"uid", b""), kind=b"g")
        + header(b"three", uid=octal(9, 8))
        + bytes(1024)
    )
    _, found = images.build(stream)
    assert [(found[x].uid, found[x].mtime) for x in ("one", "two", "three")] == [
        (77, 5_000_000_000), (88, 5_000_000_000), (9, 5_000_000_000),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("mtime", "expected"),
    [
        (b"\x80" + (5_000_000_000).to_bytes(11, "big"), 5_000_000_000 * 10**9),
        (b"\xff" * 12, -(10**9)),
        (b"   17      \0", 15 * 10**9),
        (b"00000000017\0", 15 * 10**9),
        (b"\0" * 12, 0),
    ],
)
def test_numbers_in_any_spelling(images: Images, mtime: bytes, expected: int) -> None:
    stream = header(b"f", mtime=mtime, uid=b"\x80\0\0\0\0\x2d\xc6\xc0") + bytes(1024)
    rootfs, found = images.build(stream)
    assert (found["f"].mtime, found["f"].uid) == (expected, 3_000_000)
    stands_as_recorded(rootfs, found)


def test_old_checksums_with_signed_bytes(images: Images) -> None:
    block = bytearray(header(b"caf\xe9\xe8"))
    block[148:156] = b" " * 8
    signed = sum(value - 256 if value > 127 else value for value in block)
    block[148:156] = f"{signed:06o}".encode() + b"\0 "
    _, found = images.build(bytes(block) + bytes(1024))
    assert os.fsdecode(b"caf\xe9\xe8") in found


SPARSE = b"A" * 600 + b"\0" * 9000 + b"B" * 400 + b"\0" * 500
EXTENTS = [(0, 600), (9600, 400), (10500, 0)]
STORED = b"A" * 600 + b"B" * 400


def old_gnu(extended: bool) -> bytes:
    pairs = [octal(offset, 12) + octal(size, 12) for offset, size in EXTENTS]
    inline = b"".join(pairs[: 1 if extended else 3]).ljust(96, b"\0")
    if extended:
        fill = [octal(600, 12) + octal(0, 12)] * 3
        inline = pairs[0] + b"".join(fill)
    tail = inline + (b"\1" if extended else b"\0") + octal(len(SPARSE), 12)
    block = header(b"sparse", kind=b"S", size=octal(len(STORED), 12), magic=b"ustar  \0", tail=tail)
    more = b"".join(pairs[1:]).ljust(BLOCK, b"\0") if extended else b""
    return block + more


def pax_00() -> bytes:
    records = [(b"GNU.sparse.size", str(len(SPARSE)).encode()), (b"GNU.sparse.numblocks", b"3")]
    for offset, size in EXTENTS:
        records.append((b"GNU.sparse.offset", str(offset).encode()))
        records.append((b"GNU.sparse.numbytes", str(size).encode()))
    return pax(*records) + header(b"sparse", size=octal(len(STORED), 12))


def pax_01() -> bytes:
    numbers = ",".join(str(value) for extent in EXTENTS for value in extent).encode()
    records = (
        (b"GNU.sparse.size", str(len(SPARSE)).encode()), (b"GNU.sparse.numblocks", b"3"),
        (b"GNU.sparse.name", b"sparse"), (b"GNU.sparse.map", numbers),
    )  # fmt: skip
    return pax(*records) + header(b"GNUSparseFile.0/sparse", size=octal(len(STORED), 12))


def pax_10() -> bytes:
    text = "".join(f"{value}\n" for extent in EXTENTS for value in extent)
    table = padded(f"{len(EXTENTS)}\n{text}".encode())
    records = (
        (b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.name", b"sparse"),
        (b"GNU.sparse.realsize", str(len(SPARSE)).encode()),
    )  # fmt: skip
    size = octal(len(table) + len(STORED), 12)
    return pax(*records) + header(b"GNUSparseFile.0/sparse", size=size) + table


@pytest.mark.parametrize(
    "head",
    [lambda: old_gnu(False), lambda: old_gnu(True), pax_00, pax_01, pax_10],
    ids=["old GNU", "old GNU, extended", "PAX 0.0", "PAX 0.1", "PAX 1.0"],
)
def test_sparse_files(images: Images, head: Callable[[], bytes]) -> None:
    stream = head() + padded(STORED) + header(b"after") + bytes(1024)
    rootfs, found = images.build(stream)
    assert (rootfs / "sparse").read_bytes() == SPARSE
    assert set(found) == {"", "sparse", "after"}
    stands_as_recorded(rootfs, found)


@pytest.mark.parametrize(
    "numbers", ["0,600,100,400", "0,600,9600,401", "0,600,9600,900", "0,600,9600", "0,-600", "x,1"]
)
def test_sparse_maps_that_cannot_be(images: Images, numbers: str) -> None:
    records = (
        (b"GNU.sparse.size", b"10000"), (b"GNU.sparse.map", numbers.encode()),
    )  # fmt: skip
    stream = pax(*records) + header(b"s", size=octal(1000, 12)) + padded(STORED) + bytes(1024)
    with pytest.raises(LayerError, match="damaged"):
        images.build(stream)


def test_sparse_files_stay_sparse(images: Images) -> None:
    size = 1 << 30
    records = (
        (b"GNU.sparse.size", str(size).encode()),
        (b"GNU.sparse.map", f"0,600,{size - 400},400".encode()),
    )
    stream = pax(*records) + header(b"s", size=octal(1000, 12)) + padded(STORED) + bytes(1024)
    rootfs, _ = images.build(stream)
    found = (rootfs / "s").stat()
    assert found.st_size == size
    assert found.st_blocks * 512 < 1 << 20


def test_types_that_mean_a_file(images: Images) -> None:
    stream = b"".join(
        header(name, kind=kind, size=octal(1, 12)) + padded(b"x")
        for name, kind in ((b"zero", b"0"), (b"nul", b"\0"), (b"contiguous", b"7"))
    )
    stream += header(b"old-dir/", kind=b"0") + header(b"label", kind=b"V") + bytes(1024)
    _, found = images.build(stream)
    assert {name: entry.type for name, entry in found.items() if name} == {
        "zero": "file", "nul": "file", "contiguous": "file", "old-dir": "dir",
    }  # fmt: skip


def test_an_unknown_type_is_refused(images: Images) -> None:
    with pytest.raises(LayerError, match="unknown type"):
        images.build(header(b"x", kind=b"Q") + bytes(1024))


def test_capabilities_and_trusted_attributes(images: Images) -> None:
    capability = bytes.fromhex("0100000200200000000000000000000000000000")
    stream = (
        pax((b"SCHILY.xattr.security.capability", capability), (b"SCHILY.xattr.trusted.t", b"1"))
        + header(b"ping", mode=octal(0o755, 8), uid=octal(5, 8))
        + pax((b"SCHILY.xattr.trusted.d", b"2"), (b"SCHILY.xattr.user.d", b"3"))
        + header(b"dir/", kind=b"5", mode=octal(0o555, 8))
        + pax((b"SCHILY.xattr.trusted.l", b"4"))
        + header(b"link", kind=b"2", link=b"ping")
        + bytes(1024)
    )
    rootfs, found = images.build(stream)
    assert os.getxattr(rootfs / "ping", "security.capability") == capability
    assert os.getxattr(rootfs / "dir", "trusted.d") == b"2"
    assert os.getxattr(rootfs / "link", "trusted.l", follow_symlinks=False) == b"4"
    stands_as_recorded(rootfs, found)
    assert images.lost() == []


def test_attributes_that_this_host_cannot_take_are_listed(images: Images) -> None:
    stream = (
        pax((b"SCHILY.xattr.unheard.of", b"1"), (b"SCHILY.xattr.user.ok", b"2"))
        + header(b"file")
        + pax((b"SCHILY.xattr.unheard.of", b"1"))
        + header(b"dir/", kind=b"5")
        + bytes(1024)
    )
    rootfs, found = images.build(stream)
    assert [(line["path"], line["what"]) for line in images.lost()] == [
        ("dir", "xattr unheard.of"), ("file", "xattr unheard.of"),
    ]  # fmt: skip
    assert dict(found["file"].xattrs) == {b"unheard.of": b"1", b"user.ok": b"2"}
    assert os.getxattr(rootfs / "file", "user.ok") == b"2"


STACKS: dict[str, tuple[list[list[Any]], set[str], dict[str, str]]] = {
    "a parent that is a symlink below is written through": (
        [[item("usr/lib/"), item("lib", link="usr/lib")], [item("lib/x", "x")]],
        {"usr", "usr/lib", "lib", "usr/lib/x"},
        {"usr/lib/x": "x"},
    ),
    "an absolute symlink stays in the root": (
        [[item("etc/"), item("abs", link="/etc")], [item("abs/x", "x")]],
        {"etc", "abs", "etc/x"},
        {"etc/x": "x"},
    ),
    "dots of a symlink stop at the root": (
        [[item("a/"), item("a/up", link="../../../../b")], [item("a/up/x", "x")]],
        {"a", "a/up", "b", "b/x"},
        {"b/x": "x"},
    ),
    "a symlink to nowhere is made a directory when it is written through": (
        [[item("run", link="var/run")], [item("run/x", "x")]],
        {"run", "var", "var/run", "var/run/x"},
        {"var/run/x": "x"},
    ),
    "a directory's own entry takes a symlink's place": (
        [[item("usr/lib/x", "x"), item("lib", link="usr/lib")], [item("lib/"), item("lib/y", "y")]],
        {"usr", "usr/lib", "usr/lib/x", "lib", "lib/y"},
        {"lib/y": "y"},
    ),
    "a file takes a directory's place": (
        [[item("d/"), item("d/x", "x")], [item("d", "file")]],
        {"d"},
        {"d": "file"},
    ),
    "and back": (
        [[item("d/x", "x")], [item("d", "file")], [item("d/"), item("d/y", "y")]],
        {"d", "d/y"},
        {"d/y": "y"},
    ),
    "and back without an entry of its own": (
        [[item("d", "file")], [item("d/y", "y")]],
        {"d", "d/y"},
        {"d/y": "y"},
    ),
    "the last of duplicates counts": (
        [[item("f", "1"), item("f", "22"), item("f", "3")]],
        {"f"},
        {"f": "3"},
    ),
    "a hard link keeps what a later layer replaces": (
        [[item("f", "old")], [item("g", type="link", link="f")], [item("f", "new")]],
        {"f", "g"},
        {"f": "new", "g": "old"},
    ),
    "a hard link to a name of another layer through a symlink": (
        [[item("usr/lib/f", "f"), item("lib", link="usr/lib")],
         [item("g", type="link", link="lib/f")]],
        {"usr", "usr/lib", "usr/lib/f", "lib", "g"},
        {"g": "f"},
    ),
    "a hard link to itself is itself": (
        [[item("f", "f"), item("f", type="link", link="f")]],
        {"f"},
        {"f": "f"},
    ),
    "a hard link takes a directory's place": (
        [[item("f", "f"), item("d/x", "x")], [item("d", type="link", link="f")]],
        {"f", "d"},
        {"d": "f"},
    ),
    "absolute and dotted names": (
        [[item("/a/b", "1"), item("./c/./d", "2"), item("e//f", "3"), item("g/../h", "4")]],
        {"a", "a/b", "c", "c/d", "e", "e/f", "h"},
        {"a/b": "1", "c/d": "2", "e/f": "3", "h": "4"},
    ),
    "a whiteout beyond symlinks that run in a circle removes nothing": (
        [[item("a", link="a"), item("f", "1")],
         [item("a", link="b"), item("b", link="a"), item("a/x/.wh.f"), item("b/.wh..wh..opq")]],
        {"a", "b", "f"},
        {"f": "1"},
    ),
    "an empty layer between": (
        [[item("f", "1")], [], [item("g", "2")]],
        {"f", "g"},
        {"f": "1"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("stack", STACKS.values(), ids=STACKS)
def test_stacks(images: Images, stack: tuple[list[list[Any]], set[str], dict[str, str]]) -> None:
    layers, names, contents = stack
    rootfs, found = images.build(*map(tar, layers))
    assert set(found) - {""} == names
    for name, content in contents.items():
        assert (rootfs / name).read_text() == content
    stands_as_recorded(rootfs, found)


def test_an_explicit_directory_keeps_what_is_in_it_and_takes_its_metadata(images: Images) -> None:
    _, found = images.build(
        tar([item("d/", mode=0o755), item("d/x", "x")]), tar([item("d/", mode=0o700, uid=4)])
    )
    assert (found["d"].mode, found["d"].uid) == (0o700, 4)
    assert "d/x" in found


@pytest.mark.parametrize(
    ("layers", "said"),
    [
        ([[item("a", link="b"), item("b", link="a"), item("a/x", "x")]], "too many symlinks"),
        ([[item("f", "f"), item("f/x", "x")]], "both a directory"),
        ([[item("g", type="link", link="none")]], "missing"),
        ([[item("d/"), item("g", type="link", link="d")]], "a directory"),
        ([[item("f", "f")], [item(".wh.f"), item("g", type="link", link="f")]], "missing"),
    ],
)
def test_layers_that_cannot_be_applied(images: Images, layers: Any, said: str) -> None:
    with pytest.raises(LayerError, match=said):
        images.build(*map(tar, layers))
    assert not images.rootfs().exists()


def test_the_root_of_an_image_that_names_none(images: Images) -> None:
    rootfs, found = images.build(tar([item("f", "f")]))
    assert (found[""].mode, found[""].uid, found[""].mtime) == (0o755, 0, 0)
    assert stat.S_IMODE(rootfs.stat().st_mode) == 0o755


def test_the_same_layer_twice(images: Images) -> None:
    one, two = tar([item("f", "1")]), tar([item("f", "2"), item("g", "2")])
    rootfs, _ = images.build(one, two, one)
    assert (rootfs / "f").read_text() == "1"
    assert (rootfs / "g").read_text() == "2"


def test_the_same_layer_twice_and_a_link_to_its_file_between(images: Images) -> None:
    """The upper place of the layer replaces the name, and not the file that the link kept."""
    twice = tar([item("d/f", "1"), item("d/g", type="link", link="d/f")])
    between = tar([item("kept", type="link", link="d/f")])
    rootfs, found = images.build(twice, between, twice)
    stands_as_recorded(rootfs, found)
    names = {name: (rootfs / name).stat().st_ino for name in ("kept", "d/f", "d/g")}
    assert names["d/f"] == names["d/g"] != names["kept"]
    assert [found[name].hard_link for name in ("kept", "d/f", "d/g")] == [b"", b"", b"d/f"]


def test_a_large_file_spans_pieces(images: Images) -> None:
    content = os.urandom(3_000_001)
    entries = [item(f"f{number}", content[: number * 70_000]) for number in range(40)]
    rootfs, found = images.build(tar([*entries, item("big", content)]))
    assert (rootfs / "big").read_bytes() == content
    stands_as_recorded(rootfs, found)


def test_no_umask_and_no_default_acl_gets_in(images: Images) -> None:
    before = os.umask(0o077)
    try:
        rootfs, found = images.build(
            tar(
                [
                    item("d/", mode=0o777),
                    item("f", "f", mode=0o666),
                    item("p", type="fifo", mode=0o622),
                ]
            )
        )
    finally:
        os.umask(before)
    stands_as_recorded(rootfs, found)
    assert found["f"].mode == 0o666


LISTED = """
import json, sys
from pathlib import Path
from tasks.rootfs import LayerSource, build_rootfs
state = Path(sys.argv[1])
layers = [LayerSource.from_json(json.loads(sys.stdin.readline()))]
build_rootfs(layers=layers, layers_dir=state / "layers", destination=state / "b/rootfs",
    entries=state / "entries", unrepresented=state / "lost", tmp=state / "tmp")
"""


def test_no_locale_gets_into_the_lists(images: Images, tmp_path: Path) -> None:
    """Where Python takes names of files for ASCII, as it does without UTF-8 of its own."""
    unknown = {"SCHILY.xattr.unheard.\u00e4": "1"}
    entries = [
        item("\u00e4/f", "x", pax=unknown),
        item("hard", type="link", link="\u00e4/f"),
        item("soft", link="\u00e4/f"),
    ]
    source = images.layer(tar(entries))
    found = []
    for number, utf8 in enumerate(("0", "1")):
        state = tmp_path / f"state{number}"
        subprocess.run(
            [sys.executable, "-c", LISTED, str(state)],
            input=json.dumps(source.to_json()) + "\n",
            text=True,
            check=True,
            cwd=CHECKOUT,
            env={"PYTHONUTF8": utf8, "PYTHONCOERCECLOCALE": "0", "LC_ALL": "POSIX",
                 "PYTHONPATH": str(CHECKOUT), "PATH": os.environ["PATH"]},
        )  # fmt: skip
        found.append([(state / name).read_bytes() for name in ("entries", "lost")])
    assert found[0] == found[1]
    assert b"\\u00e4/f" in found[0][0]
