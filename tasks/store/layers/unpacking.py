"""Unpack the layers that are missing, side by side where this process may have workers."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from ...progress import Progress
from . import staging, unpack
from .build import Build, load_facts
from .crew import Alone, Crew, Forked
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
    build: Build, work: Path, progress: Progress, *, arrived: Callable[[], None]
) -> set[int]:
    """Unpack each layer that nobody has unpacked yet; the positions of those done here.

    The longest first. A layer that another process is at is left to it, and waited for only
    when there is nothing else to do: whoever waits holds no other layer's lock. ``arrived`` is
    called after each layer, while others are still being worked at.
    """
    missing = [
        position
        for position, source in enumerate(build.layers)
        if load_facts(build, source) is None
    ]
    for position in sorted(set(range(len(build.layers))) - set(missing)):
        descriptor = build.layers[position].descriptor
        progress.finish(progress.start("layer", str(descriptor.digest), descriptor.size), "reused")
    if not missing:
        return set()
    missing.sort(key=lambda position: -build.layers[position].descriptor.size)
    crew = _crew(build, work, progress, missing)
    try:
        return Unpacking(build, work, crew, missing, arrived).run()
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

    def __init__(
        self,
        build: Build,
        work: Path,
        crew: Crew,
        missing: list[int],
        arrived: Callable[[], None],
    ) -> None:
        self._build = build
        self._work = work
        self._crew = crew
        self._missing = missing
        self._arrived = arrived
        self._guards: dict[int, ExitStack] = {}
        self._done: set[int] = set()

    def run(self) -> set[int]:
        try:
            while self._missing or self._guards:
                while self._crew.room and self._give():
                    pass
                if self._guards:
                    self._take(*self._crew.wait())
                    while self._crew.room and self._give():
                        pass
                    self._arrived()
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
