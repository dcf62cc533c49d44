"""Import a bundle that export wrote: nothing has its final name before all of it is verified.

In: a directory or an archive. Out: a bundle directory and its recorded entries, as if the bundle
had been built here; the digest is computed anew and held against the one that was written.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from .errors import DigestMismatch, StoreError
from .oci.canonical_json import canonical
from .oci.entry import text
from .progress import Progress, Silent
from .store.archive_stream import open_archive
from .store.bundle_archive import CONFIG, ENTRIES, ROOTFS
from .store.bundle_digest import bundle_digest
from .store.bundle_reader import ArchiveSource, BundleSource, Card, DirectorySource
from .store.final_name import new_directory, said_of
from .store.tree_content import TreeContent
from .store.tree_writer import Lost, write_tree

if TYPE_CHECKING:
    from pathlib import Path

    from .oci.entry import Entry


def imported_name(source: Path) -> str:
    """The bundle name that an export carries, to choose a destination by. Raises: ContentError."""
    with ExitStack() as stack:
        return open_source(source, stack).card().bundle


def import_bundle(
    *,
    source: Path,
    destination: Path,
    entries: Path,
    unrepresented: Path | None = None,
    expected: str | None = None,
    progress: Progress | None = None,
) -> str:
    """Make the bundle directory ``destination``, write ``entries`` and return the bundle digest.

    Where this is no root, owners are recorded as a build would do it.

    ``expected`` is the digest that the caller wants, for example from the lock; ``unrepresented``
    takes JSON lines of what this user or file system cannot hold. Raises: ContentError,
    DigestMismatch, UnsafeEntry; StoreError where the destination exists.
    """
    progress = progress or Silent()
    item = progress.start("step", f"import {source.name}")
    gaps: list[tuple[bytes, bytes]] = []

    def lost(entry: Entry, what: str, why: str) -> None:
        line = canonical({"path": text(entry.path), "what": what, "why": why}) + b"\n"
        gaps.append((entry.path, line))

    with ExitStack() as stack:
        found = open_source(source, stack)
        card = found.card()
        destination.parent.mkdir(parents=True, exist_ok=True)
        partial = stack.enter_context(new_directory(destination))
        recorded = partial / f".{ENTRIES}"
        digest = fill(found, card, partial, recorded, expected=expected, lost=lost)
        recorded.replace(prepared(entries))
        if unrepresented is not None:
            prepared(unrepresented).write_bytes(b"".join(line for _, line in sorted(gaps)))
    progress.finish(item)
    return digest


def fill(
    found: BundleSource,
    card: Card,
    partial: Path,
    recorded: Path,
    *,
    expected: str | None,
    lost: Lost,
) -> str:
    """Everything of the bundle, verified on the way; the digest before the first file."""
    found.copy_entries(recorded)
    (partial / CONFIG).write_bytes(found.config())
    digest = bundle_digest(entries=recorded, config_json=partial / CONFIG)
    for wanted in (card.digest, expected):
        if wanted is not None and digest != wanted:
            raise DigestMismatch(subject=card.bundle, expected=wanted, actual=digest)
    rootfs = partial / ROOTFS
    rootfs.mkdir()
    write_tree(rootfs=rootfs, entries=found.entries(recorded), content=found.content, lost=lost)
    partial.chmod(0o755)
    return digest


def prepared(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def open_source(source: Path, stack: ExitStack) -> BundleSource:
    if source.is_dir():
        return DirectorySource(source, stack.enter_context(TreeContent(source / ROOTFS)))
    if not source.exists():
        raise StoreError("no such file or directory", subject=str(source))
    with said_of(source):
        return ArchiveSource(stack.enter_context(open_archive(source)))
