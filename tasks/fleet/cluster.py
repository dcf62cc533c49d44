"""Fleet: many bundles on many machines, by a Dask cluster.

In: the bundles to build and the declaration's files. Out: the digest of each, the same as that of
a build here. One Dask task is one bundle and its key the bundle's, so that a bundle is never built
twice at a time, whoever asks for it. A worker that dies, or cannot (a full disk, another version),
loses its task to another one, unless it is the declaration that is wrong; without a scheduler, or
when it is lost, a cluster on this machine does the rest.

TLS and time limits are Dask's own: an address ``tls://…``, and ``DASK_DISTRIBUTED__COMM__…`` in the
environment.
"""

from __future__ import annotations

import hashlib
import inspect
import signal
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..errors import DeclarationError, DoitOciError
from ..store.layers.builder import remove_tree
from ..store.layers.staging import work_directory
from ..value import Value
from . import call

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from ..progress import Progress

RETRIES = 3
LOST = ("CommClosedError", "CancelledError", "FutureCancelledError", "TimeoutError",
        "FuturesCancelledError", "ClosedClientError")  # fmt: skip

ENDING = (signal.SIGINT, signal.SIGHUP, signal.SIGTERM)
SCRATCH = "fleet"


class Job(Value):
    """One bundle for one platform. ``key`` is the bundle's own (``is_own``), or one of its inputs;
    ``declared`` and ``lock`` are what the declaration and the lock say of it, as plain JSON."""

    bundle: str
    platform: str
    key: str
    is_own: bool
    declared: Mapping[str, Any]
    lock: Mapping[str, Any]


class Done(Value):
    """``seconds`` is the worker's time for all of it, the start of a process included."""

    bundle: str
    platform: str
    key: str
    digest: str
    seconds: float
    worker: str


def build_fleet(
    *,
    jobs: Sequence[Job],
    files: Mapping[str, bytes],
    scheduler: str,
    tmp: Path,
    workers: int,
    progress: Progress,
) -> Iterator[Done]:
    """Build ``jobs`` and yield each as it is done.

    ``files`` are those that images.toml names, by relative path; ``scheduler`` is a Dask address,
    or empty for a cluster of ``workers`` processes here, which have their stores in ``tmp`` for as
    long as they live. Raises: DoitOciError naming every bundle that failed, at the end.
    """
    failures: dict[str, dict[str, Any]] = {}
    waiting = {job.bundle: job for job in jobs}
    for address in dict.fromkeys((scheduler, "")):
        if not waiting:
            break
        try:
            with connected(address, tmp, min(workers, len(waiting))) as client:
                if not client.nthreads():
                    progress.note(f"{address} has no workers yet; waiting for one")
                for job, found in gathered(client, list(waiting.values()), files, progress):
                    del waiting[job.bundle]
                    if "error" in found:
                        failures[job.bundle] = found
                        continue
                    yield Done(
                        bundle=job.bundle,
                        platform=job.platform,
                        key=found["key"],
                        digest=found["digest"],
                        seconds=found["seconds"],
                        worker=found["worker"],
                    )
        except Exception as problem:
            if not address or not is_loss(problem):
                raise
            progress.note(
                f"{address}: the scheduler was lost ({type(problem).__name__}); "
                f"{len(waiting)} bundles are built by a cluster here"
            )
    if failures:
        raise not_built(failures)


def not_built(failures: Mapping[str, Mapping[str, Any]]) -> DoitOciError:
    """Each bundle with what its worker said; the declaration is wrong if it is for all of them."""
    lines = ["not built:"]
    for name, found in failures.items():
        said = found["error"].removeprefix(f"{name}: ")
        lines += f"{name}: {said}".replace("\n", "\n  ").splitlines()
    statuses = {found.get("status") for found in failures.values()}
    kind = DeclarationError if statuses == {DeclarationError.exit_status} else DoitOciError
    return kind(
        "\n  ".join(lines),
        subject="fleet",
        hint="the others are built and locked; the next `fleet` builds these",
    )


@contextmanager
def connected(address: str, tmp: Path, workers: int) -> Iterator[Any]:
    """A client of a scheduler, or of a cluster of processes on this machine.

    Raises: DeclarationError for an address that is none, DoitOciError, whatever Dask raises.
    """
    dask = load_dask()
    with ExitStack() as stack:
        if not address:
            place = stack.enter_context(work_directory(tmp.absolute()))
            # Trees in there may be of a user namespace's users.
            stack.callback(remove_tree, place / SCRATCH)
            address = stack.enter_context(local_cluster(dask, place / SCRATCH, workers))
        else:
            check_address(address)
        yield stack.enter_context(dask.Client(address, set_as_default=False))


