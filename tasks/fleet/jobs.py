"""What a fleet has to build: each stale bundle with a key that is known before it is built.

That is the bundle's own key, wherever a bundle is of what the lock and the declaration hold. Where
its config.json rests on the tree as well (an account by name, an owner of a volume), or the image's
configuration is not in the store here, it is a key of the inputs; whether such a bundle is stale is
known only if it was built from here before.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from .. import config_json as config_step
from ..errors import DoitOciError
from ..project.step_key import step_key
from ..store.atomic import write_atomic
from .cluster import Done, Job

if TYPE_CHECKING:
    from pathlib import Path

    from ..steps import Steps


def make_job(steps: Steps, name: str) -> Job:
    """A bundle as a task of the cluster. Raises: DeclarationError, UnknownTarget."""
    plan = steps.plan
    bundle = plan.bundle(name)
    key, is_own = bundle_key(steps, name)
    return Job(
        bundle=name,
        platform=str(plan.platform(bundle)),
        key=key,
        is_own=is_own,
        declared=plan.images.part(name),
        lock=plan.lock.part(bundle.image, name),
    )


def bundle_key(steps: Steps, name: str) -> tuple[str, bool]:
    """The key of a bundle and True, or a key of its inputs and False.

    Raises: DeclarationError, UnknownTarget.
    """
    plan = steps.plan
    bundle = plan.bundle(name)
    config = plan.workspace.blob(plan.required(bundle).config.digest)
    try:
        if not config_step.needs_tree(image_config=config, bundle=bundle):
            return steps.bundles.bundle(name).key(), True
    except DoitOciError:
        # Not in the store, or an image that the build has something to say about.
        pass
    inputs = {"rootfs": steps.bundles.rootfs(name).key(), "image_config": str(config.name)}
    parts = {
        "step": "bundle inputs",
        "epoch": 1,
        "inputs": {**inputs, "files": _files(plan.workspace.project, bundle)},
        "params": {
            "overrides": config_step.kept_overrides(bundle),
            "spec": [patch for _, patch in bundle.spec],
            "unset": list(bundle.unset),
        },
        "platform": str(plan.platform(bundle)),
    }
    return step_key(parts), False


def _files(project: Path, bundle: Any) -> dict[str, str]:
    from ..store.bundle_digest import file_digest

    return {
        name: file_digest(project / name)
        for name in config_step.watched_files(bundle)
        if (project / name).is_file()
    }


class Remembered:
    """Which bundle keys came of which keys of inputs; losing it costs time only."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.found: dict[str, str] = {}
        try:
            value = json.loads(path.read_bytes())
            self.found = value if isinstance(value, dict) else {}
        except (OSError, ValueError):
            pass

    def is_stale(self, each: Job, locked: tuple[str, str] | None) -> bool:
        """Whether what the lock holds of a bundle is not what a build would give."""
        if locked is None:
            return True
        return locked[0] != (each.key if each.is_own else self.found.get(each.key))

    def keep(self, jobs: Iterable[Job], done: Mapping[str, Done]) -> None:
        """Remember what came of the keys of inputs among the jobs that are done."""
        new = {
            each.key: done[each.bundle].key
            for each in jobs
            if not each.is_own and each.bundle in done
        }
        if new:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(self.path, json.dumps(self.found | new).encode())
