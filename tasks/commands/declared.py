"""Commands about what is declared and locked: list, lock, inspect."""

from __future__ import annotations

import json
import sys
import textwrap
from typing import Any

from doit.cmd_list import List as StockList

from ..doit_bridge import Loader, Ours, ProjectCommand
from ..errors import DeclarationError, StaleLock
from ..locking import Locking
from ..oci.locked_image import LockedImage
from ..project.lock import Lock
from ..project.workspace import Workspace


class List(Ours, StockList):  # type: ignore[misc]
    """``list``: what can be run; with ``--all`` or a task name, doit's own list of tasks."""

    doc_purpose = "list what can be run (--all: every task)"
    loader: Loader

    def execute(self, params: Any, args: list[str]) -> int:
        if args or any(params[key] for key in ("subtasks", "quiet", "status", "list_deps")):
            return int(super().execute(params, args) or 0)
        from ..imported import imported_bundles

        plan = self.loader.plan
        locking = Locking(plan)
        sources = {name: locking.source(name) for name in plan.bundle_names()}
        sources |= dict.fromkeys(imported_bundles(plan), "imported")
        if self.loader.options.json:
            rows = [{"target": f"run:{n}", "image": sources[n]} for n in sorted(sources)]
            sys.stdout.write(json.dumps(rows) + "\n")
            return 0
        width = max((len(name) for name in sources), default=0) + 4
        for name in sorted(sources):
            sys.stdout.write(f"{'run:' + name:<{width}}  {sources[name]}\n")
        return 0


class LockCommand(ProjectCommand):
    """``lock [IMAGE…] [--check] [--update]``"""

    name = "lock"
    doc_purpose = "resolve tags to digests into images.lock"
    doc_usage = "[IMAGE...] [--check] [--update]"
    cmd_options = (
        {
            "name": "check",
            "long": "check",
            "type": bool,
            "default": False,
            "help": "change nothing; fail when the lock does not fit images.toml",
        },
        {
            "name": "update",
            "long": "update",
            "type": bool,
            "default": False,
            "help": "ask the tags again, also of images that are locked",
        },
    )

    def perform(self, given: dict[str, Any], names: list[str]) -> int:
        if given["check"] and not names:
            check_all(self.loader)
            return 0
        plan = self.plan
        images = [plan.images.image(name).name for name in names] or list(plan.images.images)
        locking = Locking(plan)
        if given["check"]:
            check_lock(locking, images)
            return 0
        if plan.options.locked:
            raise DeclarationError(
                "writes the lock, and --locked refuses that",
                subject="lock",
                hint="use `lock --check`, or leave --locked out",
            )
        before = plan.lock
        if given["update"]:
            locking.update(images)
        else:
            locking.resolve(images)
        if not names:
            locking.prune()
        if plan.lock is not before:
            report_changes(before, plan.lock, plan.workspace)
        return 0


def check_all(loader: Loader) -> None:
    """Check the whole lock, and leave a record of it for the next time. Raises: StaleLock."""
    from ..project_folder import find_workspace
    from ..warm.lock_check import FITS, statement
    from ..warm.recording import write_record

    space = find_workspace(loader.options)
    files = str(space.declaration), str(space.lock)
    before = statement(*files)
    plan = loader.plan
    check_lock(Locking(plan), list(plan.images.images))
    # What was read in between is what both were before and after.
    if before is not None and before == statement(*files):
        write_record(space.ready(FITS), before)


def check_lock(locking: Locking, images: list[str]) -> None:
    """Raises: StaleLock naming every way in which lock and declaration differ."""
    plan = locking.plan
    problems = [words for said in locking.unfit(images).values() for words in said]
    declared = set(plan.images.images)
    problems += [
        f"image {name} is locked and no longer declared"
        for name in plan.lock.images
        if name not in declared
    ]
    if problems:
        raise StaleLock(
            "does not fit images.toml:\n  " + "\n  ".join(problems),
            subject=plan.workspace.lock.name,
            hint="run `doit lock` and commit the result",
        )


def report_changes(before: Lock, after: Lock, workspace: Workspace) -> None:
    """On standard error every image whose digests are other than before, and what that means."""
    from ..view.diff import diff_images, difference_text

    for name in after.images:
        old, new = before.image(name), after.image(name)
        assert new is not None
        if old is None:
            sys.stderr.write(f"{name}: locked {_digests(new)}\n")
        elif _digests(old) != _digests(new):
            sys.stderr.write(f"{name}: {_digests(old)} → {_digests(new)}\n")
            for _, found in diff_images(name, old, new, workspace):
                sys.stderr.write(textwrap.indent(difference_text(found), "  "))
    for name in before.images:
        if name not in after:
            sys.stderr.write(f"{name}: no longer declared, taken out\n")


def _digests(image: LockedImage) -> str:
    return ", ".join(f"{text} {found.manifest.digest}" for text, found in image.platforms.items())


class Inspect(ProjectCommand):
    """``inspect IMAGE [--raw|--config]``"""

    doc_purpose = "print an image's description as JSON"
    doc_usage = "IMAGE [--raw] [--config] [--tags]"
    cmd_options = (
        {
            "name": "raw",
            "long": "raw",
            "type": bool,
            "default": False,
            "help": "the manifest's or index's own bytes",
        },
        {
            "name": "config",
            "long": "config",
            "type": bool,
            "default": False,
            "help": "the image configuration",
        },
        {
            "name": "tags",
            "long": "tags",
            "type": bool,
            "default": False,
            "help": "the tags of the image's repository",
        },
    )

    def perform(self, given: dict[str, Any], names: list[str]) -> int:
        from .. import inspect as inspect_step

        if len(names) != 1:
            raise DeclarationError("expected one image", subject="inspect")
        plan = self.plan
        locking = Locking(plan)
        arguments = locking.describe(names[0])
        if given["tags"]:
            sys.stdout.buffer.write(as_skopeo_prints(inspect_step.list_tags(**arguments)))
        elif given["raw"] and given["config"]:
            sys.stdout.buffer.write(inspect_step.raw_config(**arguments))
        elif given["raw"]:
            sys.stdout.buffer.write(inspect_step.raw_manifest(**arguments))
        elif given["config"]:
            config = json.loads(inspect_step.raw_config(**arguments))
            sys.stdout.buffer.write(as_skopeo_prints(config))
        else:
            sys.stdout.buffer.write(as_skopeo_prints(inspect_step.inspect_image(**arguments)))
        return 0


def as_skopeo_prints(value: Any) -> bytes:
    """Fields in their own order, indented by four."""
    return (json.dumps(value, indent=4, ensure_ascii=False) + "\n").encode()
