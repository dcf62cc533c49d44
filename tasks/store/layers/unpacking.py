"""Unpack the layers that are missing, side by side where this process may have workers."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

from ...progress import Progress
from . import index, staging, unpack
from .build import Build, load_facts
from .cover import Cover, Records
from .crew import Alone, Busy, Crew, Forked, keep_pages, may_fork
from .held import forget_held
from .remove import remove_here
from .source import LayerSource

WORKERS = 2
WORTH_A_WORKER = 4 << 20
"""Packed bytes below which a layer is not worth the start of a process."""


def retire(build: Build, work: Path, source: LayerSource) -> None:
    """Move an unpacked layer that cannot be used out of the way."""
    with staging.locked(build.guard(source), fcntl.LOCK_EX):
        _retire(build, work, source)


def _retire(build: Build, work: Path, source: LayerSource) -> None:
    path = build.layer_path(source)
    if os.path.lexists(path):
        old = work / f"retired-{source.diff_id.short}-{len(os.listdir(work))}"
        os.rename(path, old)


def unpack_missing(
    build: Build,
    work: Path,
    progress: Progress,
    *,
    arrived: Callable[[], None],
    wanting: set[int],
) -> set[int]:
    """Unpack each layer that nobody has unpacked yet; the positions of those done here.

    The uppermost first, so that lower ones can leave out what those hide; ``wanting`` are those
    that left out too much. A layer that another process is at is left to it, and waited for only
    when there is nothing else to do: whoever waits holds no other layer's lock. ``arrived`` is
    called after each layer, while others are still being worked at.
    """
    missing = [x for x in range(len(build.layers)) if not is_ready(build, x, wanting)]
    for position in sorted(set(range(len(build.layers))) - set(missing)):
        descriptor = build.layers[position].descriptor
        progress.finish(progress.start("layer", str(descriptor.digest), descriptor.size), "reused")
    if not missing:
        return set()
    missing.reverse()
    crew = _crew(build, work, progress, missing)
    try:
        found = Unpacking(build, work, crew, missing, wanting)
        return found.run(arrived)
    finally:
        crew.close()


def is_ready(build: Build, position: int, wanting: set[int]) -> bool:
    """Whether a layer is unpacked as far as is known to be needed."""
    facts = load_facts(build, build.layers[position])
    return facts is not None and not (position in wanting and facts["absent"])


def _upper(build: Build, position: int) -> Callable[[], Iterator[Records]]:
    """Gives the records of the layers above ``position``, the uppermost first: each once, when it
    is unpacked."""
    missing = list(reversed(build.layers[position + 1 :]))

    def arrived() -> Iterator[Records]:
        for source in [
            x for x in missing if os.path.exists(build.layer_path(x) / unpack.LAYER_FILE)
        ]:
            missing.remove(source)
            if load_facts(build, source) is not None:
                yield index.records_of(build.layer_path(source) / unpack.INDEX_FILE)

    return arrived


def _crew(build: Build, work: Path, progress: Progress, missing: list[int]) -> Crew:
    worth = sum(build.layers[x].descriptor.size > WORTH_A_WORKER for x in missing)
    count = min(worth, WORKERS, os.cpu_count() or 1) if build.forks else 1
    busy = Busy(shared=count > 1)

    def start(position: int) -> int:
        descriptor = build.layers[position].descriptor
        return progress.start("layer", str(descriptor.digest), descriptor.size)

    def do(position: int, advance: Callable[[int], None], note: Callable[[str], None]) -> None:
        source = build.layers[position]
        partial = load_facts(build, source) is not None
        directory = work / f"layer-{position}"
        directory.mkdir(0o700)
        unpack.unpack_layer(
            source,
            directory,
            limits=build.limits,
            owners=build.owners,
            ahead=busy.leaves_a_core if build.forks else None,
            advance=advance,
            note=note,
            cover=None if partial else Cover(_upper(build, position)),
            partial=build.layer_path(source) if partial else None,
        )

    resume = progress.pause()
    try:
        if count > 1 and may_fork():
            return Forked(do, progress, start, busy, count=count)
    finally:
        resume()
    if build.forks:
        keep_pages()
    return Alone(do, progress, start)


class Unpacking:
    """Layers on their way from ``missing`` through a crew to their names."""

    def __init__(
        self,
        build: Build,
        work: Path,
        crew: Crew,
        missing: list[int],
        wanting: set[int],
    ) -> None:
        self._build = build
        self._work = work
        self._crew = crew
        self._missing = missing
        self._wanting = wanting
        self._guards: dict[int, ExitStack] = {}
        self._done: set[int] = set()

    def run(self, arrived: Callable[[], None]) -> set[int]:
        try:
            while self._missing or self._guards:
                while self._crew.room and self._give():
                    pass
                if self._guards:
                    self._take(*self._crew.wait())
                    while self._crew.room and self._give():
                        pass
                    arrived()
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
            if is_ready(self._build, position, self._wanting):
                guard.close()
                return True
            self._guards[position] = guard
            if load_facts(self._build, source) is None:
                _retire(self._build, self._work, source)
            self._crew.give(position)
            return True
        return False

    def _take(self, position: int, failure: Exception | None) -> None:
        with self._guards.pop(position):
            if failure is not None:
                raise failure
            made = self._work / f"layer-{position}"
            layer = self._build.layer_path(self._build.layers[position])
            if os.path.lexists(layer):
                unpack.put_in_place(made, layer)
                forget_held(layer)
                remove_here(made)
            else:
                os.rename(made, layer)
            self._done.add(position)
