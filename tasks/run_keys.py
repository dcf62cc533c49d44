"""What a declaration says of a bundle's runs, in the words of ``run_bundle``."""

from __future__ import annotations

import os

from .errors import RuntimeFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from .project.images import BundleDeclaration
    from .project.plan import Plan

LOG_KEYS = {"max_size": "rotate_at", "max_files": "kept"}


def run_arguments(plan: Plan, name: str, *, entrypoint: Sequence[str]) -> dict[str, Any]:
    """What run_bundle takes beside the command line, as plain JSON.

    ``entrypoint`` is what arguments from the command line go behind. Raises: RuntimeFailed where
    the bundle demands what this user cannot give.
    """
    bundle, space = plan.bundle(name), plan.workspace
    _check_user_namespace(bundle)
    given = bundle.overrides
    return {
        "bundle": str(space.bundle(name)),
        "name": name,
        "run_dir": str(space.run),
        "project": str(space.project),
        "entrypoint": list(entrypoint),
        **chosen_runtime(plan),
        "log": {LOG_KEYS[key]: value for key, value in given.get("log", {}).items()},
        "init": given.get("init", False),
        "persistent": given.get("persistent", False),
        "network": given.get("network"),
        "timeout": given.get("timeout"),
        "stop_grace": given.get("stop_grace_period", 10.0),
        "cgroup_limits": given.get("cgroup_limits", "required"),
    }


def chosen_runtime(plan: Plan) -> dict[str, Any]:
    """The runtime that images.toml names, in the words of ``run_bundle``."""
    wanted = plan.images.runtime
    table = plan.images.runtimes.get(wanted or "", {})
    return {"runtime": table.get("path", wanted), "runtime_args": list(table.get("args", ()))}


def _check_user_namespace(bundle: BundleDeclaration) -> None:
    """Root's containers are in the host's, an ordinary user's in one of their own."""
    wanted = bundle.overrides.get("userns", "auto")
    if wanted == "host" and os.geteuid() != 0:
        raise RuntimeFailed(
            'userns = "host" needs root',
            subject=bundle.name,
            hint='run it as root, or say userns = "auto"',
        )
    if wanted == "private" and os.geteuid() == 0:
        raise RuntimeFailed(
            "userns = \"private\" needs an ordinary user: root's containers are in the host's",
            subject=bundle.name,
            hint="run it as a user with ranges in /etc/subuid and /etc/subgid",
        )
