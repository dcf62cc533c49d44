"""Entry: one line of a rootfs as the layer stream says it is, whatever a disk can hold.

A rootfs's recorded entries are the truth that bundle digests, ``verify``, ``export`` and ``diff``
work from: they are the same for root and ordinary users, any umask, locale and file system.
"""

from __future__ import annotations

import json

from ..value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FILE, DIRECTORY, SYMLINK, CHARACTER, BLOCK, FIFO = "file", "dir", "symlink", "char", "block", "fifo"


def text(value: bytes) -> str:
    """UTF-8 whatever the locale, unlike os.fsdecode; other bytes become lone surrogates."""
    return value.decode("utf-8", "surrogateescape")


def raw(value: str) -> bytes:
    """The bytes that :func:`text` was given."""
    return value.encode("utf-8", "surrogateescape")


class Entry(Value):
    """``path`` is relative to the rootfs, without a leading or trailing slash; the root is ``b""``.

    ``mode`` is the twelve permission bits; ``mtime`` is in nanoseconds since the epoch; ``sha256``
    (hexadecimal, of the content) and ``size`` (bytes) belong to files, ``target`` to symlinks,
    ``device`` (major, minor) to devices. Of several names of one file, ``hard_link`` is empty on
    the first by byte order and is that first path on the others, which repeat all else.
    """

    path: bytes
    type: str
    mode: int
    uid: int
    gid: int
    mtime: int
    size: int = 0
    sha256: str = ""
    target: bytes = b""
    xattrs: tuple[tuple[bytes, bytes], ...] = ()
    device: tuple[int, int] | None = None
    hard_link: bytes = b""

    def to_line(self) -> bytes:
        """One line of canonical JSON with a newline: what digests and entry files are made of."""
        found: dict[str, Any] = {
            "path": text(self.path),
            "type": self.type,
            "mode": self.mode,
            "uid": self.uid,
            "gid": self.gid,
            "mtime": self.mtime,
        }
        if self.type == FILE:
            found["size"] = self.size
            found["sha256"] = self.sha256
        if self.type == SYMLINK:
            found["target"] = text(self.target)
        if self.device is not None:
            found["device"] = list(self.device)
        if self.hard_link:
            found["hard_link"] = text(self.hard_link)
        if self.xattrs:
            found["xattrs"] = {text(name): value.hex() for name, value in self.xattrs}
        return json.dumps(found, sort_keys=True, separators=(",", ":")).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> Entry:
        """Read what :meth:`to_line` wrote."""
        found = json.loads(line)
        return cls(
            path=raw(found["path"]),
            type=found["type"],
            mode=found["mode"],
            uid=found["uid"],
            gid=found["gid"],
            mtime=found["mtime"],
            size=found.get("size", 0),
            sha256=found.get("sha256", ""),
            target=raw(found.get("target", "")),
            xattrs=tuple(
                (raw(name), bytes.fromhex(value))
                for name, value in sorted(found.get("xattrs", {}).items())
            ),
            device=tuple(found["device"]) if "device" in found else None,
            hard_link=raw(found.get("hard_link", "")),
        )
