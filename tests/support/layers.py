"""Layers in a few words: tar streams made of entries, blobs of them, and a place to unpack in."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tasks.oci.descriptor import Descriptor
from tasks.oci.digest import Digest
from tasks.oci.entry import Entry
from tasks.oci.media_type import OCI_LAYER_GZIP
from tasks.rootfs import LayerSource, build_rootfs

TYPES = {
    "file": tarfile.REGTYPE,
    "dir": tarfile.DIRTYPE,
    "symlink": tarfile.SYMTYPE,
    "link": tarfile.LNKTYPE,
    "fifo": tarfile.FIFOTYPE,
    "char": tarfile.CHRTYPE,
    "block": tarfile.BLKTYPE,
}


def item(
    name: str,
    content: bytes | str | None = None,
    *,
    type: str = "",
    link: str = "",
    mode: int | None = None,
    uid: int = 0,
    gid: int = 0,
    mtime: float = 1_700_000_000,
    device: tuple[int, int] = (0, 0),
    pax: Mapping[str, str] | None = None,
) -> tuple[tarfile.TarInfo, bytes]:
    """One entry. A name with a trailing slash is a directory; ``link`` alone makes a symlink."""
    data = content.encode() if isinstance(content, str) else content or b""
    kind = type or ("dir" if name.endswith("/") else "symlink" if link else "file")
    info = tarfile.TarInfo(name)
    info.type = TYPES[kind]
    info.size = len(data)
    info.mode = mode if mode is not None else (0o755 if kind == "dir" else 0o644)
    info.uid, info.gid, info.mtime, info.linkname = uid, gid, mtime, link
    info.devmajor, info.devminor = device
    info.pax_headers = dict(pax or {})
    return info, data


def tar(
    entries: Iterable[tuple[tarfile.TarInfo, bytes]], *, format: int = tarfile.PAX_FORMAT
) -> bytes:
    """A tar stream of entries."""
    out = io.BytesIO()
    with tarfile.open(
        fileobj=out, mode="w", format=format, encoding="utf-8", errors="surrogateescape"
    ) as archive:
        for info, data in entries:
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


class Images:
    """Blobs in a directory, and rootfs trees built from them as one state directory would."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.blobs = state / "blobs"
        self.blobs.mkdir(parents=True)

    def layer(
        self,
        stream: bytes,
        *,
        packed: bytes | None = None,
        media_type: str = OCI_LAYER_GZIP,
        diff_id: str | None = None,
        size: int | None = None,
        digest: str | None = None,
    ) -> LayerSource:
        """Store a layer; whatever is given instead of computed may lie."""
        blob = gzip.compress(stream, 1, mtime=0) if packed is None else packed
        encoded = hashlib.sha256(blob).hexdigest()
        path = self.blobs / encoded
        path.write_bytes(blob)
        return LayerSource(
            descriptor=Descriptor(
                media_type=media_type,
                digest=Digest("sha256", digest or encoded),
                size=len(blob) if size is None else size,
            ),
            diff_id=Digest("sha256", diff_id or hashlib.sha256(stream).hexdigest()),
            path=path,
        )

    def build(
        self, *streams: bytes | LayerSource, name: str = "it", **more: Any
    ) -> tuple[Path, dict[str, Entry]]:
        """The rootfs of a stack of layers, and its recorded entries by path."""
        layers: Sequence[LayerSource] = [
            stream if isinstance(stream, LayerSource) else self.layer(stream) for stream in streams
        ]
        rootfs = self.rootfs(name)
        build_rootfs(
            layers=layers,
            layers_dir=self.state / "layers",
            destination=rootfs,
            entries=self.entries(name),
            unrepresented=self.unrepresented(name),
            tmp=self.state / "tmp",
            **more,
        )
        return rootfs, self.recorded(name)

    def rootfs(self, name: str = "it") -> Path:
        return self.state / "bundles" / name / "rootfs"

    def entries(self, name: str = "it") -> Path:
        return self.state / "entries" / f"{name}.jsonl"

    def unrepresented(self, name: str = "it") -> Path:
        return self.state / "entries" / f"{name}.unrepresented.jsonl"

    def recorded(self, name: str = "it") -> dict[str, Entry]:
        lines = self.entries(name).read_bytes().splitlines(keepends=True)
        entries = [Entry.from_line(line) for line in lines]
        assert [entry.to_line() for entry in entries] == lines
        assert [entry.path for entry in entries] == sorted(entry.path for entry in entries)
        return {entry.path.decode(errors="surrogateescape"): entry for entry in entries}

    def lost(self, name: str = "it") -> list[dict[str, str]]:
        return [json.loads(line) for line in self.unrepresented(name).read_bytes().splitlines()]
