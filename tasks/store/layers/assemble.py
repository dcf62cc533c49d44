"""From unpacked layers to a rootfs under its name: merge, link, list, put in place."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from ...errors import LimitExceeded
from ...progress import Progress
from . import index, remote, staging, unpack
from .build import Build, load_unsure
from .crew import may_fork
from .listing import write_lost
from .materialise import (
    OPEN_DIRECTORY,
    AlteredLayer,
    Linker,
    no_room,
)
from .merge import Tree, identity
from .merging import Merging
from .remove import refuse_mounted
from .unpacking import retire, unpack_missing

Lost = dict[bytes, bytearray]
"""JSON lines of what a host could not represent, and why, by an inode's identity."""

ATTEMPTS = 5
WORTH_REMOVING_APART = 5_000
"""Entries of an old tree that take longer to remove than people like to wait."""

WORTH_HALVING = 4_000
"""Names that take longer to write than a process takes to fork."""

OTHERS_SHARE = {True: 0.47, False: 0.36}
"""Of the names, for the process that also lists them all: by whether most of the list is known."""

LOST_COST = 200
"""Bytes that the interpreter needs for what an inode lacks, besides the text."""

APART = "tmp"
"""Where layers are staged when they lie on another file system than everything else."""


def run(build: Build, progress: Progress) -> dict[str, str]:
    """Do it all with this process's rights. Raises: DoitOciError and its kinds."""
    try:
        build.tmp.mkdir(parents=True, exist_ok=True)
        for place in (build.layers_dir, *(build.layer_path(x).parent for x in build.layers)):
            place.mkdir(parents=True, exist_ok=True)
        tmp, apart = build.tmp, build.layers_dir / APART
        is_apart = os.stat(tmp).st_dev != os.stat(build.layers_dir).st_dev
        for place in (tmp, apart):
            staging.clean_stale(place, build.containers)
        with (
            staging.work_directory(tmp, build.containers) as work,
            staging.work_directory(apart if is_apart else tmp) as layers_work,
        ):
            if any(load_unsure(build, source) for source in build.layers):
                from .read_back import settle

                settle(build, layers_work, progress)
            facts = _run(build, work, layers_work, progress)
            later = (work / staging.LATER).exists()
        if later:
            remote.clean_apart(tmp, build.containers)
        return facts
    except OSError as error:
        # It is a number where the call was given a descriptor.
        named = error.filename if isinstance(error.filename, str | bytes) else ""
        place = Path(os.fsdecode(named)) if os.path.isabs(named) else build.destination
        raise no_room(error, place) from error


def _run(build: Build, work: Path, layers_work: Path, progress: Progress) -> dict[str, str]:
    fresh: set[int] = set()
    wanting: set[int] = set()
    merging = Merging(build, layers_work)
    for attempt in range(ATTEMPTS):
        try:
            merging.release()
            fresh |= unpack_missing(
                build, layers_work, progress, arrived=merging.advance, wanting=wanting
            )
            with ExitStack() as held:
                for source in build.layers:
                    held.enter_context(staging.locked(build.guard(source), fcntl.LOCK_SH))
                if not merging.is_current():
                    merging = Merging(build, layers_work)
                merging.advance()
                if not merging.is_complete:
                    continue
                wanting = merging.lacking()
                if wanting or merging.is_held:
                    continue
                resume = progress.pause()
                try:
                    count = _assemble(build, work, merging, fresh, attempt)
                finally:
                    resume()
            break
        except LimitExceeded as limit:
            limit.subject = limit.subject or str(build.destination)
            raise
        except AlteredLayer as altered:
            source = build.layers[altered.position]
            progress.note(f"layer {source.diff_id} was altered on disk; it is unpacked anew")
            retire(build, layers_work, source)
            fresh.discard(altered.position)
            merging = Merging(build, layers_work)
    else:
        raise RuntimeError("layers vanish as fast as they are unpacked")
    return {"entries": str(count), "layers": str(len(build.layers)), "unpacked": str(len(fresh))}


