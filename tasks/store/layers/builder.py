"""Where a build runs: in this process where that is quick, or in one of its own.

Root builds here, with forked workers if there is much to unpack. Where this process has threads,
and for every ordinary user with subordinate ids, a child does it: it has no threads, so it may fork
workers and enter a user namespace.
"""

from __future__ import annotations

import os
from pathlib import Path

from ...errors import StoreError
from ...progress import Progress, Silent
from . import assemble, remote, unpack
from .build import Build, load_facts
from .crew import may_fork
from .materialise import no_room
from .remove import remove_here

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Call = Callable[[dict[str, Any], Progress], Any]

WORTH_A_PROCESS = 8 << 20
"""Packed bytes to unpack that are worth the start of an interpreter."""


def build_here_or_there(
    build: Build, progress: Progress, call: Call = remote.call
) -> dict[str, str]:
    """Build a rootfs as this user can; ``call`` has another process do it, where that is needed.

    Raises: DoitOciError and its kinds.
    """
    id_map = remote.find_mapping()
    if os.geteuid() != 0 and id_map is None:
        return assemble.run(build.replacing(owners=unpack.SINGLE), progress)
    if id_map is not None:
        mapped = build.replacing(owners=remote.describe(id_map), forks=True)
        try:
            request = {"do": "build", "mapped": True, **mapped.to_json()}
            return _call(call, request, build, progress)
        except PermissionError as error:
            progress.note(f"no user namespace ({error.strerror}): owners are recorded, not set")
            return assemble.run(build.replacing(owners=unpack.SINGLE), progress)
    packed = sum(
        source.descriptor.size for source in build.layers if load_facts(build, source) is None
    )
    if packed < WORTH_A_PROCESS:
        return assemble.run(build, progress)
    forking = build.replacing(forks=True)
    if _may_fork(progress):
        return assemble.run(forking, progress)
    request = {"do": "build", "mapped": False, **forking.to_json()}
    return _call(call, request, build, progress)


def _may_fork(progress: Progress) -> bool:
    resume = progress.pause()
    try:
        return may_fork()
    finally:
        resume()


def _call(call: Call, request: dict[str, Any], build: Build, progress: Progress) -> dict[str, str]:
    try:
        found: dict[str, str] = call(request, progress)
    except PermissionError:
        raise
    except OSError as error:
        raise no_room(error, build.destination) from error
    return found


def remove_tree(path: Path) -> None:
    """Remove a tree that a build made, mapped owners included. Raises: StoreError."""
    try:
        try:
            remove_here(path)
        except PermissionError:
            if remote.find_mapping() is None:
                raise
            remote.call({"do": "remove", "mapped": True, "path": str(path.absolute())}, Silent())
    except OSError as error:
        raise StoreError(
            f"cannot be removed: {error.strerror or error}",
            subject=str(error.filename or path),
            hint="it may belong to another user; remove it as that user or as root",
        ) from error
