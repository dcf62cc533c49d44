"""Commands about space: gc and cache."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from ..doit_bridge import ProjectCommand
from ..errors import DeclarationError
from ..gc.sweep import collect
from ..locked import Locked
from ..remote_cache import Moved
from ..steps import Steps
from .state import chosen_here


def parse_age(text: str) -> float:
    """Seconds of an age in days, or with a unit. Raises: DeclarationError."""
    from ..project.quantity import parse_duration

    days = text.replace(".", "", 1)
    found = parse_duration(f"{text}d" if days.isascii() and days.isdigit() else text)
    if found is None:
        raise DeclarationError("is no age; expected days, or one like 12h", subject=text)
    return found


class Gc(ProjectCommand):
    """``gc [--dry-run] [--max-age DAYS] [--max-size SIZE]``"""

    doc_purpose = "free space: whatever no lock references"
    doc_usage = "[--dry-run] [--max-age DAYS] [--max-size SIZE]"
    cmd_options = (
        {
            "name": "dry_run",
            "short": "n",
            "long": "dry-run",
            "type": bool,
            "default": False,
            "help": "only say what would go",
        },
        {
            "name": "max_age",
            "long": "max-age",
            "type": str,
            "default": "",
            "help": "only what was not used for so many days, or for 12h, 7d",
        },
        {
            "name": "max_size",
            "long": "max-size",
            "type": str,
            "default": "",
            "help": "only until the state directory is no larger, like 10GB",
        },
    )

    def perform(self, given: dict[str, Any], names: list[str]) -> int:
        from ..project.quantity import parse_bytes

        if names:
            raise DeclarationError("takes no names", subject="gc", hint="`clean` takes bundles")
        plan = self.plan
        size = given["max_size"] or plan.images.cache.get("max_size")
        largest = parse_bytes(size) if isinstance(size, str) else size
        if size and largest is None:
            raise DeclarationError("is no size; expected one like 10GB", subject=str(size))
        left: list[int] = []
        found = collect(
            workspace=plan.workspace,
            reachable=Locked(plan).reachable,
            now=time.time(),
            max_age=parse_age(given["max_age"]) if given["max_age"] else None,
            max_size=largest,
            dry_run=given["dry_run"],
            over=left.append,
        )
        if self.options.json:
            rows = [{"path": r.path, "kind": r.kind, "freed": r.freed, "why": r.why} for r in found]
            sys.stdout.write(json.dumps(rows) + "\n")
            return 0
        verb = "would free" if given["dry_run"] else "freed"
        for removal in found:
            sys.stderr.write(f"{verb} {removal.freed} bytes: {removal.path} ({removal.why})\n")
        sys.stderr.write(f"{verb} {sum(r.freed for r in found)} bytes in all\n")
        for excess in left:
            sys.stderr.write(
                f"{excess} bytes over the cap stay: a lock names them, or they are in use\n"
            )
        return 0


class Cache(ProjectCommand):
    """``cache push|pull [BUNDLE…]``, ``cache key``"""

    doc_purpose = "move bundles to and from the remote cache, or print the key for a CI's own cache"
    doc_usage = "push|pull [BUNDLE...] | key"
    splits = True

    def perform(self, given: dict[str, Any], names: list[str]) -> int:
        verb, *rest = names or [""]
        if verb == "key":
            return self._key(rest)
        if verb not in ("push", "pull"):
            raise DeclarationError("expected push, pull or key", subject=f"cache {verb}".strip())
        steps = Steps(self.plan)
        steps.locking.hold()
        try:
            for name in chosen_here(steps, rest):
                self._move(verb, steps, name)
        finally:
            steps.locking.release()
        # A miss costs a build and nothing else.
        return 0

    def _move(self, verb: str, steps: Steps, name: str) -> None:
        moved: Moved | None
        if verb == "push":
            steps.build(name)
            moved = steps.shared.caching.push(name)
        else:
            steps.locking.resolve([self.plan.bundle(name).image])
            moved = steps.shared.caching.pull(name)
        if moved is None:
            sys.stderr.write(f"{name}: not in the remote cache\n")
        else:
            sys.stderr.write(f"{name}: {moved.blobs} blobs, {moved.bytes} bytes moved\n")

    def _key(self, rest: list[str]) -> int:
        from ..cache_key import cache_key

        if rest or self.options.shard is not None:
            raise DeclarationError(
                "is one for all bundles: takes neither names nor --shard", subject="cache key"
            )
        lock = self.plan.workspace.lock
        found = cache_key(lock=lock.read_bytes() if lock.exists() else b"", host=self.plan.host)
        if self.options.json:
            value = {"key": found.key, "restore": list(found.restore)}
            sys.stdout.write(json.dumps(value) + "\n")
        else:
            sys.stdout.write("\n".join([found.key, *found.restore]) + "\n")
        return 0
