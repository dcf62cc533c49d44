"""One bundle on a worker of a fleet: built in the worker's own store, left in the remote cache.

In: what the declaration and the lock say of one bundle. Out: key, digest and seconds, as plain
JSON. Bytes go between the worker and the cache, never through the scheduler. A worker needs this
package, of the same version, and a way to the cache; whatever it has built before is still in its
store, until the disk is full: then the store is emptied, because all of it is in the cache.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..errors import DoitOciError
from ..named_files import project_in
from ..store.atomic import write_atomic
from ..store.guard import SharedGuard, guard_if_free
from ..store.kernel import die_with_parent
from ..store.layers.builder import remove_tree
from ..store.layers.staging import clean_stale, work_directory
from ..store.refusal import FULL

if TYPE_CHECKING:
    from collections.abc import Mapping

STATE_VARIABLE = "DOIT_OCI_FLEET_DIR"
JOB, DONE = "job.json", "done.json"
IN_USE = "in-use"
"""Beside the store: the guard that jobs share, and that whoever empties the store holds alone."""

NO_ROOM = tuple(os.strerror(number) for number in FULL)
TAIL = 4000
"""Characters of what a build said that are worth passing on."""


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
    if any(word in found.get("error", "") for word in NO_ROOM) and emptied(root):
        found = attempt(job, files, root)
    return {**found, "seconds": round(time.monotonic() - started, 3)}


def attempt(job: Mapping[str, Any], files: Mapping[str, bytes], root: Path) -> dict[str, Any]:
    """Build in a folder of its own, which looks like a project; what a kill left of one goes."""
    use = SharedGuard(root / IN_USE)
    try:
        use.take()
        clean_stale(root / "projects", None)
        with work_directory(root / "projects") as project:
            return _attempt(job, files, root / "state", project)
    except DoitOciError as problem:
        return {"error": str(problem)}
    except OSError as problem:
        return {"error": f"{problem.filename or root}: {problem.strerror or problem}"}
    finally:
        use.release()


def _attempt(
    job: Mapping[str, Any], files: Mapping[str, bytes], state: Path, place: Path
) -> dict[str, Any]:
    folder = project_in(place, files)
    for name, content in (*files.items(), (JOB, json.dumps(job).encode())):
        write_atomic(folder / name, content)
    status, said = build_elsewhere(folder, state)
    if status:
        return {"error": said.strip() or ended(status), "status": status}
    found: dict[str, Any] = json.loads((folder / DONE).read_bytes())
    return found


def build_elsewhere(folder: Path, state: Path) -> tuple[int, str]:
    """:func:`build_here` in a process with memory, umask and signals of its own, which dies with
    this one: its status, and the end of standard error."""
    program = f"import sys; from {__name__} import build_here; sys.exit(build_here())"
    # What this process imports, the child can import.
    path = os.pathsep.join(entry for entry in sys.path if entry)
    done = subprocess.run(
        [sys.executable, "-c", program, str(state), str(os.getpid())],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        check=False,
    )
    return done.returncode, done.stderr.decode(errors="replace")[-TAIL:]


def ended(status: int) -> str:
    """Why a build ended that said nothing."""
    if status < 0:
        return f"the build was ended by signal {-status}; had it memory enough?"
    return f"the build ended with status {status} and said nothing"


def build_here() -> int:
    """The child's work: the job in this folder, with the state directory that is named."""
    die_with_parent(signal.SIGKILL)
    if os.getppid() != int(sys.argv[2]):
        return 1
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


def emptied(root: Path) -> bool:
    """Empty the worker's store, unless another job works in it; whether it is empty now."""
    state = root / "state"
    with guard_if_free(root / IN_USE) as is_free:
        if not (is_free and state.exists()):
            return False
        try:
            remove_tree(state)
        except DoitOciError:
            return False
    return True
