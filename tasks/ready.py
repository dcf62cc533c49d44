"""What a warm start rests on, written when the graph has found bundles current (see warm.py)."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import config_json as config_step
from . import warm
from .errors import StoreError
from .store.atomic import write_atomic

if TYPE_CHECKING:
    from .project.plan import Plan


def write_ready(plan: Plan, name: str, arguments: Mapping[str, Any]) -> None:
    """Leave the record by which ``run:NAME`` starts without doit; ``arguments`` are the run's."""
    space = plan.workspace
    stamps = [space.stamp(step, name) for step in ("rootfs", "config", "bundle")]
    _write(plan, [name], space.ready(name), [space.config_json(name), *stamps], run=arguments)


def write_all_ready(plan: Plan, names: Iterable[str]) -> None:
    """Leave the record by which a build of every bundle is known to have nothing to do."""
    space = plan.workspace
    bundles = list(names)
    written = [
        path for name in bundles for path in (space.config_json(name), space.stamp("bundle", name))
    ]
    images = dict.fromkeys(plan.bundle(name).image for name in bundles)
    written += [space.layout(image) / "index.json" for image in images]
    _write(plan, bundles, space.ready(warm.ALL), written)


def _write(
    plan: Plan, names: list[str], path: Path, written: list[Path], **more: Mapping[str, Any]
) -> None:
    """Write a record, unless a file that people edit is too young to be trusted, or an image's
    tag has to be asked at every start."""
    space = plan.workspace
    bundles = [plan.bundle(name) for name in names]
    if any(plan.images.image(each.image).pull_policy == "always" for each in bundles):
        return
    edited = {space.declaration}
    for bundle in bundles:
        edited |= {space.project / name for name in config_step.watched_files(bundle)}
    # What this project writes is replaced by a rename: another inode tells.
    found = (*edited, space.lock, *written)
    signed = {str(each): warm.signature(str(each)) for each in found}
    now = time.time_ns()
    if not all(warm.is_settled(signed[str(each)], now) for each in edited):
        return
    trees = [str(space.rootfs(name)) for name in names]
    value = {
        "version": warm.VERSION,
        "cwd": os.getcwd(),
        "files": signed,
        "places": {tree: warm.place(tree) for tree in trees},
        **more,
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, json.dumps(value).encode())
    except (OSError, StoreError):
        # A read-only state directory is worked from all the same, only not as fast.
        return
