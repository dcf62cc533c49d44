"""Commands about what has been built: digest, validate, verify, clean, forget."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..doit_bridge import ProjectCommand
from ..errors import DeclarationError
from ..project.plan import Plan

if TYPE_CHECKING:
    from ..steps import Steps


def bare(names: list[str]) -> list[str]:
    """Names of bundles, also where targets such as ``bundle:NAME`` are given."""
    return [name.partition(":")[2] or name for name in names]


def chosen(plan: Plan, names: list[str]) -> list[str]:
    """The bundles that are named, or all. Raises: UnknownTarget."""
    return [plan.bundle(name).name for name in bare(names)] or list(plan.bundle_names())


def chosen_here(steps: Steps, names: list[str]) -> list[str]:
    """The same, of which ``--shard`` leaves this machine's. Raises: DeclarationError too."""
    found = chosen(steps.plan, names)
    if steps.plan.options.shard is None:
        return found
    from ..creators import in_shard

    return in_shard(steps, found, named=names)


class Digest(ProjectCommand):
    """``digest BUNDLE``"""

    doc_purpose = "print a bundle's digest, building what is out of date first"
    doc_usage = "BUNDLE"

    def perform(self, given: dict[str, Any], names: list[str]) -> int:
        from ..imported import imported_digest, is_imported
        from ..steps import Steps

        if len(names) != 1:
            raise DeclarationError("expected one bundle", subject="digest")
        if is_imported(self.plan, names[0]):
            sys.stdout.write(f"{imported_digest(self.plan.workspace, names[0])}\n")
            return 0
        steps = Steps(self.plan)
        facts = steps.build(chosen(self.plan, names)[0])
        sys.stdout.write(f"{facts['digest']}\n")
        return 0


class Clean(ProjectCommand):
    """``clean [BUNDLE…]``"""

    doc_purpose = "remove built bundles; the blobs that the lock references stay"
    doc_usage = "[BUNDLE...] [--dry-run]"
    cmd_options = (
        {
            "name": "dry_run",
            "short": "n",
            "long": "dry-run",
            "type": bool,
            "default": False,
            "help": "only say what would be removed",
        },
    )

    def perform(self, given: dict[str, Any], names: list[str]) -> int:
        from ..clean import no_build, refuse_running, remove, remove_half_done, running

        space, names = self.plan.workspace, bare(names)
        if given["dry_run"]:
            for path in self._outputs(names, running(space)):
                sys.stderr.write(f"would remove {path}\n")
            return 0
        with no_build(space, self.plan.progress):
            kept = running(space)
            for path in self._outputs(names, kept):
                sys.stderr.write(f"removing {path}\n")
                remove(path)
            if not names:
                remove_half_done(space)
        refuse_running(kept.intersection(names) if names else kept)
        return 0

    def _outputs(self, names: list[str], kept: set[str]) -> Iterator[Path]:
        from ..clean import all_outputs, outputs_of
        from ..imported import STAMP, is_imported
        from ..steps import Steps

        space = self.plan.workspace
        if not names:
            yield from all_outputs(space, kept)
            return
        imported = [name for name in names if is_imported(self.plan, name)]
        declared = [name for name in names if name not in imported]
        built = chosen(self.plan, declared) if declared else []
        for name in set(imported) - kept:
            yield from outputs_of(space, name, [space.stamp(STAMP, name)])
        steps = Steps(self.plan)
        for name in built:
            if name in kept:
                continue
            # The first step's stamp is the layout's, which belongs to the image.
            own = (*steps.chain(name)[1:], steps.check(name))
            yield from outputs_of(space, name, [step.stamp for step in own])


class Forget(ProjectCommand):
    """``forget [BUNDLE…]``"""

    doc_purpose = "forget that steps were done, so that they are done again"
    doc_usage = "[BUNDLE...]"

    def perform(self, given: dict[str, Any], names: list[str]) -> int:
        from ..steps import Steps

        steps = Steps(self.plan)
        for name in chosen(self.plan, names):
            for step in (*steps.chain(name), steps.check(name)):
                step.stamp.unlink(missing_ok=True)
        return 0


class Validate(ProjectCommand):
    """``validate [NAME…]``"""

    doc_purpose = "check images.toml, lock, layouts and bundles: schema, digest, size"
    doc_usage = "[NAME or PATH...]"

    def perform(self, given: dict[str, Any], names: list[str]) -> int:
        from ..validate import validate

        return show_findings(validate(plan=self.plan, names=names), self.options.json)


class Verify(ProjectCommand):
    """``verify [NAME…]``"""

    doc_purpose = "rehash blobs and trees on disk; say the first path that differs"
    doc_usage = "[NAME...]"

    def perform(self, given: dict[str, Any], names: list[str]) -> int:
        from ..imported import imported_bundles
        from ..verify import verify

        found = verify(plan=self.plan, names=names, imported=imported_bundles(self.plan))
        return show_findings(found, self.options.json)


def show_findings(findings: list[Any], as_json: bool) -> int:
    if as_json:
        sys.stdout.write(json.dumps([finding.to_json() for finding in findings]) + "\n")
    else:
        sys.stderr.write(findings_text(findings))
    return 1 if findings else 0


def findings_text(findings: list[Any]) -> str:
    """A table for people: each object once, its problems below it, and how many there are."""
    groups: dict[str, list[Any]] = {}
    for finding in findings:
        groups.setdefault(finding.subject, []).append(finding)
    lines = []
    for subject, members in groups.items():
        lines.append(subject)
        width = max(len(each.place) for each in members)
        for each in members:
            place = f"{each.place:<{width}}  " if width else ""
            lines.append(f"  {place}{each.message}")
    count = len(findings)
    lines.append(f"{count or 'no'} problem{'' if count == 1 else 's'} found")
    return "".join(f"{line}\n" for line in lines)
