"""One bundle on a worker of a fleet: built in the worker's own store, left in the remote cache.

In: what the declaration and the lock say of one bundle. Out: key, digest and seconds, as plain
JSON. Bytes go between the worker and the cache, never through the scheduler. A worker needs this
package, of the same version, and a way to the cache; whatever it has built before is still in its
store, until the disk is full: then the store is emptied, because all of it is in the cache.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..errors import DoitOciError
from ..named_files import project_in
from ..store.atomic import write_atomic
from .child import run_function

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

STATE_VARIABLE = "DOIT_OCI_FLEET_DIR"
JOB, DONE = "job.json", "done.json"
FULL = ("No space left on device", "Disk quota exceeded")


def work(job: Mapping[str, Any], files: Mapping[str, bytes], place: str) -> dict[str, Any]:
    """Build and push one bundle; what goes wrong is said in ``error`` and not raised.

    ``files`` are those that the declaration names, by relative path; ``place`` is the worker's own
    directory, unless the environment names another.
    """
    started = time.monotonic()
    if job["version"] != __version__:
        return {"error": f"this worker has doit-oci {__version__}, wanted is {job['version']}"}
    root = Path(os.environ.get(STATE_VARIABLE) or place) / "doit-oci"
    found = attempt(job, files, root)
    if any(word in found.get("error", "") for word in FULL) and emptied(root):
        found = attempt(job, files, root)
    return {**found, "seconds": round(time.monotonic() - started, 3)}


def attempt(job: Mapping[str, Any], files: Mapping[str, bytes], root: Path) -> dict[str, Any]:
    """Build in a process with memory, umask and signals of its own."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        with in_use(root), tempfile.TemporaryDirectory(dir=root, prefix="project-") as project:
            return _attempt(job, files, root / "state", Path(project))
    except DoitOciError as problem:
        return {"error": str(problem)}
    except OSError as problem:
        return {"error": f"{type(problem).__name__}: {problem}"}


def _attempt(
    job: Mapping[str, Any], files: Mapping[str, bytes], state: Path, place: Path
) -> dict[str, Any]:
    folder = project_in(place, files)
    for name, content in (*files.items(), (JOB, json.dumps(job).encode())):
        write_atomic(folder / name, content)
    status, said = run_function(
        "fleet.worker.build_here", [str(state)], cwd=folder, environ=os.environ
    )
    if status:
        return {"error": said.strip() or f"status {status}"}
    found: dict[str, Any] = json.loads((folder / DONE).read_bytes())
    return found


def build_here() -> int:
    """The child's work: the job in this folder, with the state directory that is named."""
    from ..oci.platform import parse_platform
    from ..progress import Silent
    from ..project.images import ImageSet
    from ..project.lock import Lock
    from ..project.plan import Plan
    from ..project.workspace import Workspace
    from ..steps import Steps

    folder = Path.cwd()
    job = json.loads((folder / JOB).read_bytes())
    name, platform = job["bundle"], job["platform"]
    space = Workspace(project=folder, state=Path(sys.argv[1]))
    lock = Lock(space.lock, job["lock"]["images"], job["lock"]["bundles"])
    try:
        write_atomic(space.lock, lock.to_bytes())
        plan = Plan(
            workspace=space,
            images=ImageSet.from_json(job["declared"], space.declaration),
            lock=lock,
            host=parse_platform(platform),
            progress=Silent(),
        )
        steps = Steps(plan)
        facts = steps.build(name)
        key = steps.bundles.bundle(name).key()
        # What a worker finished before is told to no lock of this job's.
        plan.lock = plan.lock.with_bundle(name, platform, key, str(facts["digest"]))
        steps.shared.caching.push(name)
        write_atomic(folder / DONE, json.dumps({"key": key, "digest": facts["digest"]}).encode())
    except DoitOciError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_status
    return 0


@contextmanager
def in_use(root: Path) -> Iterator[None]:
    """Keep others from emptying the store."""
    with (root / "in-use").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        yield


def emptied(root: Path) -> bool:
    """Empty the worker's store, unless another job works in it; whether it is empty now."""
    from ..store.layers.builder import remove_tree

    state = root / "state"
    try:
        with (root / "in-use").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not state.exists():
                return False
            remove_tree(state)
    except (OSError, DoitOciError):
        return False
    return True
