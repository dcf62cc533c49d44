"""A rootfs on the disk, held against its recorded entries.

What this host could not represent is recorded beside the entries and is no difference. A tree that
an ordinary user built belongs to that user, with the owners of the image in an attribute.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from ..errors import StoreError
from ..oci import entry as kinds
from ..oci.entry import Entry
from .layers.pool import ROOTLESS_XATTR, rootless_owner
from .recorded_entries import load_entries, show

MODE_TYPES = {
    kinds.FILE: stat.S_IFREG,
    kinds.DIRECTORY: stat.S_IFDIR,
    kinds.SYMLINK: stat.S_IFLNK,
    kinds.CHARACTER: stat.S_IFCHR,
    kinds.BLOCK: stat.S_IFBLK,
    kinds.FIFO: stat.S_IFIFO,
}
HOST_XATTRS = frozenset({b"security.selinux"})
"""What a host's policy adds to every file, whatever the image says."""

GRAINS = (10**9, 2 * 10**9, 10**7, 100)
"""Nanoseconds that file systems round times down to: ext4 with small inodes, FAT, exFAT, NTFS."""

OLDEST, NEWEST = -(1 << 31) * 10**9, (1 << 31) * 10**9
"""Times that every file system can hold; others are clamped, each by its own rule."""


class Difference(NamedTuple):
    """``path`` is absolute within the rootfs and printable."""

    path: str
    message: str


class Recorded(NamedTuple):
    """Entries by path, names by directory, and what was lost by path."""

    entries: dict[bytes, Entry]
    children: dict[bytes, set[bytes]]
    lost: dict[bytes, dict[str, str]]


def first_difference(rootfs: Path, entries: Path, unrepresented: Path) -> Difference | None:
    """The first path, by byte order, that is not as recorded. Raises: StoreError, ContentError."""
    recorded = load_recorded(entries, unrepresented)
    os.lstat(rootfs)
    if os.geteuid() == 0:
        return compare(rootfs, recorded)
    return _compare_mapped(rootfs, recorded)


def load_recorded(entries: Path, unrepresented: Path) -> Recorded:
    found = Recorded({}, {}, {})
    for each in load_entries(entries):
        found.entries[each.path] = each
        if each.path:
            parent, _, name = each.path.rpartition(b"/")
            found.children.setdefault(parent, set()).add(name)
    try:
        lines = unrepresented.read_bytes().splitlines()
    except FileNotFoundError:
        lines = []
    for line in lines:
        lost = json.loads(line)
        found.lost.setdefault(kinds.raw(lost["path"]), {})[lost["what"]] = lost["why"]
    return found


def _compare_mapped(rootfs: Path, recorded: Recorded) -> Difference | None:
    """As root of a namespace: so owners are seen as the builder set them, and files without any
    permission can be read too."""
    from .layers.remote import find_mapping
    from .user_namespace import run_mapped, single_id_map

    reader, writer = os.pipe()

    def work() -> None:
        found = compare(rootfs, recorded)
        os.write(writer, json.dumps(found).encode()[:65536])

    try:
        done = run_mapped(find_mapping() or single_id_map(), work)
    except OSError:
        done = False
    os.close(writer)
    with open(reader, "rb") as answer:
        content = answer.read()
    if not done or not content:
        return compare(rootfs, recorded)
    found = json.loads(content)
    return Difference(*found) if found else None


def compare(rootfs: Path, recorded: Recorded) -> Difference | None:
    """With this process's rights. Raises: StoreError."""
    base = os.fsencode(rootfs)
    owners = _owners(rootfs, recorded)
    extra: list[bytes] = []
    for path in sorted(recorded.entries):
        each = recorded.entries[path]
        place = os.path.join(base, path) if path else base
        lost = recorded.lost.get(path, {})
        try:
            message = _difference(place, each, lost, owners)
            if not message and each.hard_link:
                message = _link_difference(base, each)
            if not message and each.type == kinds.DIRECTORY:
                extra += _extra_names(place, path, recorded.children.get(path, set()))
        except OSError as error:
            raise StoreError(f"cannot be read: {error.strerror}", subject=show(path)) from error
        if message:
            extra = [name for name in extra if name < path]
            return _added(extra) if extra else Difference(show(path), message)
    return _added(extra) if extra else None


def _owners(rootfs: Path, recorded: Recorded) -> Owners:
    """Whoever the root belongs to stands for its recorded owner: an ordinary user for root."""
    found, root = os.lstat(rootfs), recorded.entries.get(b"")
    return Owners(found.st_uid, found.st_gid, root.uid if root else 0, root.gid if root else 0)


class Owners(NamedTuple):
    """The root's user and group on the disk, and what was recorded for them."""

    uid: int
    gid: int
    recorded_uid: int
    recorded_gid: int

    def of(self, found: os.stat_result) -> tuple[int, int]:
        return (
            self.recorded_uid if found.st_uid == self.uid else found.st_uid,
            self.recorded_gid if found.st_gid == self.gid else found.st_gid,
        )


