#!/usr/bin/env python3
"""Fuzz the tar, PAX, whiteout and merging code: bytes in, a tree of names or our own error out.

    pip install atheris
    python tests/fuzz/fuzz_layers.py CORPUS [-max_total_time=600] [-max_len=16384]

CORPUS is a directory; seeds are written into it when it is empty. An input is layers of a stack,
separated by MARK. Nothing touches the disk: the pool only reads.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tasks.errors import DoitOciError
from tasks.store.layers import index, unpack
from tasks.store.layers.held import Holder
from tasks.store.layers.listing import NOTHING, Lister, Walk
from tasks.store.layers.merge import Tree
from tasks.store.layers.source import UnpackLimits
from tasks.store.layers.tar_reader import Member, TarReader

MARK = b"\xff\x00next layer\x00\xff"
PIECE = 700
LIMITS = UnpackLimits(entries=500, unpacked_bytes=1 << 20, header_bytes=1 << 14, path_depth=32)


class ReadingPool:
    """Takes members as a pool does, and keeps nothing."""

    def add_file(self, number: int, member: Member, reader: TarReader) -> bytes:
        content = b"".join(bytes(piece) for piece in reader.content())
        assert len(content) == member.stored or member.extents is not None
        for offset, size in member.extents or ():
            assert 0 <= offset <= offset + size <= member.size
        return sha256(content).digest()

    def add_symlink(self, number: int, member: Member) -> None:
        pass

    def add_node(self, number: int, member: Member, reader: TarReader) -> None:
        pass


def read_layer(stream: bytes) -> tuple[bytes, int]:
    """The index of one layer, and how many whiteouts it has."""
    pieces: Iterator[bytes] = (
        stream[start : start + PIECE] for start in range(0, len(stream), PIECE)
    )
    out = BytesIO()
    pool: Any = ReadingPool()
    holder = Holder(Path("nothing is covered, so nothing is held"))
    layer = unpack.LayerWriter(pool, index.Writer(out), LIMITS, holder, subject="layer")
    reader = TarReader(pieces, header_bytes=LIMITS.header_bytes, subject="layer")
    for member in reader:
        layer.add(member, reader)
    return out.getvalue(), layer.whiteouts


def apply_stack(data: bytes) -> Tree:
    """The tree of a stack. Raises: DoitOciError."""
    tree = Tree()
    for position, stream in enumerate(data.split(MARK)):
        found, whiteouts = read_layer(stream)

        def records(found: bytes = found) -> Iterator[tuple[bytes, bytes]]:
            return index.read_records(BytesIO(found))

        tree.apply(position, records, whiteouts=whiteouts, subject="layer")
    return tree


def check_one(data: bytes) -> None:
    """One input: only our own errors, and no name that means something to a kernel."""
    try:
        tree = apply_stack(data)
    except DoitOciError:
        return
    count = 0
    for path, _ in Walk(tree):
        count += 1
        if path:
            assert not {b"", b".", b".."}.intersection(path.split(b"/")), path
            assert b"\0" not in path
    assert count == tree.count()
    Lister(tree, BytesIO(), implied_mtime=0, known=NOTHING, source=-1).write()


def fixed_checksums(data: bytes) -> bytes:
    """The same with each header's checksum made right, so that damage gets further."""
    out = bytearray(data)
    for start in range(0, len(out) - 511, 512):
        if out[start + 257 : start + 262] == b"ustar":
            out[start + 148 : start + 156] = b" " * 8
            out[start + 148 : start + 156] = f"{sum(out[start : start + 512]):06o}\0 ".encode()
    return bytes(out)


def check_both(data: bytes) -> None:
    """As it is, and as an archiver would have summed it up."""
    check_one(data)
    check_one(fixed_checksums(data))


def seeds() -> Iterator[bytes]:
    """Archives of every format with one of everything, and a stack with whiteouts."""
    import tarfile

    from tests.support.layers import item, tar

    one_of_each = [
        item("./", mode=0o755),
        item("d/", mode=0o1777),
        item("d/f", "content", uid=1000),
        item("s", link="d/f"),
        item("h", type="link", link="d/f"),
        item("p", type="fifo"),
        item("c", type="char", device=(1, 3)),
        item("b", type="block", device=(8, 0)),
        item("n" * 120, "long", uid=3),
    ]
    for kind in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        yield tar(one_of_each, format=kind)
    yield tar(one_of_each[:-1], format=tarfile.USTAR_FORMAT)
    attributes = {"SCHILY.xattr.user.a": "b", "mtime": "1.5", "GNU.sparse.map": "0,1,5,1",
                  "GNU.sparse.size": "9"}  # fmt: skip
    yield tar([item("f", "xy", pax=attributes)])
    upper = [item("d/.wh.f"), item("d/.wh..wh..opq"), item("s/x", "x"), item(".wh.h")]
    yield tar(one_of_each[:-1]) + MARK + tar(upper) + MARK + tar([item("lib/x", "x")])


def main() -> None:
    import atheris

    corpus = Path(sys.argv[1])
    corpus.mkdir(parents=True, exist_ok=True)
    if not any(corpus.iterdir()):
        for seed in seeds():
            (corpus / sha256(seed).hexdigest()[:16]).write_bytes(seed)
    atheris.instrument_all()
    atheris.Setup(sys.argv, check_both)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
