"""Build a rootfs: unpack what layers are missing, merge them, link the tree, put it in place."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from ...progress import Progress
from . import index, staging, unpack
from .crew import Alone, Crew, Forked
from .materialise import AlteredLayer, Linker, no_room, write_entries
from .merge import Tree, identity
from .source import LayerSource, UnpackLimits, over

ROOT = "root"
ATTEMPTS = 5
WORKERS = 2
WORTH_A_WORKER = 4 << 20
"""Packed bytes below which a layer is not worth the start of a process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """Everything that one build needs.

    ``owners`` says how owners stand on the disk: ``root``, ``mapped`` with the ids, or ``single``
    for a user who cannot give files away. ``forks`` lets this process have workers; it must have
    no threads then.
    """

    layers: Sequence[LayerSource]
    layers_dir: Path
    destination: Path
    entries: Path
    unrepresented: Path
    tmp: Path
    limits: UnpackLimits
    implied_mtime: int
    owners: str
    forks: bool = False

    @property
    def single(self) -> bool:
        return self.owners == unpack.SINGLE

    def to_json(self) -> dict[str, Any]:
        paths = ("layers_dir", "destination", "entries", "unrepresented", "tmp")
        return {
            **{name: str(getattr(self, name)) for name in paths},
            "layers": [source.to_json() for source in self.layers],
            "limits": asdict(self.limits),
            "implied_mtime": self.implied_mtime,
            "owners": self.owners,
            "forks": self.forks,
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Build:
        paths = ("layers_dir", "destination", "entries", "unrepresented", "tmp")
        return cls(
            **{name: Path(value[name]) for name in paths},
            layers=[LayerSource.from_json(source) for source in value["layers"]],
            limits=UnpackLimits(**value["limits"]),
            implied_mtime=value["implied_mtime"],
            owners=value["owners"],
            forks=value["forks"],
        )

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
    usable = isinstance(facts, dict) and unpack.is_current(facts, source, owners=build.owners)
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
    """Unpack each layer that nobody has unpacked yet; the positions of those done here.

    The longest first. A layer that another process is at is left to it, and waited for only
    when there is nothing else to do: whoever waits holds no other layer's lock.
    """
    missing = [
        position
        for position, source in enumerate(build.layers)
        if load_facts(build, source) is None
    ]
    if not missing:
        return set()
    missing.sort(key=lambda position: -build.layers[position].descriptor.size)
    crew = _crew(build, work, progress, missing)
    try:
        return Unpacking(build, work, crew, missing).run()
    finally:
        crew.close()


def _crew(build: Build, work: Path, progress: Progress, missing: list[int]) -> Crew:
    def start(position: int) -> int:
        descriptor = build.layers[position].descriptor
        return progress.start("layer", str(descriptor.digest), descriptor.size)

    def do(position: int, advance: Callable[[int], None], note: Callable[[str], None]) -> None:
        directory = work / f"layer-{position}"
        directory.mkdir(0o700)
        unpack.unpack_layer(
            build.layers[position],
            directory,
            limits=build.limits,
            owners=build.owners,
            ahead=build.forks,
            advance=advance,
            note=note,
        )

    worth = sum(build.layers[x].descriptor.size > WORTH_A_WORKER for x in missing)
    if build.forks and worth > 1:
        return Forked(do, progress, start, count=min(worth, WORKERS, os.cpu_count() or 1))
    return Alone(do, progress, start)


class Unpacking:
    """Layers on their way from ``missing`` through a crew to their names."""

    def __init__(self, build: Build, work: Path, crew: Crew, missing: list[int]) -> None:
        self._build = build
        self._work = work
        self._crew = crew
        self._missing = missing
        self._guards: dict[int, ExitStack] = {}
        self._done: set[int] = set()

    def run(self) -> set[int]:
        try:
            while self._missing or self._guards:
                while self._crew.room and self._give():
                    pass
                if self._guards:
                    self._take(*self._crew.wait())
                elif self._missing:
                    with staging.locked(self._guard(self._missing[0]), fcntl.LOCK_EX):
                        pass
        finally:
            for guard in self._guards.values():
                guard.close()
        return self._done

    def _guard(self, position: int) -> Path:
        return self._build.guard(self._build.layers[position])

    def _give(self) -> bool:
        """Start the first layer that nobody is at; whether there was one."""
        for position in self._missing:
            guard = ExitStack()
            try:
                guard.enter_context(
                    staging.locked(self._guard(position), fcntl.LOCK_EX | fcntl.LOCK_NB)
                )
            except BlockingIOError:
                continue
            self._missing.remove(position)
            source = self._build.layers[position]
            if load_facts(self._build, source) is not None:
                guard.close()
                return True
            self._guards[position] = guard
            _retire(self._build, self._work, source)
            self._crew.give(position)
            return True
        return False

    def _take(self, position: int, failure: Exception | None) -> None:
        with self._guards.pop(position):
            if failure is not None:
                raise failure
            os.rename(
                self._work / f"layer-{position}",
                self._build.layer_path(self._build.layers[position]),
            )
            self._done.add(position)


def _assemble(
    build: Build, work: Path, facts: list[dict[str, Any]], fresh: set[int], attempt: int
) -> int:
    subject = str(build.destination)
    total = sum(found["entries"] for found in facts)
    if total > build.limits.entries:
        raise over("entries", f"the layers have {total} entries", subject=subject)
    unpacked = sum(found["bytes"] for found in facts)
    if unpacked > build.limits.unpacked_bytes:
        raise over("unpacked_bytes", f"the layers unpack to {unpacked} bytes", subject=subject)
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
