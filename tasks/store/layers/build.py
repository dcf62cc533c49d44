"""Build a rootfs: unpack what layers are missing, merge them, link the tree, put it in place."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from ...errors import LimitExceeded
from ...progress import Progress
from . import index, staging, unpack
from .materialise import AlteredLayer, Linker, no_room, write_entries
from .merge import Tree, identity
from .source import LayerSource, UnpackLimits

ATTEMPTS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """Everything that one build needs. ``single`` is for a user who cannot give files away."""

    layers: Sequence[LayerSource]
    layers_dir: Path
    destination: Path
    entries: Path
    unrepresented: Path
    tmp: Path
    limits: UnpackLimits
    implied_mtime: int
    single: bool

    def layer_path(self, source: LayerSource) -> Path:
        return self.layers_dir / source.diff_id.algorithm / source.diff_id.encoded

    def guard(self, source: LayerSource) -> Path:
        path = self.layer_path(source)
        return path.with_name(path.name + ".lock")


def run(build: Build, progress: Progress) -> dict[str, str]:
    """Do it all with this process's rights. Raises: DoitOciError and its kinds."""
    try:
        staging.clean_stale(build.tmp)
        for source in build.layers:
            build.layer_path(source).parent.mkdir(parents=True, exist_ok=True)
        with staging.work_directory(build.tmp) as work:
            return _run(build, work, progress)
    except OSError as error:
        raise no_room(error, Path(error.filename or build.destination)) from error


def _run(build: Build, work: Path, progress: Progress) -> dict[str, str]:
    fresh: set[int] = set()
    for attempt in range(ATTEMPTS):
        fresh |= unpack_missing(build, work, progress)
        try:
            with ExitStack() as held:
                for source in build.layers:
                    held.enter_context(staging.locked(build.guard(source), fcntl.LOCK_SH))
                facts = [load_facts(build, source) for source in build.layers]
                if None in facts:
                    continue
                count = _assemble(build, work, [found or {} for found in facts], fresh, attempt)
            break
        except AlteredLayer as altered:
            source = build.layers[altered.position]
            progress.note(f"layer {source.diff_id} was altered on disk; it is unpacked anew")
            retire(build, work, source)
    else:
        raise RuntimeError("layers vanish as fast as they are unpacked")
    return {"entries": str(count), "layers": str(len(build.layers)), "unpacked": str(len(fresh))}


