"""Free space in the state directory: never what a lock still references, nor what is in use.

In: what the locks reach. Out: what was removed (or would be), one Removal each. What no lock
reaches goes at once, or, with an age or a size cap, only as far as those ask.

Safe beside running builds: an object goes only while its step's guard is free and the lock, as it
is at that moment, does not name it, and whatever a build had already looked at and then misses is
fetched or built again. The lock's guard is held for the renaming of one object at a time, so nobody
waits for a sweep. A running container keeps its bundle.
"""

from __future__ import annotations

import contextlib
import os
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from ..store.disk_use import AWAY, Freed, free, last_use, put_away, size_on_disk
from ..store.guard import guard, guard_if_free
from ..store.layers import staging
from ..value import Value
from .unreached import Candidate, Reachable, unreached

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ..project.workspace import Workspace

DAY = 86_400.0
UNFINISHED_AGE = DAY
"""Seconds: how long a half-fetched blob or a half-unpacked layer is kept for its continuation."""


class Removal(Value):
    """One object that went: ``path`` beneath the state directory, ``freed`` bytes on the disk."""

    path: str
    kind: str
    freed: int
    why: str


def collect(
    *,
    workspace: Workspace,
    reachable: Callable[[], Reachable],
    now: float,
    max_age: float | None = None,
    max_size: int | None = None,
    dry_run: bool = False,
    over: Callable[[int], None] = lambda _: None,
) -> list[Removal]:
    """Remove what no lock reaches, and say what it was, in order of removal.

    ``max_age`` is in seconds of not being used, ``max_size`` in bytes of the whole state
    directory: with either, only as much goes as it takes, the longest unused first.
    ``reachable`` says what the locks name now, and is asked before each object; ``over`` is told
    by how many bytes ``max_size`` is still exceeded then.
    """
    removals: list[Removal] = []
    if not dry_run:
        # Says what there is to say of a state directory that cannot be written.
        with guard(workspace.guard("lock")):
            pass
        staging.clean_stale(workspace.tmp, workspace.run / "containers")
    sweep = Sweep(workspace, reachable, now=now, max_age=max_age, max_size=max_size)
    for age, each in sweep.order(unreached(workspace, reachable())):
        why = sweep.reason(each, age)
        if why and (freed := sweep.take(each, dry_run=dry_run)) is not None:
            shown = str(each.paths[0].relative_to(workspace.state))
            removals.append(Removal(path=shown, kind=each.kind, freed=freed, why=why))
    if sweep.excess > 0:
        over(sweep.excess)
    return removals


class Sweep:
    """One pass over the candidates: why each one goes, and what that frees."""

    def __init__(
        self,
        workspace: Workspace,
        reachable: Callable[[], Reachable],
        *,
        now: float,
        max_age: float | None,
        max_size: int | None,
    ) -> None:
        self.workspace = workspace
        self.reachable = reachable
        self.now = now
        self.max_age = max_age
        self.everything = max_age is None and max_size is None
        self.excess = 0
        self.freed = Freed()
        if max_size is not None:
            self.excess = size_on_disk(workspace.state) - max_size

    def order(self, found: Iterable[Candidate]) -> list[tuple[float, Candidate]]:
        """Age in seconds and candidate: as found, or the longest unused first."""
        aged = [(self.age(each), each) for each in found]
        return aged if self.everything else sorted(aged, key=lambda pair: -pair[0])

    def age(self, candidate: Candidate) -> float:
        """Since the latest use of any part; never negative, whatever the clocks say."""
        used = [last for path in candidate.paths if (last := last_use(path)) is not None]
        return max(0.0, self.now - max(used, default=self.now))

    def reason(self, candidate: Candidate, age: float) -> str:
        """Why it goes; empty where it stays."""
        if candidate.paths[0].name.startswith(AWAY):
            return "left by a gc that was killed"
        if candidate.unfinished and age <= UNFINISHED_AGE:
            return ""
        if self.everything:
            return "unfinished" if candidate.unfinished else "in no lock"
        if self.max_age is not None and age > self.max_age:
            return f"in no lock, unused for {age / DAY:.1f} days"
        return "in no lock, over the size cap" if self.excess > 0 else ""

    def take(self, candidate: Candidate, *, dry_run: bool) -> int | None:
        """Remove one candidate, return the bytes freed; None where somebody works on it, or the
        lock has come to name it."""
        looked = self.freed.look(candidate.paths)
        if dry_run:
            with ExitStack() as stack:
                if not all(stack.enter_context(own_lock(path)) for path in candidate.guards):
                    return None
        else:
            away: list[Path] = []
            is_gone = self._put_away(candidate, away)
            for path in away:
                free(path)
            if not is_gone:
                return None
        freed = self.freed.count(looked)
        self.excess -= freed
        return freed

    def _put_away(self, candidate: Candidate, away: list[Path]) -> bool:
        """Take it out of sight, and nothing slower, while the lock cannot change.

        ``away`` takes what is to be freed then.
        """
        with ExitStack() as stack:
            stack.enter_context(guard(self.workspace.guard("lock")))
            if self.reachable().has(candidate):
                return False
            held = (stack.enter_context(hold(path, self.workspace)) for path in candidate.guards)
            if not all(held):
                return False
            first, *rest = candidate.paths
            for path in (*rest, first):
                gone = put_away(path, tmp=self.workspace.tmp)
                if isinstance(gone, Path):
                    away.append(gone)
            return not os.path.lexists(first)


def hold(path: Path, workspace: Workspace) -> contextlib.AbstractContextManager[bool]:
    """A guard file's lock, or the lock that a directory or a partial blob carries itself."""
    if path.is_relative_to(workspace.state / "locks"):
        return guard_if_free(path)
    return own_lock(path)


@contextlib.contextmanager
def own_lock(path: Path) -> Iterator[bool]:
    import fcntl

    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        yield True
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        yield False
    else:
        yield True
    finally:
        os.close(descriptor)
