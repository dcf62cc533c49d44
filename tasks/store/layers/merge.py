"""Merge the indexes of a stack of layers into one tree of names, in memory, base layer first.

Names resolve as they would in a root of their own: symlinks in parents are followed within the
tree, ``..`` stops at its root. Nothing here touches a disk.

Spec: image-spec 1.1 layer.md, "Applying Changesets" and "Whiteouts".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from ...errors import LayerError, LimitExceeded
from .index import (
    DIRECTORY_CODE,
    FILE_CODE,
    HARD_LINK_CODE,
    HELD,
    LACKING,
    OPAQUE_CODE,
    SHA256,
    SYMLINK_CODE,
    WHITEOUT_CODE,
    kind_of,
    target_of,
)

MOST_SYMLINKS = 40
MOST_PARENTS = 4096
MOST_MEMORY = 384 << 20
"""Bytes that names and records may take; what hostile layers can make of few packed bytes."""

MADE_OTHERWISE = (DIRECTORY_CODE, HARD_LINK_CODE)

LIGHT = 96 << 20

LEAF_COST, DIRECTORY_COST, PREFIX_COST, SHARED_COST = 200, 720, 160, 120
"""Bytes that the interpreter needs for a node besides its name and record."""

LAYER_BYTES = 2
"""Each record in the tree has its layer's position before it."""

SHA256_AT = LAYER_BYTES + SHA256.start

Records = Iterable[tuple[bytes, bytes]]


class Directory:
    """``record`` is the layer's, or None for a directory that no layer describes."""

    __slots__ = ("children", "record")

    def __init__(self, record: bytes | None = None) -> None:
        self.children: dict[bytes, Directory | bytes] = {}
        self.record = record

    def leaf(self, name: bytes) -> bytes:
        """What stands there and is no directory."""
        found = self.children[name]
        assert isinstance(found, bytes)
        return found


def layer_of(leaf: bytes) -> int:
    return leaf[0] | leaf[1] << 8


def split(path: bytes) -> list[bytes]:
    return path.split(b"/") if path else []


