"""Export a bundle: one self-contained directory or archive, the same bytes each time.

In: a bundle's config.json, its tree and its recorded entries. Out, by the name's ending: a
directory, ``.tar``, ``.tar.gz`` or ``.tar.zst``. Owners, modes, times, attributes and devices come
from the entries, so an ordinary user's export has the true ones; content comes from the tree and
is held against the entries on the way.

    doit-oci.json      format version, bundle name, digest and platform: what import checks first
    entries.jsonl      the recorded entries
    config.json        the portable runtime configuration
    rootfs/            the tree

An archive is a runtime bundle as it stands: unpack it with tar and call runc.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .progress import Progress, Silent
from .store import bundle_archive as parts
from .store.archive_stream import compressed, compression_of
from .store.bundle_digest import bundle_digest
from .store.final_name import new_directory, new_file
from .store.recorded_entries import load_tree, show
from .store.tar_writer import NANOSECONDS
from .store.tree_content import TreeContent
from .store.tree_writer import write_tree

if TYPE_CHECKING:
    from pathlib import Path


def export_bundle(
    *,
    bundle: Path,
    entries: Path,
    destination: Path,
    name: str = "",
    rootfs: Path | None = None,
    source_date_epoch: int = 0,
    progress: Progress | None = None,
) -> dict[str, str]:
    """Write ``destination`` and return its facts: digest, and how much a directory could not hold.

    ``rootfs`` is the tree where it is not ``bundle``/rootfs; ``source_date_epoch`` (seconds) is
    the time of our own files. Raises: StoreError where the destination exists; DigestMismatch
    where the tree is not what was built.
    """
    progress = progress or Silent()
    tree = rootfs or bundle / parts.ROOTFS
    config_json = bundle / parts.CONFIG
    digest = bundle_digest(entries=entries, config_json=config_json)
    card = parts.card(name=name, digest=digest)
    item = progress.start("step", f"export {destination.name}")
    compression = compression_of(destination.name)
    lost: list[str] = []
    if compression is None:
        lost = export_directory(
            destination,
            config_json=config_json,
            rootfs=tree,
            entries=entries,
            card=card,
            time=source_date_epoch * NANOSECONDS,
        )
    else:
        with new_file(destination) as stream, compressed(stream, compression) as sink:
            parts.write_archive(
                sink,
                config_json=config_json,
                rootfs=tree,
                entries=entries,
                card=card,
                source_date_epoch=source_date_epoch,
                advance=lambda count: progress.advance(item, count),
            )
    progress.finish(item)
    for gap in lost:
        progress.note(f"{destination.name}: not represented: {gap}")
    return {"digest": digest, "path": str(destination), "lost": str(len(lost))}


def export_directory(
    destination: Path, *, config_json: Path, rootfs: Path, entries: Path, card: bytes, time: int
) -> list[str]:
    """The same as a directory; returns what could not be represented, one text each.

    ``time`` (nanoseconds) is that of our own files.
    """
    import os
    import shutil

    lost: list[str] = []
    with new_directory(destination) as partial, TreeContent(rootfs) as content:
        (partial / parts.CARD).write_bytes(card)
        shutil.copyfile(entries, partial / parts.ENTRIES)
        shutil.copyfile(config_json, partial / parts.CONFIG)
        (partial / parts.ROOTFS).mkdir()
        write_tree(
            rootfs=partial / parts.ROOTFS,
            entries=load_tree(entries),
            content=content.of,
            lost=lambda entry, what, why: lost.append(f"{what} of {show(entry.path)}: {why}"),
        )
        for name in (parts.CARD, parts.ENTRIES, parts.CONFIG):
            (partial / name).chmod(0o644)
            os.utime(partial / name, ns=(time, time))
        partial.chmod(0o755)
        os.utime(partial, ns=(time, time))
    return lost
