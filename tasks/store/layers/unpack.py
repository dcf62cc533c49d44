"""Unpack one layer into a directory: a pool of inodes, an index, and what could not be represented.

    pool/                one inode an entry, named by number
    index                see `index`
    held                 see `held`; only where something is held
    unrepresented        JSON lines: number, what, why
    layer.json           written last; its counts are those of the three above

Spec: image-spec 1.1 layer.md.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

from ...boot import boot_id
from ...errors import DoitOciError, LayerError, UnsafeEntry
from ...oci import entry
from ...oci.whiteout import AUFS_PREFIX, OPAQUE, PREFIX, is_whiteout, parse_whiteout
from . import index
from .completing import Completing
from .cover import WORTH_LEAVING, Cover
from .held import Holder
from .pool import Metadata, Pool, Unrepresented
from .source import LayerSource, UnpackLimits, over
from .stream import LayerStream
from .tar_reader import HARD_LINK, Member, TarReader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

LAYER_FILE = "layer.json"
INDEX_FILE = "index"
STACK_FILE = "stack"
UNREPRESENTED_FILE = "unrepresented"
POOL = "pool"
SINGLE = "single"

MOST_ID = (1 << 32) - 2
"""The largest user or group; one more means "leave it as it is" to chown."""

LATEST = (1 << 40) * 1_000_000_000
"""Nanoseconds, and far beyond what any file system keeps."""

MOST_PATH = 4095
MOST_TARGET = 4095
MOST_NAME = 255


SLASH = 0x2F
AWKWARD_STARTS = (b".", b"/", b"")


def clean_path(name: bytes) -> bytes:
    """A name relative to the root: no empty, ``.`` or ``..`` components; the root is empty.

    >>> clean_path(b"./usr//lib/../bin/")
    b'usr/bin'

    Raises: UnsafeEntry where ``..`` would climb above the root.
    """
    if name[:2] == b"./":
        name = name[2:]
    if name[:1] not in AWKWARD_STARTS and b"/." not in name and b"//" not in name:
        return name[:-1] if name[-1] == SLASH else name
    parts: list[bytes] = []
    for part in name.split(b"/"):
        if part == b"..":
            if not parts:
                raise UnsafeEntry("the name leads outside the root", subject=repr(name))
            parts.pop()
        elif part not in (b"", b"."):
            parts.append(part)
    return b"/".join(parts)


class LayerWriter:
    """Takes the members of one layer into its pool and index."""

    def __init__(
        self,
        pool: Pool,
        writer: index.Writer,
        limits: UnpackLimits,
        holder: Holder,
        *,
        subject: str,
        cover: Cover | None = None,
    ) -> None:
        self._pool = pool
        self._writer = writer
        self._limits = limits
        self._subject = subject
        self._cover = cover
        self._holder = holder
        self.bytes = 0
        self.whiteouts = 0
        self.absent = 0
        self._makers: dict[str, Callable[[Member, bytes, TarReader], None]] = {
            entry.FILE: self._file,
            entry.DIRECTORY: self._directory,
            entry.SYMLINK: self._symlink,
            entry.CHARACTER: self._node,
            entry.BLOCK: self._node,
            entry.FIFO: self._node,
            HARD_LINK: self._hard_link,
        }

    def add(self, member: Member, reader: TarReader) -> None:
        """Raises: LayerError and its kinds."""
        if self._writer.count >= self._limits.entries:
            self._stop("entries", f"the layer has more than {self._limits.entries} entries")
        path = clean_path(member.name)
        if len(path) > MOST_NAME or path.count(b"/") >= self._limits.path_depth or b"\0" in path:
            self._check_path(path)
        if PREFIX in path:
            name = path.rpartition(b"/")[2]
            if is_whiteout(name):
                self._whiteout(path, name)
                return
        if not path and member.type != entry.DIRECTORY:
            raise UnsafeEntry("the root is a directory and nothing else", subject=repr(member.name))
        if not (0 <= member.uid <= MOST_ID and 0 <= member.gid <= MOST_ID):
            raise LayerError(
                f"owner {member.uid}:{member.gid} is no user of a Linux system",
                subject=repr(member.name),
            )
        if abs(member.mtime) > LATEST:
            raise LayerError("the time is none that a system has", subject=repr(member.name))
        try:
            self._makers[member.type](member, path, reader)
        except struct.error:
            raise LayerError("a number in the header is too large", subject=repr(path)) from None

    def _stop(self, limit: str, message: str) -> None:
        raise over(limit, message, subject=self._subject)

    def _check_path(self, path: bytes) -> None:
        if b"\0" in path:
            raise UnsafeEntry("a name holds a NUL", subject=repr(path[:80]))
        parts = path.split(b"/")
        if len(parts) > self._limits.path_depth:
            self._stop("path_depth", f"a path has {len(parts)} components")
        if len(path) > MOST_PATH or any(len(part) > MOST_NAME for part in parts):
            raise LayerError(
                f"a name is longer than a Linux system takes ({MOST_NAME} bytes a component, "
                f"{MOST_PATH} in all)",
                subject=repr(path[:80]),
            )

    def _whiteout(self, path: bytes, name: bytes) -> None:
        parent = path[: len(path) - len(name)].rstrip(b"/")
        if name == OPAQUE:
            self._writer.add(parent, index.pack(index.OPAQUE_CODE, 0))
        elif name.startswith(AUFS_PREFIX):
            return
        else:
            removed = parse_whiteout(name)
            self._writer.add(
                parent + b"/" + removed if parent else removed, index.pack(index.WHITEOUT_CODE, 0)
            )
        self.whiteouts += 1

    def _record(self, member: Member, path: bytes, number: int, **more: Any) -> None:
        record = index.pack(
            index.CODES[member.type],
            number,
            mode=member.mode,
            uid=member.uid,
            gid=member.gid,
            mtime=member.mtime,
            xattrs=index.xattrs_text(member.xattrs),
            **more,
        )
        self._writer.add(path, record)

    def _file(self, member: Member, path: bytes, reader: TarReader) -> None:
        self.bytes += member.size
        if self.bytes > self._limits.unpacked_bytes:
            self._stop(
                "unpacked_bytes", f"unpacks to more than {self._limits.unpacked_bytes} bytes"
            )
        number = self._writer.count
        offset = 0
        if self._cover is None or not self._cover.hides(path):
            sha256 = self._pool.add_file(number, member, reader)
        elif member.size >= WORTH_LEAVING:
            sha256 = index.ABSENT
            self.absent += 1
        elif member.extents is None:
            offset = self._holder.size
            sha256 = self._holder.add(reader)
        else:
            sha256 = self._pool.add_file(number, member, reader)
        self._writer.add(path, index.pack_file(member, number, sha256, offset))

    def _directory(self, member: Member, path: bytes, reader: TarReader) -> None:
        self._record(member, path, self._writer.count)

    def _symlink(self, member: Member, path: bytes, reader: TarReader) -> None:
        member.mode = 0o777
        target = member.link
        if not target or len(target) > MOST_TARGET or b"\0" in target:
            raise LayerError(
                f"the symlink target {target[:80]!r} cannot be stored", subject=repr(path)
            )
        number = self._writer.count
        self._pool.add_symlink(number, member)
        self._record(member, path, number, target=target)

    def _node(self, member: Member, path: bytes, reader: TarReader) -> None:
        device = member.device
        if not (0 <= device[0] < 1 << 12 and 0 <= device[1] < 1 << 20):
            raise LayerError(f"there is no device {device[0]}:{device[1]}", subject=repr(path))
        number = self._writer.count
        self._pool.add_node(number, member, reader)
        self._record(member, path, number, device=device)

    def _hard_link(self, member: Member, path: bytes, reader: TarReader) -> None:
        target = clean_path(member.link)
        if not target or len(target) > MOST_PATH or b"\0" in target:
            raise UnsafeEntry(
                f"a hard link to {member.link[:80]!r} is no link to a file", subject=repr(path)
            )
        self._writer.add(path, index.pack(index.HARD_LINK_CODE, 0, target=target))


def unpack_layer(
    source: LayerSource,
    directory: Path,
    *,
    limits: UnpackLimits,
    owners: str,
    ahead: Callable[[], bool] | None,
    advance: Callable[[int], None],
    note: Callable[[str], None],
    cover: Cover | None = None,
    partial: Path | None = None,
) -> dict[str, Any]:
    """Fill ``directory`` (new and empty) from a layer's blob, and return what layer.json holds.

    ``ahead`` says when a thread may inflate and hash while this one writes. Large files that
    ``cover`` hides are left out, small ones are held. ``partial`` is the same layer with files
    missing: only they are made.

    Raises: ContentError, LayerError, OSError.
    """
    pool_path = directory / POOL
    os.mkdir(pool_path, 0o700)
    blob = os.open(source.path, os.O_RDONLY | os.O_CLOEXEC)
    pool = os.open(pool_path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        stream = LayerStream(blob, source, limits, advance=advance, note=note)
        with (
            open(directory / INDEX_FILE, "xb", buffering=1 << 16) as index_file,
            open(directory / UNREPRESENTED_FILE, "xb") as unrepresented,
            closing(Holder(directory)) as holder,
        ):
            metadata = Metadata(
                single=owners == SINGLE, unrepresented=Unrepresented(unrepresented).add
            )
            writer = index.Writer(index_file)
            where = pool, str(pool_path), metadata
            layer = LayerWriter(
                Completing(*where, index.records_of(partial / INDEX_FILE))
                if partial
                else Pool(*where),
                writer,
                limits,
                holder,
                subject=stream.subject,
                cover=cover,
            )
            pieces = stream.pieces()
            if ahead:
                from .ahead import read_ahead_when

                pieces = read_ahead_when(ahead, pieces)
            with closing(pieces) as found:
                _take_members(found, layer, limits, subject=stream.subject)
    finally:
        os.close(pool)
        os.close(blob)
    facts: dict[str, Any] = {
        "format": index.FORMAT,
        "diff_id": str(source.diff_id),
        "entries": writer.count,
        "whiteouts": layer.whiteouts,
        "bytes": layer.bytes,
        "absent": layer.absent,
        "held": holder.count,
        "index": os.stat(directory / INDEX_FILE).st_size,
        "owners": owners,
        "boot": boot_id(),
        "token": os.urandom(16).hex(),
        "place": place(partial / POOL if partial else pool_path),
    }
    (directory / LAYER_FILE).write_text(json.dumps(facts, sort_keys=True) + "\n")
    return facts


def _take_members(
    pieces: Iterator[bytes], layer: LayerWriter, limits: UnpackLimits, *, subject: str
) -> None:
    reader = TarReader(pieces, header_bytes=limits.header_bytes, subject=subject)
    members: Iterator[Member] = iter(reader)
    try:
        for member in members:
            layer.add(member, reader)
    except DoitOciError as error:
        if not error.subject.startswith(subject):
            error.subject = f"{subject}: {error.subject}".rstrip(": ")
        raise


def put_in_place(made: Path, layer: Path) -> None:
    """Move what a layer lacked into its pool, then the files that say that it is there: after each
    step the layer is what its index says."""
    for name in os.listdir(made / POOL):
        os.rename(made / POOL / name, layer / POOL / name)
    with open(layer / UNREPRESENTED_FILE, "ab") as file:
        file.write((made / UNREPRESENTED_FILE).read_bytes())
    for name in (INDEX_FILE, LAYER_FILE):
        os.replace(made / name, layer / name)


def place(pool: Path) -> list[int]:
    """What a pool that was copied, restored by a CI's cache or given to somebody else has another
    of: then nobody knows whether owners, attributes and times of its files are still theirs.
    """
    found = os.stat(pool)
    return [found.st_ino, found.st_uid, found.st_gid]


def is_current(facts: dict[str, Any], source: LayerSource, *, owners: str) -> bool:
    """Whether an unpacked layer was made by this version, for this kind of user."""
    return (
        facts.get("format") == index.FORMAT
        and facts.get("diff_id") == str(source.diff_id)
        and facts.get("owners") == owners
    )