class Tree:
    """A rootfs as names and records. ``shared`` holds the inodes that hard links may share, and
    ``memory`` says how many bytes all this takes; ``touched`` has the ids of the directories where
    something has another record, was added or is gone."""

    def __init__(self) -> None:
        self.root = Directory()
        self.shared: set[bytes] = set()
        self._layer = b""
        self._position = 0
        self.touched: set[int] = set()
        self._parents: dict[bytes, Directory] = {}
        self.memory = 0
        self._temporary = 0

    def _spend(self, cost: int) -> None:
        self.memory += cost
        if self.memory > MOST_MEMORY:
            self.check_room(0)

    def is_light(self) -> bool:
        """Whether a forked process may have a copy of it."""
        return self.memory < LIGHT

    def check_room(self, more: int) -> None:
        """Raises: LimitExceeded where there is no memory for so many bytes beside the tree."""
        if self.memory + more > MOST_MEMORY:
            raise LimitExceeded(
                f"the layers' names and attributes need more than {MOST_MEMORY >> 20} MiB",
                subject="",
            )

    def count(self) -> int:
        """How many names there are, the root among them."""
        total, pending = 1, [self.root]
        while pending:
            children = pending.pop().children
            total += len(children)
            pending.extend(x for x in children.values() if isinstance(x, Directory))
        return total

    def lacking(self) -> tuple[set[int], list[tuple[Directory, bytes]]]:
        """What the tree shows of files that the layers' pools lack: the layers where one must be
        read from the blob, and the places of those that are held."""
        absent: set[int] = set()
        held: list[tuple[Directory, bytes]] = []
        pending = [self.root]
        while pending:
            directory = pending.pop()
            for name, node in directory.children.items():
                if isinstance(node, Directory):
                    pending.append(node)
                elif node.startswith(LACKING, SHA256_AT) and node[LAYER_BYTES] == FILE_CODE:
                    if node.startswith(HELD, SHA256_AT):
                        held.append((directory, name))
                    else:
                        absent.add(layer_of(node))
        return absent, held

    def spend_for_now(self, cost: int) -> None:
        """Memory that is free again when the layer's whiteouts are done."""
        self._temporary += cost
        self._spend(cost)

    def apply(
        self, position: int, records: Callable[[], Records], *, whiteouts: int, subject: str
    ) -> None:
        """Apply a layer; ``records`` gives its records from the start each time it is called.

        All whiteouts come first, wherever they stand in the layer, and none of them can touch
        what the layer itself brings. Raises: LayerError.
        """
        self._position = position
        self._layer = position.to_bytes(LAYER_BYTES, "little")
        self._parents = {}
        try:
            if whiteouts:
                self._remove(Whiteouts(self, records))
                self.memory -= self._temporary
                self._temporary = 0
            for path, record in records():
                self._add(path, record)
        except LayerError as error:
            error.subject = f"{subject}: {error.subject}".removesuffix(": ")
            raise

    def _remove(self, whiteouts: Whiteouts) -> None:
        """Remove what they name; found all at once, so that their order cannot matter."""
        for parent, name in list(whiteouts.removals()):
            self.touched.add(id(parent))
            if name:
                parent.children.pop(name, None)
            else:
                parent.children.clear()

    def _add(self, path: bytes, record: bytes) -> None:
        kind = kind_of(record)
        if kind in (WHITEOUT_CODE, OPAQUE_CODE):
            return
        parent_path, _, name = path.rpartition(b"/")
        if not name:
            self.root.record = self._layer + record
            return
        parent = self._parents.get(parent_path)
        if parent is None:
            if len(self._parents) >= MOST_PARENTS:
                self._parents.clear()
            parent = self._parents[parent_path] = self._parent(parent_path)
        old = parent.children.get(name)
        if old is None and kind not in MADE_OTHERWISE:
            leaf = parent.children[name] = self._layer + record
            self._spend(LEAF_COST + len(name) + len(leaf))
        elif kind == DIRECTORY_CODE:
            if isinstance(old, Directory):
                old.record = self._layer + record
                return
            self._replace(parent, name, old, Directory(self._layer + record))
        elif kind == HARD_LINK_CODE:
            self._link(parent, name, old, target_of(record), path)
        else:
            self._replace(parent, name, old, self._layer + record)

    def _replace(
        self, parent: Directory, name: bytes, old: Directory | bytes | None, new: Directory | bytes
    ) -> None:
        """Put a node in place; parents found before through what it replaces are found again."""
        if old is not None and (isinstance(old, Directory) or old[LAYER_BYTES] == SYMLINK_CODE):
            self._parents.clear()
        if isinstance(new, Directory):
            self._spend(DIRECTORY_COST + len(name) + len(new.record or b""))
        else:
            self._spend(LEAF_COST + len(name) + len(new))
        if isinstance(old, bytes):
            self.memory -= LEAF_COST + len(name) + len(old)
        parent.children[name] = new

    def _link(
        self,
        parent: Directory,
        name: bytes,
        old: Directory | bytes | None,
        target: bytes,
        path: bytes,
    ) -> None:
        target_parent, _, target_name = target.rpartition(b"/")
        place = self.resolve(split(target_parent))
        leaf = place.children.get(target_name) if place else None
        if leaf is None or isinstance(leaf, Directory):
            what = "a directory" if leaf else "missing"
            raise LayerError(f"hard link to {target!r}, which is {what}", subject=repr(path))
        inode = identity(leaf)
        if inode not in self.shared:
            self._spend(SHARED_COST)
            self.shared.add(inode)
        if leaf is not old:
            self._replace(parent, name, old, leaf)

    def _parent(self, path: bytes) -> Directory:
        found = self.resolve(split(path), create=True)
        assert found is not None, "a parent that is missing is made"
        self.touched.add(id(found))
        return found

    def resolve(self, parts: list[bytes], *, create: bool = False) -> Directory | None:
        """The directory that a path leads to, symlinks followed; None where there is none, nor
        at the end of symlinks that run in a circle.

        Raises: LayerError (with ``create``) for such a circle, and where the same layer has another
        thing in the way.
        """
        stack = [self.root]
        pending = parts[::-1]
        followed = 0
        while pending:
            part = pending.pop()
            if part in (b"", b"."):
                continue
            if part == b"..":
                if len(stack) > 1:
                    stack.pop()
                continue
            node = stack[-1].children.get(part)
            if isinstance(node, Directory):
                stack.append(node)
            elif node is not None and node[LAYER_BYTES] == SYMLINK_CODE:
                followed += 1
                if followed > MOST_SYMLINKS:
                    if not create:
                        return None
                    raise LayerError("too many symlinks in a path", subject=repr(b"/".join(parts)))
                target = target_of(node[LAYER_BYTES:])
                if target.startswith(b"/"):
                    stack = [self.root]
                pending.extend(reversed(target.split(b"/")))
            elif not create:
                return None
            else:
                if node is not None and layer_of(node) == self._position:
                    raise LayerError(
                        f"{part!r} is both a directory and something else in one layer",
                        subject=repr(b"/".join(parts)),
                    )
                self._spend(DIRECTORY_COST + len(part))
                made = Directory()
                self.touched.add(id(stack[-1]))
                stack[-1].children[part] = made
                stack.append(made)
        return stack[-1]


