"""Export a bundle's image as others take it: an image layout, or an archive of one.

In: the locked manifests and the blobs of the store. Out, by the name's ending: a directory (skopeo
and umoci call it ``oci:``), or ``.tar``, ``.tar.gz``, ``.tar.zst`` (``oci-archive:``), the same
bytes each time. Every blob is verified while it is copied.

Spec: image-spec 1.1 image-layout.md.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from .layout import MARKER, index_json
from .oci.entry import DIRECTORY, FILE, Entry
from .progress import Progress, Silent
from .store.archive_stream import CHUNK, compressed, compression_of
from .store.blob_store import BlobStore
from .store.final_name import new_directory, new_file
from .store.tar_writer import END, NANOSECONDS, member_header, padding

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from .oci.descriptor import Descriptor

Member = tuple[Entry, "Iterable[bytes]"]


def export_image(
    *,
    manifests: Mapping[str, Descriptor],
    contents: Iterable[Descriptor],
    tag: str,
    blobs: Path,
    destination: Path,
    source_date_epoch: int = 0,
    progress: Progress | None = None,
) -> None:
    """Write ``destination``; ``manifests`` are by platform, ``contents`` every blob of theirs.

    ``source_date_epoch`` (seconds) is the time of all files. Raises: StoreError
    where the destination exists or a blob is missing; ContentError for a damaged one.
    """
    progress = progress or Silent()
    item = progress.start("step", f"export {destination.name}")
    time = source_date_epoch * NANOSECONDS
    found = members(index_json(manifests, tag), list(contents), blobs, time)
    compression = compression_of(destination.name)
    if compression is None:
        with new_directory(destination) as partial:
            made = []
            for entry, chunks in found:
                write_member(partial, entry, chunks)
                made.append(entry)
            partial.chmod(0o755)
            # A directory gets its time when nothing is made in it any more.
            for name in [*(each.path.decode() for each in reversed(made)), ""]:
                os.utime(partial / name, ns=(time, time))
    else:
        with new_file(destination) as stream, compressed(stream, compression) as sink:
            for entry, chunks in found:
                sink.write(member_header(b"", entry))
                for chunk in chunks:
                    sink.write(chunk)
                    progress.advance(item, len(chunk))
                sink.write(padding(entry.size))
            sink.write(END)
    progress.finish(item)


def members(index: bytes, contents: list[Descriptor], blobs: Path, time: int) -> Iterator[Member]:
    """The files of an image layout and what is in them, in the order of their names."""
    unique = {str(each.digest): each for each in contents}
    store = BlobStore(blobs)
    yield member("blobs", time, None), ()
    folder = ""
    for _, each in sorted(unique.items()):
        algorithm, encoded = each.digest.algorithm, each.digest.encoded
        if algorithm != folder:
            folder = algorithm
            yield member(f"blobs/{folder}", time, None), ()
        yield member(f"blobs/{folder}/{encoded}", time, each.size), verified(store, each)
    yield member("index.json", time, len(index)), (index,)
    yield member("oci-layout", time, len(MARKER)), (MARKER,)


def member(name: str, time: int, size: int | None) -> Entry:
    """A file of ``size`` bytes, or a directory."""
    kind, mode = (DIRECTORY, 0o755) if size is None else (FILE, 0o644)
    path = name.encode()
    return Entry(path=path, type=kind, mode=mode, uid=0, gid=0, mtime=time, size=size or 0)


def verified(store: BlobStore, descriptor: Descriptor) -> Iterator[bytes]:
    """Raises: StoreError, SizeMismatch; DigestMismatch after the last good byte."""
    with store.open_blob(descriptor) as blob:
        buffer = bytearray(CHUNK)
        while count := blob.readinto(buffer):
            yield bytes(memoryview(buffer)[:count])


def write_member(folder: Path, entry: Entry, chunks: Iterable[bytes]) -> None:
    path = folder / entry.path.decode()
    if entry.type == DIRECTORY:
        path.mkdir()
    else:
        with path.open("wb") as stream:
            stream.writelines(chunks)
    path.chmod(entry.mode)
