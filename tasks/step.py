"""Work: what a target's chain consists of. Step: one step of one object, its key and its stamp.

The stamp is written last and taken away first, so that what it says is never ahead of the disk;
doit's database is not asked. A guard file lets two processes meet: the second finds the work done.
"""

from __future__ import annotations

import json
import os

from .errors import ContentError, DoitOciError, LayerError
from .project.reason import reasons
from .project.step_key import step_key
from .store.atomic import store_error, write_atomic
from .store.guard import guard

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from typing import Any

    from .progress import Progress

    Facts = Mapping[str, Any]


class Work:
    """One piece of a chain: a blob, a step, a run. doit makes a task of it, direct.py does it.

    ``title`` is how it is called on the command line; ``size`` what having it saves, in bytes;
    ``stood`` says after ``perform`` that another process had done it in the meantime.
    """

    __slots__ = ("size", "stood", "title")

    fetches = False
    """Whether it waits for a registry and the disk more than it works."""

    def __init__(self, title: str, size: int = 0) -> None:
        self.title, self.size, self.stood = title, size, False

    def is_current(self) -> bool:
        """Whether there is nothing to do."""
        return False

    def why(self) -> str:
        """What makes it run, in words; asked just before it does."""
        return ""

    def perform(self) -> Facts:
        """Do it, unless it stands; returns what the next piece may want to know."""
        raise NotImplementedError


class Command(Work):
    """What is done each time it is asked for."""

    __slots__ = ("act",)

    def __init__(self, title: str, act: Callable[[], None]) -> None:
        super().__init__(title)
        self.act = act

    def perform(self) -> Facts:
        self.act()
        return {}


def is_current(work: Work) -> bool:
    """Whether a piece of work stands; what cannot be read simply does not."""
    try:
        return work.is_current()
    except (DoitOciError, OSError):
        return False


def perform(work: Work, progress: Progress) -> None:
    """Do a piece of work, and tell of it in the thread that does it. Raises: DoitOciError."""
    item = progress.start("step", work.title, why=_reason(work))
    outcome = "failed"
    try:
        work.perform()
        outcome = "reused" if work.stood else "done"
    except OSError as error:
        raise refusal(error) from error
    except SystemExit:
        outcome = "done"
        raise
    finally:
        progress.finish(item, outcome)


def refusal(error: OSError) -> DoitOciError:
    """What the operating system refused about a file, in words; anything else is a bug of ours."""
    from pathlib import Path

    if error.errno is None or not isinstance(error.filename, str | bytes):
        raise error
    return store_error(error, Path(os.fsdecode(error.filename)))


def _reason(work: Work) -> str:
    try:
        return work.why()
    except (DoitOciError, OSError):
        # The work itself is about to meet this, and says it as its failure.
        return ""


class Step(Work):
    """``parts`` gives the five parts of the key; ``stands`` looks whether the output named by the
    stamp's facts is still there; ``work`` makes it and returns facts for the stamp. ``recover``
    does what little a stamp's output may lack, and says whether that was enough. ``mend`` makes
    good what the step is made from, after a failure, and says whether there was anything."""

    __slots__ = ("guarded", "mend", "name", "parts", "recover", "stamp", "stands", "step", "work")

    def __init__(
        self,
        *,
        step: str,
        name: str,
        stamp: Path,
        guarded: Path,
        parts: Callable[[], Mapping[str, Any]],
        stands: Callable[[Facts], bool],
        work: Callable[[], Facts],
        recover: Callable[[Facts], bool] | None = None,
        mend: Callable[[], bool] | None = None,
    ) -> None:
        super().__init__(f"{step}:{name}")
        self.step, self.name = step, name
        self.stamp, self.guarded = stamp, guarded
        self.parts, self.stands, self.work = parts, stands, work
        self.recover, self.mend = recover, mend

    def key(self) -> str:
        return step_key(self.parts())

    def identity(self) -> dict[str, Any]:
        """What provenance says of a step."""
        parts = self.parts()
        return {"key": step_key(parts), "epoch": parts["epoch"]}

    def why(self) -> str:
        parts = self.parts()
        return "; ".join(reasons(self.recorded(), step_key(parts), parts))

    def recorded(self) -> dict[str, Any] | None:
        """What the stamp says: ``key``, ``parts`` and ``facts``; None where there is no stamp."""
        try:
            found = json.loads(self.stamp.read_bytes())
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) and "facts" in found else None

    def is_current(self) -> bool:
        """Whether the output that the key names is there."""
        return self.current() is not None

    def current(self) -> Facts | None:
        """The stamp's facts where the output that the key names is there; nothing is written."""
        found = self.recorded()
        if found is None or found.get("key") != self.key() or not self.stands(found["facts"]):
            return None
        return dict(found["facts"])

    def perform(self) -> Facts:
        """Do the work unless it stands, and return the stamp's facts."""
        try:
            return self._perform()
        except (ContentError, LayerError):
            if self.mend is None or not self.mend():
                raise
        return self._perform()

    def _perform(self) -> Facts:
        with guard(self.guarded):
            found = self.recorded()
            parts = self.parts()
            key = step_key(parts)
            if found is not None and found.get("key") == key and self._holds(found["facts"]):
                self.stood = True
                return dict(found["facts"])
            self.stamp.unlink(missing_ok=True)
            facts = self.work()
            self.write_stamp(key, parts, facts)
            return facts

    def _holds(self, facts: Facts) -> bool:
        return self.stands(facts) or (self.recover is not None and self.recover(facts))

    def write_stamp(self, key: str, parts: Mapping[str, Any], facts: Facts) -> None:
        value = {"key": key, "parts": parts, "facts": facts}
        self.stamp.parent.mkdir(parents=True, exist_ok=True)
        # Read as JSON or not at all: what a power cut leaves of it costs time only.
        write_atomic(self.stamp, json.dumps(value, sort_keys=True).encode(), sync=False)
