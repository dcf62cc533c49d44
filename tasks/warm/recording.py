"""What a warm start rests on, written when the graph has found bundles current (see bundle.py)."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import config_json as config_step
from ..boot import boot_id
from ..errors import StoreError
from ..store.atomic import write_atomic
from . import bundle as warm
from .all_bundles import marks

if TYPE_CHECKING:
    from ..project.plan import Plan

MAKERS = (
    "__init__.py",
    "bundle_steps.py",
    "config_json.py",
    "image_steps.py",
    "layout.py",
    "rootfs.py",
    "steps.py",
)
"""Of this package: a newer one may make other keys of the same inputs."""


def write_ready(plan: Plan, name: str, arguments: Mapping[str, Any]) -> None:
    """Leave the record by which ``run:NAME`` starts without doit; ``arguments`` are the run's."""
    space = plan.workspace
    stamps = [space.stamp(step, name) for step in ("rootfs", "config", "bundle")]
    signed = _signed(plan, [name], [space.config_json(name), *stamps])
    if signed is None:
        return
    tree = str(space.rootfs(name))
    value = {
        "version": warm.VERSION,
        "boot": boot_id(),
        "cwd": os.getcwd(),
        "files": signed,
        "places": {tree: warm.place(tree)},
        "run": arguments,
    }
    write_record(space.ready(name), value)


def write_all_ready(plan: Plan, names: Iterable[str]) -> None:
    """Leave the record by which a build of every bundle is known to have nothing to do."""
    bundles = list(names)
    signed = _signed(plan, bundles, [])
    if signed is None:
        return
    lists = _lists(plan, bundles)
    groups = [
        ("stamps", "", "steps", False),
        ("entries", ".jsonl", "bundles", False),
        ("bundles", "/config.json", "bundles", False),
        ("bundles", "/rootfs", "bundles", True),
        ("layouts", "/index.json", "images", False),
        ("layouts", "/oci-layout", "images", False),
        ("layouts", "", "folders", False),
        *((f"blobs/{kind}", "", kind, False) for kind in lists if kind not in NAMED),
    ]
    state = str(plan.workspace.state)
    try:
        found = [
            marks(state, folder, lists[of], ending, place) for folder, ending, of, place in groups
        ]
    except OSError:
        # Something has vanished since the graph looked at it.
        return
    value = {
        "version": warm.VERSION,
        "boot": boot_id(),
        "cwd": os.getcwd(),
        "files": signed,
        "names": lists,
        "groups": groups,
    }
    content = b"".join((json.dumps(value).encode(), b"\n", *(each.tobytes() for each in found)))
    _write(plan.workspace.ready(warm.ALL), content)


def write_record(path: Path, value: Mapping[str, Any]) -> None:
    """Leave a record that is one line of JSON."""
    _write(path, json.dumps(value).encode())


NAMED = ("steps", "bundles", "images", "folders")
STAMPED = ["layout", "rootfs", "config", "bundle"]
"""Their stamps are replaced by a rename and are no output: each folder's own numbers say whether
one came or went, so that a third of the names need not be looked at."""


def _lists(plan: Plan, bundles: list[str]) -> dict[str, list[str]]:
    """The names of steps, of bundles, of images, of the layouts' folders of blobs, and of the blobs
    by algorithm."""
    images = list(dict.fromkeys(plan.bundle(name).image for name in bundles))
    folders: dict[str, None] = {}
    blobs: dict[str, dict[str, None]] = {}
    for image in images:
        locked = plan.locked_image(image)
        for platform in plan.platforms(image):
            found = locked.platforms.get(str(platform)) if locked else None
            for descriptor in found.blobs if found else ():
                kind = descriptor.digest.algorithm
                folders[f"{image}/blobs/{kind}"] = None
                blobs.setdefault(kind, {})[descriptor.digest.encoded] = None
    return {
        "steps": STAMPED,
        "bundles": bundles,
        "images": images,
        "folders": list(folders),
        **{kind: list(names) for kind, names in blobs.items()},
    }


def _signed(plan: Plan, names: list[str], written: list[Path]) -> dict[str, list[int]] | None:
    """The signatures of the files that decide about bundles; None where a file that people edit
    is too young to be trusted, or an image's tag has to be asked at every start."""
    space = plan.workspace
    bundles = [plan.bundle(name) for name in names]
    if any(plan.images.image(each.image).pull_policy == "always" for each in bundles):
        return None
    edited = {space.declaration}
    for bundle in bundles:
        edited |= {space.project / name for name in config_step.watched_files(bundle)}
    makers = [Path(__file__).parents[1] / name for name in MAKERS]
    # What this project writes is replaced by a rename: another inode tells.
    found = (*edited, space.lock, *makers, *written)
    signed = {str(each): warm.signature(str(each)) for each in found}
    now = time.time_ns()
    if not all(warm.is_settled(signed[str(each)], now) for each in edited):
        return None
    return signed


def _write(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # What a power cut leaves of it is no JSON, or is of another start of the machine.
        write_atomic(path, content, sync=False)
    except (OSError, StoreError):
        # A read-only state directory is worked from all the same, only not as fast.
        return
