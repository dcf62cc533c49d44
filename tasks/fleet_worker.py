"""One bundle on a worker of a fleet: built in the worker's own store, left in the remote cache.

In: the declaration's files and a bundle's name. Out: key, digest and seconds, as plain JSON. Bytes
go between the worker and the cache, never through the scheduler. A worker needs this package, of
the same version, and a way to the cache; whatever it has built before is still in its store.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import __version__
from .store.atomic import write_atomic
from .store.front_door import run_front_door

if TYPE_CHECKING:
    from collections.abc import Mapping

STATE_VARIABLE = "DOIT_OCI_FLEET_DIR"


def work(job: Mapping[str, Any], files: Mapping[str, bytes], place: str) -> dict[str, Any]:
    """Build and push one bundle; what goes wrong is said in ``error`` and not raised.

    ``place`` is the worker's own directory, unless the environment names another.
    """
    started = time.monotonic()
    if job["version"] != __version__:
        return {"error": f"this worker has doit-oci {__version__}, wanted is {job['version']}"}
    root = Path(os.environ.get(STATE_VARIABLE) or place) / "doit-oci"
    project = root / "projects" / f"{os.getpid()}-{job['id']}"
    try:
        for name, content in files.items():
            write_atomic(project / name, content)
        words = ["cache", "push", job["bundle"], "--dir", str(root / "state")]
        status, said = run_front_door(words, cwd=project, environ=os.environ)
        if status:
            return {"error": said.strip() or f"status {status}"}
        lock = json.loads((project / "images.lock").read_bytes())
        found = lock["bundles"][job["bundle"]][job["platform"]]
    except (OSError, ValueError, KeyError) as problem:
        return {"error": f"{type(problem).__name__}: {problem}"}
    finally:
        shutil.rmtree(project, ignore_errors=True)
    return {
        "key": found["key"],
        "digest": found["digest"],
        "seconds": round(time.monotonic() - started, 3),
    }
