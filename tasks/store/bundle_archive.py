"""The members of an exported bundle, in the order in which import expects them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import StoreError
from ..oci import entry as kinds
from ..oci.canonical_json import pretty
from .recorded_entries import load_tree
from .tar_writer import END, NANOSECONDS, file_header, member_header, padding
from .tree_content import TreeContent

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .archive_stream import Sink

FORMAT_VERSION = 1
CARD, ENTRIES, CONFIG, ROOTFS = "doit-oci.json", "entries.jsonl", "config.json", "rootfs"
ROOTFS_PREFIX = b"rootfs/"


def card(*, name: str, digest: str) -> bytes:
    """The first member: what this is, and what it must be found to be."""
    return pretty({"formatVersion": FORMAT_VERSION, "bundle": name, "digest": digest})


def write_archive(
    sink: Sink,
    *,
    config_json: Path,
    rootfs: Path,
    entries: Path,
    card: bytes,
    source_date_epoch: int,
    advance: Callable[[int], None],
) -> None:
    """Every member in order; ``advance`` hears of content, in bytes."""
    mtime = source_date_epoch * NANOSECONDS
    write_member(sink, CARD, card, mtime)
    write_file(sink, ENTRIES, entries, mtime)
    write_file(sink, CONFIG, config_json, mtime)
    with TreeContent(rootfs) as content:
        for entry in load_tree(entries):
            sink.write(member_header(ROOTFS_PREFIX, entry))
            if entry.type == kinds.FILE and not entry.hard_link:
                for chunk in content.of(entry):
                    sink.write(chunk)
                    advance(len(chunk))
                sink.write(padding(entry.size))
    sink.write(END)


def write_member(sink: Sink, name: str, content: bytes, mtime: int) -> None:
    sink.write(file_header(name.encode(), size=len(content), mtime=mtime))
    sink.write(content)
    sink.write(padding(len(content)))


def write_file(sink: Sink, name: str, source: Path, mtime: int) -> None:
    """A file of ours that may be large. Raises: StoreError where it changes meanwhile."""
    with source.open("rb") as stream:
        size, written = stream.seek(0, 2), 0
        stream.seek(0)
        sink.write(file_header(name.encode(), size=size, mtime=mtime))
        while chunk := stream.read(1 << 20):
            sink.write(chunk)
            written += len(chunk)
    if written != size:
        raise StoreError("changed while it was read", subject=str(source))
    sink.write(padding(size))
