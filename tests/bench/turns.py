"""Whole-process timing of several commands in turns, so that a ratio outlives a machine's moods."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Command:
    """``{dst}`` in ``shell`` is a path that does not exist yet, fresh for every run, because ext4
    walks round inodes that were freed a moment ago. ``prepare`` makes ready, untimed."""

    shell: str
    prepare: Callable[[Path], None] | None = None
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Medians of one command: seconds of wall clock and processor, largest process in MiB, and the
    median of the round-by-round ratios of wall clock and processor time to the base."""

    wall: float
    fastest: float
    slowest: float
    processor: float
    memory: float
    ratio: float
    processor_ratio: float


def time_once(command: Command, destination: Path) -> tuple[float, float, float]:
    """Wall seconds, processor seconds and peak MiB of one run. Raises: RuntimeError if it fails."""
    if command.prepare:
        command.prepare(destination)
    os.sync()
    started = time.perf_counter()
    child = subprocess.Popen(
        ["bash", "-c", command.shell.replace("{dst}", str(destination))],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, **command.env},
    )
    assert child.stderr is not None
    said = child.stderr.read()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    wall = time.perf_counter() - started
    if status:
        raise RuntimeError(f"{command.shell}: status {child.returncode}: {said.decode()[-800:]}")
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def in_turns(
    commands: Mapping[str, Command], *, base: str, rounds: int, scratch: Path, warmup: int = 1
) -> dict[str, Figures]:
    """Run every command once a round, in rotated order, and compare round by round."""
    names: Sequence[str] = list(commands)
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in names}
    scratch.mkdir(parents=True, exist_ok=True)
    try:
        for number in range(-warmup, rounds):
            for place in range(len(names)):
                name = names[(place + number) % len(names)]
                destination = scratch / f"{names.index(name)}.{number}"
                result = time_once(commands[name], destination)
                if number >= 0:
                    found[name].append(result)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return {name: _figures(runs, found[base]) for name, runs in found.items()}


def _figures(
    runs: list[tuple[float, float, float]], base: list[tuple[float, float, float]]
) -> Figures:
    walls = [run[0] for run in runs]
    return Figures(
        wall=statistics.median(walls),
        fastest=min(walls),
        slowest=max(walls),
        processor=statistics.median(run[1] for run in runs),
        memory=statistics.median(run[2] for run in runs),
        ratio=statistics.median(a[0] / b[0] for a, b in zip(runs, base, strict=True)),
        processor_ratio=statistics.median(
            a[1] / max(b[1], 1e-4) for a, b in zip(runs, base, strict=True)
        ),
    )