def local_cluster(dask: Any, place: Path, workers: int) -> Any:
    """Raises: DoitOciError where its processes do not start."""
    place.mkdir()
    try:
        with uninterrupted():
            return dask.LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                dashboard_address=None,
                # Nobody else's port, and no other machine's to ask.
                scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},
                local_directory=str(place),
                silence_logs=50,
            )
    except (OSError, RuntimeError) as problem:
        raise DoitOciError(
            f"the workers of this machine do not start: {problem.__cause__ or problem}",
            subject="fleet",
            hint="without a cluster `doit-oci bundle -n 2` builds the same",
        ) from problem


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Threads and processes that begin in this block are ended by this one, and not by what a
    terminal or a CI sends to all of them; what is sent meanwhile comes at the end."""
    from multiprocessing import resource_tracker

    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        # It lets signals through again when it starts, which is with the first process otherwise.
        resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def load_dask() -> Any:
    """The package distributed, which says nothing of its types. Raises: DeclarationError."""
    import importlib

    try:
        return importlib.import_module("distributed")
    except ImportError as problem:
        raise DeclarationError(
            "needs the package distributed", subject="fleet", hint="pip install 'doit-oci[fleet]'"
        ) from problem


def check_address(address: str) -> None:
    """Raises: DeclarationError where Dask knows no such address, or has no certificates to show."""
    import importlib

    try:
        _, port = importlib.import_module("distributed.comm").get_address_host_port(address)
        if not 0 < port < 1 << 16:
            raise ValueError(f"no port is {port}")
    except ValueError as problem:
        raise DeclarationError(
            f"is no address of a scheduler: {problem}",
            subject=address,
            hint="expected tcp://HOST:PORT or tls://HOST:PORT",
        ) from problem
    if address.startswith("tls:"):
        check_tls(address)


def check_tls(address: str) -> None:
    """Raises: DeclarationError where Dask has no certificates to show."""
    try:
        found = load_dask().Security().get_connection_args("client").get("ssl_context")
    except (OSError, ValueError) as problem:
        raise DeclarationError(f"TLS: {problem}", subject=address) from problem
    if found is None:
        raise DeclarationError(
            "needs TLS certificates",
            subject=address,
            hint="set DASK_DISTRIBUTED__COMM__TLS__CA_FILE, …__CLIENT__CERT and …__CLIENT__KEY",
        )


def gathered(
    client: Any, jobs: Sequence[Job], files: Mapping[str, bytes], progress: Progress
) -> Iterator[tuple[Job, dict[str, Any]]]:
    """Jobs as they are done. The files go to each worker once.

    Raises: what Dask raises when the cluster is lost.
    """
    shared = {"files": dict(files), "source": inspect.getsource(call)}
    digest = hashlib.sha256(repr(sorted(shared.items())).encode()).hexdigest()
    # A task and not a scatter: when the worker that holds it dies, the scheduler makes it anew.
    given = client.submit(dict, shared, key=f"doit-oci-files-{digest}")

    def submit(tried: Sequence[str], found: Sequence[Job]) -> Any:
        job = found[0]
        about = {
            "bundle": job.bundle,
            "platform": job.platform,
            "version": __version__,
            "declared": job.declared,
            "lock": job.lock,
        }
        again = f"-{'-'.join(tried)}" if tried else ""
        others = {"workers": untried(client, tried), "allow_other_workers": True} if tried else {}
        key = f"doit-oci-{job.key}{again}"
        names = {"job": about}
        return client.submit(
            eval, call.EXPRESSION, names, given, key=key, retries=RETRIES, **others
        )

    by_key: dict[str, list[Job]] = {}
    for job in jobs:
        by_key.setdefault(job.key, []).append(job)
    futures: dict[Any, tuple[list[Job], tuple[str, ...]]] = {
        submit((), found): (found, ()) for found in by_key.values()
    }
    yield from _as_done(client, futures, submit, progress)


def _as_done(
    client: Any,
    futures: dict[Any, tuple[list[Job], tuple[str, ...]]],
    submit: Callable[[Sequence[str], Sequence[Job]], Any],
    progress: Progress,
) -> Iterator[tuple[Job, dict[str, Any]]]:
    """Results as they come; what one worker could not do is given to those that have not tried."""
    coming = load_dask().as_completed(list(futures), loop=client.loop, with_results=True)
    for future, outcome in coming:
        found, tried = futures.pop(future)
        future.release()
        result = outcome
        if type(outcome).__name__ == "KilledWorker":
            result = {"error": "the workers that tried it died"}
        elif isinstance(outcome, BaseException):
            if is_loss(outcome):
                raise outcome
            said = f"a worker could not take it: {type(outcome).__name__}: {outcome}"
            result = {"error": said}
        elif "error" in result and result.get("status") != DeclarationError.exit_status:
            tried = (*tried, result["address"])
            if len(tried) <= RETRIES and untried(client, tried):
                names = ", ".join(job.bundle for job in found)
                progress.note(
                    f"{names}: worker {result['worker']} could not, another one tries: "
                    f"{result['error']}"
                )
                again = submit(tried, found)
                futures[again] = (found, tried)
                coming.add(again)
                continue
        for job in found:
            yield job, result


def untried(client: Any, tried: Sequence[str]) -> list[str]:
    """The addresses of the other workers that there are now."""
    return sorted(set(client.nthreads()) - set(tried))


def is_loss(problem: BaseException) -> bool:
    """Whether a failure is one of the cluster's and not of a bundle."""
    return isinstance(problem, OSError | TimeoutError) or any(
        kind.__name__ in LOST for kind in type(problem).__mro__
    )


def overhead(done: Sequence[Done], started: float, workers: int) -> float:
    """Seconds of the wall clock that were not spent building, for each bundle."""
    if not done:
        return 0.0
    busy = sum(each.seconds for each in done) / max(1, workers)
    return max(0.0, time.monotonic() - started - busy) / len(done)
