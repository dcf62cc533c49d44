"""The command fleet: bundles on a Dask cluster."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import TYPE_CHECKING, Any

from ..doit_bridge import ProjectCommand
from ..errors import DeclarationError, OfflineError
from ..named_files import named_files
from ..steps import Steps
from .state import chosen_here

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..fleet.cluster import Done
    from ..project.plan import Plan


class Fleet(ProjectCommand):
    """``fleet [BUNDLE…] [--scheduler ADDRESS] [--workers N]``"""

    doc_purpose = "build bundles on a Dask cluster; they end in the remote cache and the lock"
    doc_usage = "[BUNDLE...] [--scheduler ADDRESS] [--workers N]"
    splits = True
    cmd_options = (
        {
            "name": "scheduler",
            "long": "scheduler",
            "type": str,
            "default": "",
            "help": "the scheduler's address (default: [fleet] scheduler, or a cluster here)",
        },
        {
            "name": "workers",
            "long": "workers",
            "type": int,
            "default": 0,
            "help": "processes of a cluster here (default: one for each core)",
        },
        {
            "name": "all",
            "long": "all",
            "type": bool,
            "default": False,
            "help": "also those that have a digest in the lock already",
        },
    )

    def perform(self, given: dict[str, Any], names: list[str]) -> int:
        from ..fleet.cluster import build_fleet
        from ..fleet.jobs import Remembered, make_job

        plan, steps = self.plan, Steps(self.plan)
        if given["workers"] < 0:
            raise DeclarationError("expected a whole number from 1", subject="--workers")
        if not plan.images.cache.get("remote"):
            raise DeclarationError(
                "needs a remote cache, which the bundles travel through",
                subject="fleet",
                hint='say [cache] remote = "oci://registry/repository" in images.toml',
            )
        bundles = [plan.bundle(name) for name in chosen_here(steps, names)]
        steps.locking.resolve(dict.fromkeys(bundle.image for bundle in bundles))
        space = plan.workspace
        remembered = Remembered(space.state / "fleet" / "keys.json")
        jobs = []
        for bundle in bundles:
            job = make_job(steps, bundle.name)
            locked = plan.locked_bundle(bundle.name, job.platform)
            if names or given["all"] or remembered.is_stale(job, locked):
                jobs.append(job)
        if jobs:
            refuse_offline(plan)
        files = named_files(plan, bundles)
        started, workers = time.monotonic(), given["workers"] or os.cpu_count() or 1
        done: dict[str, Done] = {}
        try:
            for each in build_fleet(
                jobs=jobs,
                files=files,
                scheduler=given["scheduler"] or plan.images.fleet.get("scheduler", ""),
                tmp=space.tmp,
                workers=workers,
                progress=plan.progress,
            ):
                steps.locking.lock_bundle(each.bundle, each.platform, each.key, each.digest)
                sys.stderr.write(
                    f"{each.bundle}: {each.digest} in {each.seconds:.1f} s on {each.worker}\n"
                )
                done[each.bundle] = each
        finally:
            remembered.keep(jobs, done)
            self._say_done(tuple(done.values()), started)
        return 0

    def _say_done(self, done: Sequence[Done], started: float) -> None:
        from ..fleet.cluster import overhead

        rows = [
            {"bundle": each.bundle, "digest": each.digest, "seconds": each.seconds} for each in done
        ]
        if self.options.json:
            sys.stdout.write(json.dumps(rows) + "\n")
        if done:
            busiest = len({each.worker for each in done})
            spare = overhead(done, started, busiest)
            sys.stderr.write(
                f"{len(done)} bundles on {busiest} workers, {spare:.2f} s each beside\n"
            )


def refuse_offline(plan: Plan) -> None:
    """Raises: OfflineError with --offline."""
    if plan.options.offline:
        raise OfflineError(
            "needs the network, which is refused",
            subject="fleet",
            hint="`doit-oci bundle --offline` builds what the store and a cache in a folder have",
        )
