"""Entries: a merged tree as lines, sorted by path, one an entry."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator, Mapping
from json.encoder import encode_basestring_ascii as quoted
from pathlib import Path

from ...oci import entry
from .index import FILE_CODE, KINDS, META, SYMLINK_CODE
from .merge import LAYER_BYTES, SHARED_COST, Directory, Tree, identity

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO

IMPLIED_MODE = 0o755
DEVICES = frozenset({entry.CHARACTER, entry.BLOCK})
COPY_STEP = 1 << 20

Range = tuple[int, int]
"""Where something begins in a file and where it ends."""

NOTHING: Mapping[int, Range] = {}


class Walk:
    """The names of a tree in the order of their whole paths, as bytes.

    A directory comes before its children, and both where their paths sort: ``a``, ``a.b``,
    ``a/b``. So each directory gives two events.
    """

    def __init__(self, tree: Tree) -> None:
        self._tree = tree

    def __iter__(self) -> Iterator[tuple[bytes, Directory | bytes]]:
        yield b"", self._tree.root
        stack = [(self._tree.root, self._events(b"", self._tree.root))]
        while stack:
            inside, events = stack[-1]
            for path, node, enter in events:
                if not enter or not isinstance(node, Directory):
                    yield path, node
                elif self.enter(node):
                    stack.append((node, self._events(path + b"/", node)))
                    break
            else:
                stack.pop()
                if stack:
                    self.leave(inside)

    def enter(self, directory: Directory) -> bool:
        """What is below ``directory`` comes next; whether it is to be walked."""
        return True

    def leave(self, directory: Directory) -> None:
        """What is below ``directory`` was the last that came."""

    def _events(
        self, prefix: bytes, directory: Directory
    ) -> Iterator[tuple[bytes, Directory | bytes, bool]]:
        keys = []
        for name, node in directory.children.items():
            keys.append(name)
            if isinstance(node, Directory) and node.children:
                keys.append(name + b"/")
        keys.sort()
        for key in keys:
            name = key[:-1] if key.endswith(b"/") else key
            yield prefix + name, directory.children[name], name is not key


class Lister(Walk):
    """Writes the entries of a tree, sorted by path.

    ``ranges`` are then the places in the file of what is below a directory, by the directory's id,
    where no hard link is: such lines say nothing of the rest of the tree. ``known`` are such
    places in another file, ``source``, of what is as it was there.
    """

    def __init__(
        self,
        tree: Tree,
        file: BinaryIO,
        *,
        implied_mtime: int,
        known: Mapping[int, Range],
        source: int,
    ) -> None:
        super().__init__(tree)
        self.ranges: dict[int, Range] = {}
        self._file = file
        self._implied_mtime = implied_mtime
        self._known = known
        self._source = source
        self._is_light = tree.is_light()
        self._at = 0
        self._links = 0
        self._entered: list[tuple[int, int]] = []

    def write(self) -> None:
        """Raises: LimitExceeded, OSError."""
        tree, file, implied_mtime = self._tree, self._file, self._implied_mtime
        first_names: dict[bytes, bytes] = {}
        memory = 0
        for path, node in self:
            hard_link = b""
            if isinstance(node, Directory):
                leaf = node.record
            else:
                leaf = node
                if tree.shared and (inode := identity(leaf)) in tree.shared:
                    self._links += 1
                    first = first_names.setdefault(inode, path)
                    if first is path:
                        memory += SHARED_COST + len(path)
                        tree.check_room(memory)
                    else:
                        hard_link = first
            self._at += file.write(line(path, leaf, hard_link, implied_mtime))

    def enter(self, directory: Directory) -> bool:
        known = self._known.get(id(directory))
        if known is None:
            self._entered.append((self._at, self._links))
            return True
        at, end = known
        while at < end:
            piece = os.pread(self._source, min(end - at, COPY_STEP), at)
            if not piece:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            at += len(piece)
            self._at += self._file.write(piece)
        return False

    def leave(self, directory: Directory) -> None:
        start, links = self._entered.pop()
        if links == self._links and self._is_light:
            self.ranges[id(directory)] = start, self._at


def write_list(
    tree: Tree,
    path: Path,
    *,
    implied_mtime: int,
    known: Mapping[int, Range] = NOTHING,
    source: int = -1,
) -> Mapping[int, Range]:
    """Write a file with the entries of a tree; see :class:`Lister`, also for what is returned.

    Raises: LimitExceeded, OSError.
    """
    with open(path, "wb", buffering=1 << 16) as file:
        lister = Lister(tree, file, implied_mtime=implied_mtime, known=known, source=source)
        lister.write()
    return lister.ranges


def write_lost(tree: Tree, file: BinaryIO, lost: Mapping[bytes, bytearray]) -> None:
    """Write what this host lacks of a tree's entries; ``lost`` has it as JSON lines by inode."""
    for path, node in Walk(tree):
        leaf = node.record if isinstance(node, Directory) else node
        if leaf is None:
            continue
        for text in dict.fromkeys(bytes(lost.get(identity(leaf), b"")).splitlines()):
            what, reason = json.loads(text)
            found = {"path": entry.text(path), "what": what, "why": reason}
            file.write(json.dumps(found, sort_keys=True).encode() + b"\n")


def line(path: bytes, leaf: bytes | None, hard_link: bytes, implied_mtime: int) -> bytes:
    """What :meth:`Entry.to_line` gives for this entry, without making one."""
    name = quoted(entry.text(path))
    if leaf is None:
        return (
            f'{{"gid":0,"mode":{IMPLIED_MODE},"mtime":{implied_mtime},"path":{name},'
            f'"type":"dir","uid":0}}\n'
        ).encode()
    kind, _, mode, uid, gid, seconds, nanoseconds, size, sha256, major, minor, length = (
        META.unpack_from(leaf, LAYER_BYTES)
    )
    mtime = seconds * 1_000_000_000 + nanoseconds
    link = f'"hard_link":{quoted(entry.text(hard_link))},' if hard_link else ""
    end = LAYER_BYTES + META.size + length
    xattrs = f',"xattrs":{leaf[end:].decode()}' if len(leaf) > end else ""
    tail = f'"type":"{KINDS[kind]}","uid":{uid}{xattrs}}}\n'
    middle = f'"gid":{gid},{link}"mode":{mode},"mtime":{mtime},"path":{name},'
    if kind == FILE_CODE:
        return f'{{{middle}"sha256":"{sha256.hex()}","size":{size},{tail}'.encode()
    if kind == SYMLINK_CODE:
        target = entry.text(leaf[LAYER_BYTES + META.size : end])
        return f'{{{middle}"target":{quoted(target)},{tail}'.encode()
    device = f'"device":[{major},{minor}],' if KINDS[kind] in DEVICES else ""
    return f"{{{device}{middle}{tail}".encode()
