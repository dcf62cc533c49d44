"""Projects that share a state directory (``--dir``, ``DOIT_OCI_DIR``): each that builds into one
writes itself down there, so that gc in any of them keeps what the lock of any other names.

A state directory inside of its project, as ``build/`` is, belongs to that one without being told.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from .errors import StoreError
from .project.workspace import LOCK, Workspace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


def remember_project(space: Workspace) -> None:
    """Write a project down; where that cannot be done, the step that follows says why."""
    if space.state.parent == space.project:
        return
    from .oci.digest import digest_bytes
    from .store.atomic import write_atomic

    name = os.fsencode(space.project)
    path = space.projects / digest_bytes(name).encoded[:32]
    if not path.exists():
        with contextlib.suppress(OSError, StoreError):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(path, name, sync=False)


def other_projects(space: Workspace) -> Iterator[Workspace]:
    """The others that use a state directory and still have a lock, each once."""
    found = {space.state.parent}
    with contextlib.suppress(OSError):
        for name in os.listdir(space.projects):
            with contextlib.suppress(OSError):
                found.add(Path(os.fsdecode((space.projects / name).read_bytes())))
    for project in sorted(found - {space.project}):
        if project.is_absolute() and (project / LOCK).is_file():
            yield space.replacing(project=project)