def identity(leaf: bytes) -> bytes:
    """Layer and number of an inode: the leaf's head, without the kind between them."""
    return leaf[:LAYER_BYTES] + leaf[LAYER_BYTES + 1 : LAYER_BYTES + 5]


class Whiteouts:
    """What the whiteouts of one layer remove from the layers below it."""

    def __init__(self, tree: Tree, records: Callable[[], Records]) -> None:
        self._tree = tree
        self._whiteouts: list[tuple[bytes, bool]] = []
        prefixes: set[bytes] = set()
        for path, record in records():
            kind = kind_of(record)
            if kind not in (WHITEOUT_CODE, OPAQUE_CODE):
                continue
            self._whiteouts.append((path, kind == OPAQUE_CODE))
            tree.spend_for_now(PREFIX_COST + len(path))
            parent = path if kind == OPAQUE_CODE else path.rpartition(b"/")[0]
            while parent and parent not in prefixes:
                prefixes.add(parent)
                tree.spend_for_now(PREFIX_COST + len(parent))
                parent = parent.rpartition(b"/")[0]
        self._replaced: dict[bytes, bytes | None] = {
            path: None for path, opaque in self._whiteouts if not opaque and path in prefixes
        }
        for path, record in records():
            if path in prefixes and kind_of(record) not in (WHITEOUT_CODE, OPAQUE_CODE):
                self._replaced[path] = record
                tree.spend_for_now(PREFIX_COST + len(path) + len(record))

    def removals(self) -> Iterator[tuple[Directory, bytes]]:
        """Directory and name of what goes; an empty name means all of the directory's names."""
        for path, opaque in self._whiteouts:
            parent, _, name = (path, b"", b"") if opaque else path.rpartition(b"/")
            directory = self._lower(parent)
            if directory is not None:
                yield directory, name

    def _lower(self, path: bytes) -> Directory | None:
        """The lower layers' directory at a path, if the layer lets it stand.

        Where the layer itself has the path, the lower layers' symlink there is gone: below a
        directory there is then nothing of theirs; a symlink leads on by the layer's own text.
        """
        parts = split(path)
        for count in range(1, len(parts) + 1):
            prefix = b"/".join(parts[:count])
            if prefix not in self._replaced:
                continue
            record = self._replaced[prefix]
            kind = None if record is None else kind_of(record)
            if kind == SYMLINK_CODE and record is not None:
                rest = target_of(record).split(b"/")
                start = [] if not rest[0] else parts[: count - 1]
                return self._tree.resolve([*start, *rest, *parts[count:]])
            if kind != DIRECTORY_CODE or not self._is_directory(parts[:count]):
                return None
        return self._tree.resolve(parts)

    def _is_directory(self, parts: list[bytes]) -> bool:
        parent = self._tree.resolve(parts[:-1])
        return parent is not None and isinstance(parent.children.get(parts[-1]), Directory)
