"""What is sent to a worker, by value: it finds the package there, whichever name it has.

In a checkout the package is ``tasks``, installed it is ``doit_oci.tasks``; a function that is sent
by reference would name the client's.
"""

from __future__ import annotations


def keep(files: dict[str, bytes]) -> dict[str, bytes]:
    """The files that the declaration names, as a result that workers pass on to each other."""
    return files


def call(job: dict[str, object], files: dict[str, bytes]) -> dict[str, object]:
    """Do a job with the worker's own package; the answer names the worker."""
    import importlib

    worker = importlib.import_module("distributed").get_worker()
    for name in ("doit_oci.tasks.fleet.worker", "tasks.fleet.worker"):
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError:
            continue
        found = module.work(job, files, worker.local_directory)
        break
    else:
        found = {"error": "has no doit-oci: pip install 'doit-oci[fleet]'"}
    return {**found, "worker": str(worker.name), "address": worker.address}
