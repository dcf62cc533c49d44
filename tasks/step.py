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
    stamp's facts is still there; ``work`` makes it and returns facts for the stamp."""

    __slots__ = ("guarded", "name", "parts", "stamp", "stands", "step", "work")

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
    ) -> None:
        self.step, self.name = step, name
        self.stamp, self.guarded = stamp, guarded
        self.parts, self.stands, self.work = parts, stands, work

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
        found = self.recorded()
        return found is not None and found.get("key") == self.key() and self.stands(found["facts"])

    def perform(self) -> Facts:
        """Do the work unless it stands, and return the stamp's facts."""
        with guard(self.guarded):
            found = self.recorded()
            parts = self.parts()
            key = step_key(parts)
            if found is not None and found.get("key") == key and self.stands(found["facts"]):
                return dict(found["facts"])
            self.stamp.unlink(missing_ok=True)
            facts = self.work()
            self.write_stamp(key, parts, facts)
            return facts

    def write_stamp(self, key: str, parts: Mapping[str, Any], facts: Facts) -> None:
        value = {"key": key, "parts": parts, "facts": facts}
        self.stamp.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(self.stamp, json.dumps(value, sort_keys=True).encode())
