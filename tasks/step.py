"""Step: one step of one object, its key, and the stamp that says it is done.

The stamp is written last and taken away first, so that what it says is never ahead of the disk;
doit's database is not asked. A guard file lets two processes meet: the second finds the work done.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .project.reason import reasons
from .project.step_key import step_key
from .store.atomic import write_atomic
from .store.guard import guard

Facts = Mapping[str, Any]


class Step:
    """``parts`` gives the five parts of the key; ``stands`` looks whether the output named by the
    stamp's facts is still there; ``work`` makes it and returns facts for the stamp. ``recover``
    does what little a stamp's output may lack, and says whether that was enough."""

    __slots__ = ("guarded", "name", "parts", "recover", "stamp", "stands", "step", "work")

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
    ) -> None:
        self.step, self.name = step, name
        self.stamp, self.guarded = stamp, guarded
        self.parts, self.stands, self.work, self.recover = parts, stands, work, recover

    def key(self) -> str:
        return step_key(self.parts())

    @property
    def title(self) -> str:
        """The step as it is called on the command line."""
        return f"{self.step}:{self.name}"

    def why(self) -> str:
        """What makes the step run, in words; asked just before it does."""
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
        return self._perform()[0]

    def outcome(self) -> str:
        """As :meth:`perform`, but return how it ended in the words of Progress: ``reused`` where
        another process did the work while this one waited for it."""
        return "done" if self._perform()[1] else "reused"

    def _perform(self) -> tuple[Facts, bool]:
        """The stamp's facts, and whether this process did the work."""
        with guard(self.guarded):
            found = self.recorded()
            parts = self.parts()
            key = step_key(parts)
            if found is not None and found.get("key") == key and self._holds(found["facts"]):
                return dict(found["facts"]), False
            self.stamp.unlink(missing_ok=True)
            facts = self.work()
            self.write_stamp(key, parts, facts)
            return facts, True

    def _holds(self, facts: Facts) -> bool:
        return self.stands(facts) or (self.recover is not None and self.recover(facts))

    def write_stamp(self, key: str, parts: Mapping[str, Any], facts: Facts) -> None:
        value = {"key": key, "parts": parts, "facts": facts}
        self.stamp.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(self.stamp, json.dumps(value, sort_keys=True).encode())