def _added(extra: Iterable[bytes]) -> Difference:
    return Difference(show(min(extra)), "is there and was not unpacked from the image")


def _extra_names(place: bytes, path: bytes, known: set[bytes]) -> list[bytes]:
    prefix = path + b"/" if path else b""
    return [prefix + name for name in os.listdir(place) if name not in known]


def _difference(place: bytes, each: Entry, lost: dict[str, str], owners: Owners) -> str:
    try:
        found = os.lstat(place)
    except (FileNotFoundError, NotADirectoryError):
        return "is missing"
    is_node = "device" in lost
    wanted = stat.S_IFREG if is_node else MODE_TYPES[each.type]
    if stat.S_IFMT(found.st_mode) != wanted:
        return f"is a {_kind(found.st_mode)}, was unpacked as a {each.type}"
    mode = stat.S_IMODE(found.st_mode)
    if each.type != kinds.SYMLINK and mode != each.mode and "mode" not in lost:
        return f"has mode {mode:04o}, was unpacked with {each.mode:04o}"
    return (
        _owner_difference(place, found, each, lost, owners)
        or _time_difference(found, each, lost)
        or _xattr_difference(place, each, lost)
        or ("" if is_node else _content_difference(place, found, each))
    )


def _kind(mode: int) -> str:
    return next((name for name, kind in MODE_TYPES.items() if stat.S_IFMT(mode) == kind), "socket")


def _owner_difference(
    place: bytes, found: os.stat_result, each: Entry, lost: dict[str, str], owners: Owners
) -> str:
    if "owner" in lost:
        return ""
    held = b"" if each.type == kinds.SYMLINK else _xattr(place, ROOTLESS_XATTR)
    if held and ROOTLESS_XATTR not in dict(each.xattrs):
        wanted = rootless_owner(each.uid, each.gid)
        return "" if held == wanted else f"has another recorded owner than {each.uid}:{each.gid}"
    uid, gid = owners.of(found)
    if (uid, gid) == (each.uid, each.gid):
        return ""
    return f"belongs to {uid}:{gid}, was unpacked for {each.uid}:{each.gid}"


def _time_difference(found: os.stat_result, each: Entry, lost: dict[str, str]) -> str:
    clamped = not OLDEST <= each.mtime < NEWEST
    if found.st_mtime_ns == each.mtime or clamped or "mtime" in lost:
        return ""
    if any(found.st_mtime_ns == each.mtime - each.mtime % grain for grain in GRAINS):
        return ""
    return f"was changed: its time is {found.st_mtime_ns} ns, was unpacked with {each.mtime} ns"


def _xattr(place: bytes, name: bytes) -> bytes:
    try:
        return os.getxattr(place, name, follow_symlinks=False)
    except OSError:
        return b""


def _xattr_difference(place: bytes, each: Entry, lost: dict[str, str]) -> str:
    try:
        names = {os.fsencode(name) for name in os.listxattr(place, follow_symlinks=False)}
    except OSError:
        names = set()
    wanted = dict(each.xattrs)
    for name in sorted(names | wanted.keys()):
        text = kinds.text(name)
        if f"xattr {text}" in lost or (name not in wanted and name in HOST_XATTRS):
            continue
        if name == ROOTLESS_XATTR and name not in wanted:
            continue
        if name not in wanted:
            return f"has an attribute {text} that was not unpacked"
        if name not in names or _xattr(place, name) != wanted[name]:
            return f"has not the attribute {text} that was unpacked"
    return ""


def _content_difference(place: bytes, found: os.stat_result, each: Entry) -> str:
    if each.type == kinds.SYMLINK:
        target = os.readlink(place)
        return "" if target == each.target else f"leads to {target!r}, not to {each.target!r}"
    if each.type in (kinds.CHARACTER, kinds.BLOCK):
        device = (os.major(found.st_rdev), os.minor(found.st_rdev))
        return "" if device == each.device else f"is device {device}, not {each.device}"
    if each.type != kinds.FILE:
        return ""
    if found.st_size != each.size:
        return f"has {found.st_size} bytes, was unpacked with {each.size}"
    digest = _sha256(place)
    return "" if digest == each.sha256 else f"has content sha256:{digest}, not {each.sha256}"


def _sha256(place: bytes) -> str:
    import hashlib

    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with open(os.open(place, flags), "rb", buffering=0) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _link_difference(base: bytes, each: Entry) -> str:
    """Names of one file are one inode, unless the file system made copies of it."""
    first = os.lstat(os.path.join(base, each.hard_link))
    found = os.lstat(os.path.join(base, each.path))
    if (first.st_dev, first.st_ino) == (found.st_dev, found.st_ino) or found.st_nlink == 1:
        return ""
    return f"is no longer the same file as {show(each.hard_link)}"
