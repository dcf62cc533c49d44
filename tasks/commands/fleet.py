"""The command fleet: bundles on a Dask cluster."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import TYPE_CHECKING, Any

from ..doit_bridge import ProjectCommand
from ..errors import DeclarationError
from ..named_files import named_files
from ..steps import Steps
from .state import chosen

if TYPE_CHECKING:
    pass


class Fleet(ProjectCommand):
    """``fleet [BUNDLE…] [--scheduler ADDRESS] [--workers N]``"""

    doc_purpose = "build bundles on a Dask cluster; they end in the remote cache and the lock"
    doc_usage = "[BUNDLE...] [--scheduler ADDRESS] [--workers N]"
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
        from ..fleet.cluster import build_fleet, overhead
        from ..fleet.jobs import Remembered, make_job

        plan, steps = self.plan, Steps(self.plan)
        if not plan.images.cache.get("remote"):
            raise DeclarationError(
                "needs a remote cache, which the bundles travel through",
                subject="fleet",
                hint='say [cache] remote = "oci://registry/repository" in images.toml',
            )
        bundles = [plan.bundle(name) for name in chosen(plan, names)]
        steps.locking.resolve(dict.fromkeys(bundle.image for bundle in bundles))
        space = plan.workspace
        remembered = Remembered(space.state / "fleet" / "keys.json")
        jobs = []
        for bundle in bundles:
            job = make_job(steps, bundle.name)
            locked = plan.locked_bundle(bundle.name, job.platform)
            if names or given["all"] or remembered.is_stale(job, locked):
                jobs.append(job)
        files = named_files(plan, bundles)
        started, workers = time.monotonic(), given["workers"] or os.cpu_count() or 1
        done = []
        for each in build_fleet(
            jobs=jobs,
            files=files,
            scheduler=given["scheduler"] or plan.images.fleet.get("scheduler", ""),
            local_directory=space.state / "fleet",
            workers=workers,
            progress=plan.progress,
        ):
            steps.locking.lock_bundle(each.bundle, each.platform, each.key, each.digest)
            sys.stderr.write(
                f"{each.bundle}: {each.digest} in {each.seconds:.1f} s on {each.worker}\n"
            )
            done.append(each)
        remembered.keep(jobs, {each.bundle: each for each in done})
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
        return 0
