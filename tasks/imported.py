"""Bundles that ``import`` has brought and images.toml does not declare: they run as they are.

Nothing can be built for them, so there are no steps; a stamp tells them from what is left of a
bundle whose declaration is gone. What is no part of config.json, such as a time limit, stayed
where they come from.
"""

from __future__ import annotations

import json
import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .project.plan import Plan
    from .project.workspace import Workspace

STAMP = "import"
NAME = r"(?a)[A-Za-z0-9][A-Za-z0-9._-]{0,127}"
"""As specs/images.schema.json has it: what an archive says may be anything."""


def is_name(name: str) -> bool:
    """Whether a bundle may be called so."""
    return re.fullmatch(NAME, name) is not None


def remember_import(space: Workspace, name: str, digest: str) -> None:
    """Write down that a bundle was imported. Raises: StoreError."""
    from .store.atomic import write_atomic

    write_atomic(space.stamp(STAMP, name), json.dumps({"digest": digest}).encode() + b"\n")


def is_imported(plan: Plan, name: str) -> bool:
    """Whether a bundle is there that was imported, and not declared since."""
    if not is_name(name) or name in plan.images.bundles or name in plan.images.images:
        return False
    space = plan.workspace
    return space.stamp(STAMP, name).is_file() and (space.bundle(name) / "config.json").is_file()


def imported_bundles(plan: Plan) -> dict[str, str]:
    """The digest of each such bundle, as it was when it came, by name."""
    found = {}
    for path in sorted(plan.workspace.stamp(STAMP, "").parent.glob("*.json")):
        if is_imported(plan, path.stem):
            try:
                found[path.stem] = str(json.loads(path.read_bytes())["digest"])
            except (OSError, ValueError, KeyError, TypeError):
                found[path.stem] = "unknown"  # which no bundle has
    return found


def imported_digest(space: Workspace, name: str) -> str:
    """The digest of what stands there. Raises: ContentError, StoreError."""
    from .store.bundle_digest import bundle_digest

    config = space.bundle(name) / "config.json"
    return bundle_digest(entries=space.entries(name), config_json=config)


def run_imported(plan: Plan, name: str) -> None:
    """Run it; a status other than 0 ends the process with it. Raises: RuntimeFailed."""
    from .run import run_bundle
    from .run_keys import chosen_runtime

    options, space = plan.options, plan.workspace
    status = run_bundle(
        bundle=space.bundle(name),
        name=name,
        run_dir=space.run,
        project=space.project,
        entrypoint=(),
        args=None if options.args is None else list(options.args),
        detach=options.detach,
        wait=options.wait,
        progress=plan.progress,
        **chosen_runtime(plan),
    )
    if status:
        raise SystemExit(status)
