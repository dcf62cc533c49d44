"""Trees with one of everything, and the entries that describe them."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

from tasks.oci import entry as kinds
from tasks.oci.entry import Entry

CONFIG = b'{"ociVersion": "1.2.0", "process": {"args": ["/hello"], "cwd": "/"}}\n'
TYPES = {
    stat.S_IFREG: kinds.FILE,
    stat.S_IFDIR: kinds.DIRECTORY,
    stat.S_IFLNK: kinds.SYMLINK,
    stat.S_IFCHR: kinds.CHARACTER,
    stat.S_IFBLK: kinds.BLOCK,
    stat.S_IFIFO: kinds.FIFO,
}


def scan_entries(root: Path) -> list[Entry]:
    """The entries of a tree as it stands on the disk, sorted by path."""
    top = os.fsencode(root)
    names = [b""]
    for parent, directories, files in os.walk(top):
        names += [os.path.relpath(os.path.join(parent, name), top) for name in directories + files]
    first: dict[tuple[int, int], bytes] = {}
    found = []
    for name in sorted(names):
        path = os.path.join(top, name) if name else top
        status = os.lstat(path)
        kind = TYPES[stat.S_IFMT(status.st_mode)]
        link = first.setdefault((status.st_dev, status.st_ino), name)
        content = Path(os.fsdecode(path)).read_bytes() if kind == kinds.FILE else b""
        found.append(
            Entry(
                path=name,
                type=kind,
                mode=stat.S_IMODE(status.st_mode),
                uid=status.st_uid,
                gid=status.st_gid,
                mtime=status.st_mtime_ns,
                size=len(content),
                sha256=hashlib.sha256(content).hexdigest() if kind == kinds.FILE else "",
                target=os.readlink(path) if kind == kinds.SYMLINK else b"",
                device=(os.major(status.st_rdev), os.minor(status.st_rdev))
                if kind in (kinds.CHARACTER, kinds.BLOCK)
                else None,
                hard_link=b"" if link == name or kind == kinds.DIRECTORY else link,
                xattrs=tuple(
                    (os.fsencode(key), os.getxattr(path, key, follow_symlinks=False))
                    for key in sorted(os.listxattr(path, follow_symlinks=False))
                ),
            )
        )
    return found


def make_tree(root: Path) -> None:
    """One of everything that a layer can hold; needs root."""
    top = os.fsencode(root)
    os.makedirs(root / "bin")
    (root / "bin" / "hello").write_bytes(b"#!/bin/sh\necho hello\n")
    os.chmod(root / "bin" / "hello", 0o4755)
    os.link(root / "bin" / "hello", root / "bin" / "hi")
    os.symlink("hello", root / "bin" / "sh")
    os.symlink("/" + "t" * 150, root / "dangling")
    os.makedirs(root / "d" / ("n" * 120) / ("m" * 120))
    (root / "d" / ("n" * 120) / ("m" * 120) / "deep").write_bytes(b"deep")
    (root / "empty").write_bytes(b"")
    (root / "big").write_bytes(os.urandom(1 << 16) * 40)
    (root / "d-sorts-between").write_bytes(b"x" * 512)
    with open(os.path.join(top, b"latin-\xe9"), "wb") as stream:
        stream.write(b"not utf-8")
    (root / "umlaut-ä").write_bytes("ä".encode())
    os.mkfifo(root / "fifo")
    os.mknod(root / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(root / "loop", stat.S_IFBLK | 0o660, os.makedev(7, 300))
    os.setxattr(root / "empty", "user.colour", b"\x00\xffred\n")
    os.chown(root / "big", 123456, 2097152)
    os.lchown(root / "bin" / "sh", 7, 8)
    (root / "read-only").mkdir()
    (root / "read-only" / "inside").write_bytes(b"inside")
    os.chmod(root / "read-only", 0o555)
    settle_times(root)


def settle_times(root: Path) -> None:
    """Times in the past, with and without fractions, and before 1970."""
    for number, (parent, directories, files) in enumerate(
        os.walk(os.fsencode(root), topdown=False)
    ):
        for index, name in enumerate(sorted(directories + files)):
            time = 1_600_000_000_000_000_000 + number * 1_000_000_007 + index * 500
            path = os.path.join(parent, name)
            os.utime(path, ns=(time, time), follow_symlinks=False)
    os.utime(root / "empty", ns=(-2_000_000_000, -2_000_000_000))
    os.utime(root, ns=(0, 0))


def make_bundle(parent: Path, *, config: bytes = CONFIG) -> tuple[Path, Path]:
    """A bundle of :func:`make_tree` and its entries file."""
    bundle = parent / "bundle"
    (bundle / "rootfs").mkdir(parents=True)
    make_tree(bundle / "rootfs")
    (bundle / "config.json").write_bytes(config)
    entries = parent / "entries.jsonl"
    write_entries(entries, scan_entries(bundle / "rootfs"))
    return bundle, entries


def write_entries(path: Path, entries: list[Entry]) -> None:
    path.write_bytes(b"".join(entry.to_line() for entry in entries))
