"""What a worker does first, sent as source: ``call(job, files)``, by nothing but builtins.

A worker has the package under another name than a checkout's (``doit_oci.tasks``, not ``tasks``)
and maybe another Python, and a scheduler has none of it: whatever went to them by reference, or as
bytecode, would end them. So this file imports nothing of ours before it is there.
"""

from __future__ import annotations

import importlib
from typing import Any

EXPRESSION = "(lambda source, space: exec(source, space) or space['call'])(source, {})(job, files)"
"""For eval, with job among its global names, and files and this source among its local ones."""

NAMES = ("doit_oci.tasks.fleet.worker", "tasks.fleet.worker")


def call(job: dict[str, Any], files: dict[str, bytes]) -> dict[str, Any]:
    """Do a job with the worker's own package; the answer names the worker."""
    worker = importlib.import_module("distributed").get_worker()
    found = {"error": "has no doit-oci: pip install 'doit-oci[fleet]'"}
    for name in NAMES:
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError as problem:
            if f"{name}.".startswith(f"{problem.name}."):
                continue
            found = {"error": f"lacks the package {problem.name}: pip install 'doit-oci[fleet]'"}
        else:
            found = module.work(job, files, worker.local_directory)
        break
    return {**found, "worker": str(worker.name), "address": worker.address}