def load_facts(build: Build, source: LayerSource) -> dict[str, Any] | None:
    """What layer.json of an unpacked layer says, if it is one that this build can use."""
    try:
        facts: Any = json.loads((build.layer_path(source) / unpack.LAYER_FILE).read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    usable = isinstance(facts, dict) and unpack.is_current(facts, source, single=build.single)
    return facts if usable else None


def retire(build: Build, work: Path, source: LayerSource) -> None:
    """Move an unpacked layer that cannot be used out of the way."""
    with staging.locked(build.guard(source), fcntl.LOCK_EX):
        _retire(build, work, source)


def _retire(build: Build, work: Path, source: LayerSource) -> None:
    path = build.layer_path(source)
    if os.path.lexists(path):
        old = work / f"retired-{source.diff_id.short}-{len(os.listdir(work))}"
        os.rename(path, old)


def unpack_missing(build: Build, work: Path, progress: Progress) -> set[int]:
    """Unpack each layer that nobody has unpacked yet; the positions of those done here."""
    done = set()
    for position, source in enumerate(build.layers):
        if load_facts(build, source) is not None:
            continue
        with staging.locked(build.guard(source), fcntl.LOCK_EX):
            if load_facts(build, source) is not None:
                continue
            _retire(build, work, source)
            _unpack(build, work, source, progress)
            done.add(position)
    return done


def _unpack(build: Build, work: Path, source: LayerSource, progress: Progress) -> None:
    directory = work / f"layer-{source.diff_id.short}-{len(os.listdir(work))}"
    directory.mkdir(0o700)
    item = progress.start("layer", str(source.descriptor.digest), source.descriptor.size)
    outcome = "failed"
    try:
        unpack.unpack_layer(
            source,
            directory,
            limits=build.limits,
            single=build.single,
            advance=lambda count: progress.advance(item, count),
            note=progress.note,
        )
        os.rename(directory, build.layer_path(source))
        outcome = "done"
    finally:
        progress.finish(item, outcome)


def _assemble(
    build: Build, work: Path, facts: list[dict[str, Any]], fresh: set[int], attempt: int
) -> int:
    total = sum(found["entries"] for found in facts)
    if total > build.limits.entries:
        _stop(build, f"the layers have {total} entries", "entries")
    unpacked = sum(found["bytes"] for found in facts)
    if unpacked > build.limits.unpacked_bytes:
        _stop(build, f"the layers unpack to {unpacked} bytes", "unpacked_bytes")
    tree = merge_layers(build, facts)
    staged = work / f"rootfs-{attempt}"
    lost = load_lost(build)
    with (
        ExitStack() as held,
        open(work / f"entries-{attempt}", "xb", buffering=1 << 16) as entries,
        open(work / f"unrepresented-{attempt}", "xb") as unrepresented,
    ):
        pools = [held.enter_context(_open(build.layer_path(x) / unpack.POOL)) for x in build.layers]
        linker = Linker(
            pools,
            single=build.single,
            implied_mtime=build.implied_mtime,
            unrepresented=lambda inode, what, why: lost.setdefault(inode, []).append((what, why)),
            unchecked=frozenset(fresh),
        )
        linker.write(tree.root, staged)
        count = write_entries(tree, entries, unrepresented, lost, implied_mtime=build.implied_mtime)
    _put_in_place(build, work, staged, attempt)
    return count


def _stop(build: Build, message: str, limit: str) -> None:
    raise LimitExceeded(
        f"{message}, over the limit",
        subject=str(build.destination),
        hint=f"if the image is to be trusted, raise {limit} under [unpack]",
    )


@contextmanager
def _open(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def merge_layers(build: Build, facts: list[dict[str, Any]]) -> Tree:
    tree = Tree()
    for position, (source, found) in enumerate(zip(build.layers, facts, strict=True)):
        tree.apply(
            position,
            _records(build.layer_path(source) / unpack.INDEX_FILE),
            whiteouts=found["whiteouts"],
            subject=f"layer {source.descriptor.digest}",
        )
    return tree


def _records(path: Path) -> Callable[[], Iterator[tuple[bytes, bytes]]]:
    def read() -> Iterator[tuple[bytes, bytes]]:
        file: BinaryIO
        with open(path, "rb", buffering=0) as file:
            yield from index.read_records(file)

    return read


def load_lost(build: Build) -> dict[bytes, list[tuple[str, str]]]:
    """What could not be represented of the layers' inodes, by identity."""
    found: dict[bytes, list[tuple[str, str]]] = {}
    for position, source in enumerate(build.layers):
        with open(build.layer_path(source) / unpack.UNREPRESENTED_FILE, "rb") as file:
            for line in file:
                number, what, why = json.loads(line)
                key = identity(position.to_bytes(2, "little") + index.pack(0, number))
                found.setdefault(key, []).append((what, why))
    return found


def _put_in_place(build: Build, work: Path, staged: Path, attempt: int) -> None:
    """The tree and its lists under their final names; an old tree makes way first."""
    parent = build.destination.parent
    parent.mkdir(parents=True, exist_ok=True)
    os.chmod(parent, 0o700)
    for path in (build.entries, build.unrepresented):
        path.parent.mkdir(parents=True, exist_ok=True)
    if os.path.lexists(build.destination):
        (work / staging.ORIGIN).write_text(str(build.destination))
        os.rename(build.destination, work / staging.OLD)
    os.rename(staged, build.destination)
    os.replace(work / f"entries-{attempt}", build.entries)
    os.replace(work / f"unrepresented-{attempt}", build.unrepresented)