def _assemble(build: Build, work: Path, merging: Merging, fresh: set[int], attempt: int) -> int:
    tree = merging.tree
    staged, list_path = work / f"rootfs-{attempt}", work / f"entries-{attempt}"
    copies = work / f"copies-{attempt}"
    lost = load_lost(build, tree)
    count = tree.count()
    with ExitStack() as held:
        copies.mkdir(0o700)
        pools = [held.enter_context(_open(build.layer_path(x) / unpack.POOL)) for x in build.layers]
        linker = Linker(
            pools,
            firsts=[build.layers.index(x) for x in build.layers],
            copies=held.enter_context(_open(copies)),
            single=build.single,
            implied_mtime=build.implied_mtime,
            unrepresented=partial(_lose, lost),
            unchecked=frozenset(fresh),
        )
        staged.mkdir(0o700)
        listing = partial(merging.list_entries, list_path)
        share = OTHERS_SHARE[held.enter_context(merging.is_listed())]
        if count > WORTH_HALVING and tree.is_light() and may_fork():
            _write_in_halves(tree, linker, lost, staged, listing=listing, share=share)
        else:
            listing()
            linker.write(tree.root, os.open(staged, OPEN_DIRECTORY))
    with open(work / f"unrepresented-{attempt}", "xb") as unrepresented:
        if lost:
            write_lost(tree, unrepresented, lost)
    _put_in_place(build, work, staged, attempt)
    if count > WORTH_REMOVING_APART and (work / staging.OLD).exists():
        (work / staging.LATER).touch()
    return count


def _write_in_halves(
    tree: Tree,
    linker: Linker,
    lost: Lost,
    staged: Path,
    *,
    listing: Callable[[], None],
    share: float,
) -> None:
    """Two processes write the tree; the second one lists the entries as well."""
    from .halves import Other, make_spine, subtrees

    root = os.open(staged, OPEN_DIRECTORY)
    given = subtrees(tree.root, share if linker.may_be_shared else 0.0)
    made, places = make_spine(tree.root, root, [path for path, _ in given])
    nodes = [node for _, node in given]

    def others_half() -> list[list[str]]:
        known = {key: len(text) for key, text in lost.items()}
        for place, node in zip(places, nodes, strict=True):
            linker.write(node, place)
        listing()
        return [
            [key.hex(), text.decode()]
            for key, text in lost.items()
            if len(text) > known.get(key, 0)
        ]

    other = Other(others_half, staged.with_name(f"{staged.name}-answer"))
    try:
        for place in places:
            os.close(place)
        linker.write(tree.root, root, left=frozenset(map(id, nodes)), made=frozenset(made))
        lost.update({bytes.fromhex(key): bytearray(text, "ascii") for key, text in other.result()})
    finally:
        other.close()


def _lose(lost: Lost, inode: bytes, what: str, why: str) -> None:
    lost.setdefault(inode, bytearray()).extend(json.dumps([what, why]).encode() + b"\n")


@contextmanager
def _open(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def load_lost(build: Build, tree: Tree) -> Lost:
    """What could not be represented of the layers' inodes. Raises: AlteredLayer, LimitExceeded."""
    found: Lost = {}
    size = 0
    for position, source in enumerate(build.layers):
        try:
            with open(build.layer_path(source) / unpack.UNREPRESENTED_FILE, "rb") as file:
                for line in file:
                    number, what, why = json.loads(line)
                    key = identity(position.to_bytes(2, "little") + index.pack(0, number))
                    size += len(line) + LOST_COST * (key not in found)
                    tree.check_room(size)
                    _lose(found, key, what, why)
        except (OSError, ValueError) as error:
            raise AlteredLayer(position) from error
    return found


def _put_in_place(build: Build, work: Path, staged: Path, attempt: int) -> None:
    """The tree and its lists under their final names; an old tree makes way first."""
    parent = build.destination.parent
    parent.mkdir(parents=True, exist_ok=True)
    os.chmod(parent, 0o700)
    for path in (build.entries, build.unrepresented):
        path.parent.mkdir(parents=True, exist_ok=True)
    if os.path.lexists(build.destination):
        refuse_mounted(build.destination)
        (work / staging.ORIGIN).write_text(str(build.destination))
        os.rename(build.destination, work / staging.OLD)
    os.rename(staged, build.destination)
    os.replace(work / f"entries-{attempt}", build.entries)
    os.replace(work / f"unrepresented-{attempt}", build.unrepresented)
