"""Stack: the merged tree of some layers as files, for the next image that begins with them.

    stack       the tree
    listing     the entries of an image that had more layers above: a link to its list
    listed      where in that list stands what is below each directory of the tree

They stand beside the uppermost of those layers and are a cache: they hold while those layers are
the very ones that were merged and, as nothing is synced, in that boot of the machine.
"""

from __future__ import annotations

import json
import os
import struct
from array import array
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ...boot import boot_id
from .listing import NOTHING, write_list
from .merge import Directory, Tree, layer_of
from .unpack import STACK_FILE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, BinaryIO

    from .listing import Range

    Facts = list[dict[str, Any]]

LISTING_FILE, LISTED_FILE = "listing", "listed"
FORMAT = 1
BUFFER = 1 << 17

HEAD = struct.Struct("<IHIIII")
"""Of a directory: number of its parent, in the order of the file; bytes of its name and of its
record; how many of its names are no directories; bytes of those names and of their records."""


class Stack:
    """A tree as it was kept in ``place`` when it had ``count`` layers, whatever became of it since.

    ``order`` has the directories that it had, each with the number of its parent.
    """

    def __init__(
        self, place: Path, count: int, token: str, tree: Tree, order: list[tuple[int, Directory]]
    ) -> None:
        self.tree = tree
        self._place = place
        self._count = count
        self._token = token
        self._order = order
        self._shared = frozenset(tree.shared)
        self._known = NOTHING
        self._source = -1
        tree.touched = set()

    def look(self, *, implied_mtime: int) -> bool:
        """Look for a list of an image that has this stack, now that the tree is whole."""
        with suppress(OSError, ValueError, LookupError):
            self._source = os.open(self._place / LISTING_FILE, os.O_RDONLY | os.O_CLOEXEC)
            with open(self._place / LISTED_FILE, "rb") as file:
                about = self._about(os.fstat(self._source), implied_mtime)
                if json.loads(file.readline()) == about:
                    places = array("Q", file.read())
                    self._known = {
                        id(directory): (places[2 * number], places[2 * number + 1])
                        for number, directory in self._untouched()
                        if places[2 * number + 1]
                    }
        return bool(self._known)

    def close(self) -> None:
        if self._source >= 0:
            os.close(self._source)
            self._source = -1

    def list_entries(self, path: Path, *, implied_mtime: int) -> None:
        """Write the entries of the tree, and keep the list if there was none.

        Raises: LimitExceeded, OSError.
        """
        ranges = write_list(
            self.tree, path, implied_mtime=implied_mtime, known=self._known, source=self._source
        )
        if not self._known:
            with suppress(OSError):
                self._keep_list(path, ranges, implied_mtime)

    def _keep_list(self, path: Path, ranges: Mapping[int, Range], implied_mtime: int) -> None:
        places = array("Q", bytes(16 * len(self._order)))
        for number, directory in self._untouched():
            places[2 * number], places[2 * number + 1] = ranges.get(id(directory), (0, 0))
        listing, listed = (path.with_name(f"{path.name}-{x}") for x in (LISTING_FILE, LISTED_FILE))
        os.link(path, listing)
        with open(listed, "xb") as file:
            about = self._about(os.stat(path), implied_mtime)
            file.write(json.dumps(about).encode() + b"\n" + places.tobytes())
        os.replace(listing, self._place / LISTING_FILE)
        os.replace(listed, self._place / LISTED_FILE)

    def _about(self, found: os.stat_result, implied_mtime: int) -> list[Any]:
        """What must be the same when a list is used: the kept tree, which of its inodes have come
        to be shared by hard links since, and the very file."""
        new = self.tree.shared - self._shared
        shared = sorted(inode.hex() for inode in new if layer_of(inode) < self._count)
        file = [found.st_ino, found.st_size, found.st_mtime_ns]
        return [self._token, implied_mtime, shared, file]

    def _untouched(self) -> Iterator[tuple[int, Directory]]:
        """The directories in which, and below which, all is as it was kept, with their numbers."""
        touched = self.tree.touched
        for number in range(len(self._order) - 1, 0, -1):
            parent, directory = self._order[number]
            if id(directory) in touched:
                touched.add(id(self._order[parent][1]))
            else:
                yield number, directory


def save(place: Path, tree: Tree, facts: Facts, work: Path) -> Stack:
    """Keep the tree of the layers that have these facts. Raises: OSError."""
    made = work / f"{STACK_FILE}-{len(facts)}"
    order: list[tuple[int, Directory]] = [(0, tree.root)]
    token = os.urandom(16).hex()
    about = {
        "format": FORMAT,
        "boot": boot_id(),
        "layers": _tokens(facts),
        "token": token,
        "memory": tree.memory,
        "shared": [inode.hex() for inode in tree.shared],
    }
    with open(made, "wb", buffering=BUFFER) as file:
        file.write(json.dumps(about).encode() + b"\n")
        names = [b""]
        for number, (parent, directory) in enumerate(order):
            file.write(_packed(parent, names[number], directory))
            for name, node in directory.children.items():
                if isinstance(node, Directory):
                    order.append((number, node))
                    names.append(name)
    os.replace(made, place / STACK_FILE)
    return Stack(place, len(facts), token, tree, order)


def _tokens(facts: Facts) -> list[str]:
    """What says that layers were not unpacked anew, nor completed. Files may have been released
    since: the tree then says that they are held, and whoever wants to have them finds them."""
    return [each["token"] for each in facts]


def _packed(parent: int, name: bytes, directory: Directory) -> bytes:
    record = directory.record or b""
    names, leaves = [], []
    for child, node in directory.children.items():
        if not isinstance(node, Directory):
            names.append(child)
            leaves.append(node)
    lengths = array("I", map(len, leaves)).tobytes()
    joined, records = b"\0".join(names), b"".join(leaves)
    head = HEAD.pack(parent, len(name), len(record), len(names), len(joined), len(records))
    return b"".join((head, name, record, joined, lengths, records))


def load(place: Path, facts: Facts) -> Stack | None:
    """The tree of layers that have these facts, if it was kept."""
    try:
        with open(place / STACK_FILE, "rb", buffering=BUFFER) as file:
            about = json.loads(file.readline())
            found = about["format"], about["boot"], about["layers"]
            if found != (FORMAT, boot_id(), _tokens(facts)):
                return None
            tree = Tree()
            tree.memory = about["memory"]
            tree.shared = {bytes.fromhex(inode) for inode in about["shared"]}
            order: list[tuple[int, Directory]] = []
            for parent, name, directory in _directories(file):
                if order:
                    order[parent][1].children[name] = directory
                order.append((parent, directory))
            tree.root = order[0][1]
            return Stack(place, len(facts), about["token"], tree, order)
    except (OSError, ValueError, LookupError, struct.error):
        return None


def _directories(file: BinaryIO) -> Iterator[tuple[int, bytes, Directory]]:
    while head := file.read(HEAD.size):
        parent, name_size, record_size, count, names_size, leaves_size = HEAD.unpack(head)
        name = file.read(name_size)
        directory = Directory(file.read(record_size) or None)
        if count:
            names = file.read(names_size).split(b"\0")
            lengths = array("I", file.read(count * 4))
            leaves, at, children = file.read(leaves_size), 0, directory.children
            for leaf, length in zip(names, lengths, strict=True):
                children[leaf] = leaves[at : at + length]
                at += length
        yield parent, name, directory
