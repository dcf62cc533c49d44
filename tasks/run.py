"""Step run: start a bundle under an OCI runtime, and leave nothing behind.

In: ``build/bundles/NAME``, a runtime bundle that stays as it is. Out: the container's own exit
status. The container's directory, ``build/run/containers/<id>``, holds the configuration as adapted
to this host, the writable layer and the runtime's state; it goes when the container ends.

Spec: runtime-spec 1.2 runtime.md, "Lifecycle". This path starts in milliseconds: whatever only some
runs need is imported where they need it.
"""

from __future__ import annotations

import os

from .store.runtime.prepare import clear_persistent
from .store.runtime.session import Session
from .store.runtime.settings import LIMITS_REQUIRED, Settings
from .store.runtime.stale import remove_stale

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from os import PathLike

    from .progress import Progress


def run_bundle(
    *,
    bundle: str | PathLike[str],
    name: str,
    run_dir: str | PathLike[str],
    runtime: str | None,
    runtime_args: Sequence[str] = (),
    args: Sequence[str] | None,
    entrypoint: Sequence[str],
    project: str | PathLike[str],
    persistent: bool = False,
    network: str | None = None,
    timeout: float | None = None,
    stop_grace: float = 10.0,
    cgroup_limits: str = LIMITS_REQUIRED,
    detach: bool = False,
    wait: bool = False,
    tty: bool | None = None,
    init: bool = False,
    log: Mapping[str, int] = {},
    progress: Progress,
) -> int:
    """Run a built bundle; returns the container's exit status, 128 + n for signals.

    ``args`` replace the image's Cmd, after ``entrypoint``; None keeps the bundle's own. ``tty``:
    None takes a terminal where there is one. ``timeout`` and ``stop_grace`` are in seconds; a
    run that is stopped by its timeout returns 124. ``detach`` returns 0 once the container runs,
    ``wait`` once it is healthy; ``log`` has the ``rotate_at`` (bytes) and ``kept`` of its logs.

    Raises:
        RuntimeFailed: no runtime, or the container could not be started, or is not healthy.
    """
    settings = Settings(
        bundle=os.path.abspath(bundle),
        name=name,
        run_folder=os.path.abspath(run_dir),
        project=os.path.abspath(project),
        runtime=runtime,
        runtime_args=runtime_args,
        args=args,
        entrypoint=entrypoint,
        persistent=persistent,
        network=network,
        timeout=timeout,
        stop_grace=stop_grace,
        cgroup_limits=cgroup_limits,
        tty=tty,
        init=init,
        log=log,
        progress=progress,
    )
    remove_stale(settings.run_folder)
    if detach or wait:
        from .store.runtime.detached import await_health, run_detached

        identifier = run_detached(settings)
        settings.note(f"started {identifier}")
        if wait:
            await_health(settings, identifier)
        return 0
    session = Session(settings)
    status = session.run()
    if session.timed_out:
        settings.note(f"stopped after {timeout:g} seconds")
    if session.out_of_memory:
        settings.note("ran out of memory: the kernel killed a process at the bundle's mem_limit")
    return status


def reset_bundle(*, name: str, run_dir: str | PathLike[str]) -> None:
    """Empty a persistent bundle's writable layer.

    Raises:
        RuntimeFailed: a container is using it.
    """
    clear_persistent(os.path.abspath(run_dir), name)
