"""From unpacked layers to a rootfs under its name: merge, link, list, put in place."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from ...progress import Progress
from . import index, remote, staging, unpack
from .build import Build, load_facts
from .materialise import AlteredLayer, Linker, no_room, write_entries, write_lost
from .merge import Tree, identity
from .remove import refuse_mounted
from .source import over
from .unpacking import retire, unpack_missing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ATTEMPTS = 5
WORTH_REMOVING_APART = 5_000
"""Entries of an old tree that take longer to remove than people like to wait."""

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
    wanting: frozenset[int] = frozenset()
    merging = Merging(build)
    for attempt in range(ATTEMPTS):
        try:
            fresh |= unpack_missing(
                build, layers_work, progress, arrived=merging.advance, wanting=wanting
            )
            with ExitStack() as held:
                for source in build.layers:
                    held.enter_context(staging.locked(build.guard(source), fcntl.LOCK_SH))
                if not merging.is_current():
                    merging = Merging(build)
                merging.advance()
                if not merging.is_complete:
                    continue
                wanting = merging.wanting()
                if wanting:
                    continue
                count = _assemble(build, work, merging.tree, fresh, attempt)
            break
        except AlteredLayer as altered:
            source = build.layers[altered.position]
            progress.note(f"layer {source.diff_id} was altered on disk; it is unpacked anew")
            retire(build, layers_work, source)
            fresh.discard(altered.position)
            merging = Merging(build)
    else:
        raise RuntimeError("layers vanish as fast as they are unpacked")
    return {"entries": str(count), "layers": str(len(build.layers)), "unpacked": str(len(fresh))}


class Merging:
    """Merges layers in their order as they arrive, while others are still being unpacked."""

    def __init__(self, build: Build) -> None:
        self.tree = Tree()
        self._build = build
        self._facts: list[dict[str, Any]] = []
        self._entries = self._bytes = 0

    @property
    def is_complete(self) -> bool:
        return len(self._facts) == len(self._build.layers)

    def is_current(self) -> bool:
        """Whether the layers are still those that were merged: which files they lack may differ."""
        layers = self._build.layers[: len(self._facts)]
        return self._facts == [load_facts(self._build, source) for source in layers]

    def wanting(self) -> frozenset[int]:
        """Positions of the layers that lack files which are seen after all."""
        lacking = {at for at, facts in enumerate(self._facts) if facts["absent"]}
        return frozenset(self.tree.absent_in(lacking)) if lacking else frozenset()

    def advance(self) -> None:
        """Merge what can be merged now. Raises: LayerError, LimitExceeded, AlteredLayer."""
        while not self.is_complete:
            position = len(self._facts)
            source = self._build.layers[position]
            facts = load_facts(self._build, source)
            if facts is None:
                return
            self._count(facts)
            try:
                self.tree.apply(
                    position,
                    partial(index.records_of, self._build.layer_path(source) / unpack.INDEX_FILE),
                    whiteouts=facts["whiteouts"],
                    subject=f"layer {source.descriptor.digest}",
                )
            except OSError as error:
                raise AlteredLayer(position) from error
            self._facts.append(facts)

    def _count(self, facts: dict[str, Any]) -> None:
        self._entries += facts["entries"]
        self._bytes += facts["bytes"]
        subject, limits = str(self._build.destination), self._build.limits
        if self._entries > limits.entries:
            raise over("entries", f"more than {limits.entries} entries", subject=subject)
        if self._bytes > limits.unpacked_bytes:
            raise over(
                "unpacked_bytes",
                f"the layers unpack to more than {limits.unpacked_bytes} bytes",
                subject=subject,
            )


def _assemble(build: Build, work: Path, tree: Tree, fresh: set[int], attempt: int) -> int:
    staged, list_path = work / f"rootfs-{attempt}", work / f"entries-{attempt}"
    lost = load_lost(build)
    with ExitStack() as held:
        wait = beside(build.forks, lambda: _list(build, tree, list_path))
        held.callback(wait)
        copies = work / f"copies-{attempt}"
        copies.mkdir(0o700)
        pools = [held.enter_context(_open(build.layer_path(x) / unpack.POOL)) for x in build.layers]
        Linker(
            pools,
            firsts=[build.layers.index(x) for x in build.layers],
            copies=held.enter_context(_open(copies)),
            single=build.single,
            implied_mtime=build.implied_mtime,
            unrepresented=lambda inode, what, why: lost.setdefault(inode, []).append((what, why)),
            unchecked=frozenset(fresh),
        ).write(tree.root, staged)
    with open(work / f"unrepresented-{attempt}", "xb") as unrepresented:
        if lost:
            write_lost(tree, unrepresented, lost)
    _put_in_place(build, work, staged, attempt)
    count = tree.count()
    if count > WORTH_REMOVING_APART and (work / staging.OLD).exists():
        (work / staging.LATER).touch()
    return count


def _list(build: Build, tree: Tree, path: Path) -> None:
    with open(path, "wb", buffering=1 << 16) as file:
        write_entries(tree, file, implied_mtime=build.implied_mtime)


def beside(forks: bool, work: Callable[[], None]) -> Callable[[], None]:
    """Do ``work`` in a forked child, if this process may have one; returns what waits for it."""
    if not forks:
        work()
        return lambda: None
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)

    def wait() -> None:
        if os.waitpid(pid, 0)[1]:
            work()

    return wait


@contextmanager
def _open(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def load_lost(build: Build) -> dict[bytes, list[tuple[str, str]]]:
    """What could not be represented of the layers' inodes, by identity. Raises: AlteredLayer."""
    found: dict[bytes, list[tuple[str, str]]] = {}
    for position, source in enumerate(build.layers):
        try:
            text = (build.layer_path(source) / unpack.UNREPRESENTED_FILE).read_bytes()
            lines = [json.loads(line) for line in text.splitlines()]
        except (OSError, ValueError) as error:
            raise AlteredLayer(position) from error
        for number, what, why in lines:
            key = identity(position.to_bytes(2, "little") + index.pack(0, number))
            known = found.setdefault(key, [])
            if (what, why) not in known:
                known.append((what, why))
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
