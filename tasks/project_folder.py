"""The project folder that a command line is about, and the plan that it opens."""

from __future__ import annotations

import os
from pathlib import Path

from .errors import DeclarationError
from .oci.platform import Platform, normalise
from .project.plan import Options, Plan
from .project.workspace import DECLARATION, STATE_DIRECTORY, Workspace
from .view.console import open_events
from .warm.declaration_cache import load_declaration
from .warm.lock_index import open_lock


def host_platform() -> Platform:
    """What this machine runs."""
    return normalise(Platform("linux", os.uname().machine))


def find_project(start: Path) -> Path:
    """The nearest folder upwards that holds images.toml. Raises: DeclarationError."""
    for folder in (start, *start.parents):
        if (folder / DECLARATION).is_file():
            return folder
    raise DeclarationError(
        f"no {DECLARATION} here or in any folder above",
        subject=str(start),
        hint="`doit-oci init` writes one",
    )


def find_workspace(options: Options, start: Path | None = None) -> Workspace:
    """Where things lie, whatever images.toml says. Raises: DeclarationError."""
    here = (start or Path.cwd()).absolute()
    project = find_project(here)
    state = here / options.state if options.state else project / STATE_DIRECTORY
    return Workspace(project=project, state=state)


def open_plan(options: Options, start: Path | None = None) -> Plan:
    """Read the declaration and the lock. Raises: DeclarationError."""
    workspace = find_workspace(options, start)
    events = open_events(options, workspace.record)
    return Plan(
        workspace=workspace,
        images=load_declaration(workspace),
        lock=open_lock(workspace),
        host=host_platform(),
        options=options,
        progress=events,
    )
