"""Commands that take bundles elsewhere: export, import, reproduce."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from ..doit_bridge import ProjectCommand
from ..errors import DeclarationError, DoitOciError, StoreError
from ..steps import Steps

LATEST = 0o77777777777
"""Seconds: the latest time (in 2242) that the plain header of a tar can hold."""


class Export(ProjectCommand):
    """``export BUNDLE PATH [--image]``"""

    doc_purpose = (
        "write a bundle as a directory, .tar, .tar.gz or .tar.zst, the same bytes each time"
    )
    doc_usage = "BUNDLE PATH [--image]"
    cmd_options = (
        {
            "name": "image",
            "long": "image",
            "type": bool,
            "default": False,
            "help": "its image instead, as an image layout for skopeo, umoci and podman",
        },
    )

    def perform(self, given: dict[str, Any], names: list[str]) -> int:
        from ..export import export_bundle

        if len(names) != 2:
            raise DeclarationError("expected a bundle and a path", subject="export")
        if names[1] == "-":
            raise DeclarationError(
                "an export is put in place when it is whole, so it needs a path",
                subject="-",
                hint="./- is a directory of that name",
            )
        plan = self.plan
        name = plan.bundle(names[0]).name
        if given["image"]:
            return self._image(name, Path(names[1]).absolute())
        Steps(plan).build(name)
        facts = export_bundle(
            bundle=plan.workspace.bundle(name),
            entries=plan.workspace.entries(name),
            destination=Path(names[1]).absolute(),
            name=name,
            source_date_epoch=source_date_epoch(),
            progress=plan.progress,
        )
        sys.stderr.write(f"{names[1]}: {facts['digest']}\n")
        return 0

    def _image(self, name: str, destination: Path) -> int:
        from ..export_image import export_image

        steps = Steps(self.plan)
        image = self.plan.bundle(name).image
        steps.fetch_all(name)
        manifests = steps.locking.platforms(image)
        export_image(
            manifests={text: found.manifest for text, found in manifests.items()},
            contents=steps.locking.image_blobs(image),
            tag=getattr(steps.locking.reference(image), "tag", "") or "latest",
            blobs=self.plan.workspace.blobs,
            destination=destination,
            source_date_epoch=source_date_epoch(),
            progress=self.plan.progress,
        )
        return 0


def source_date_epoch() -> int:
    """SOURCE_DATE_EPOCH in seconds, 0 without one. Raises: DeclarationError."""
    text = os.environ.get("SOURCE_DATE_EPOCH") or "0"
    if not (text.isascii() and text.isdigit() and len(text) <= 19 and int(text) <= LATEST):
        raise DeclarationError(
            f"is no number of seconds from 0 to {LATEST}", subject=f"SOURCE_DATE_EPOCH={text[:40]}"
        )
    return int(text)


class Import(ProjectCommand):
    """``import PATH [--name NAME]``"""

    name = "import"
    doc_purpose = "take an exported bundle in, verified entry by entry"
    doc_usage = "PATH [--name NAME]"
    cmd_options = (
        {
            "name": "name",
            "long": "name",
            "type": str,
            "default": "",
            "help": "the bundle's name here (default: the one it was exported under)",
        },
    )

    def perform(self, given: dict[str, Any], names: list[str]) -> int:
        from ..import_bundle import import_bundle, imported_name
        from ..imported import is_name, remember_import

        if len(names) != 1:
            raise DeclarationError("expected one path", subject="import")
        source = Path(names[0]).absolute()
        space = self.plan.workspace
        name = given["name"] or imported_name(source)
        if not is_name(name):
            why = "is no name for a bundle; choose one with --name"
            raise DeclarationError(why, subject=ascii(name[:80]))
        if space.bundle(name).exists():
            raise StoreError(
                "a bundle of that name is there already",
                subject=name,
                hint=f"`clean {name}` removes it, --name takes another name",
            )
        digest = import_bundle(
            source=source,
            destination=space.bundle(name),
            entries=space.entries(name),
            unrepresented=space.unrepresented(name),
            progress=self.plan.progress,
        )
        remember_import(space, name, digest)
        sys.stderr.write(f"{name}: {digest}\n")
        return 0


def build_alone(name: str) -> None:
    """In a process of its own: build a bundle out of what lies here, and nothing else."""
    from ..project.plan import Options
    from ..project_folder import open_plan

    try:
        plan = open_plan(Options(offline=True), Path())
        plan.images = plan.images.without_cache()
        Steps(plan).build(name)
    except DoitOciError as error:
        sys.exit(f"error: {error}")


class Reproduce(ProjectCommand):
    """``reproduce BUNDLE``"""

    doc_purpose = "build a bundle twice in different surroundings and compare the digests"
    doc_usage = "BUNDLE"

    def perform(self, given: dict[str, Any], names: list[str]) -> int:
        from ..named_files import named_files
        from ..reproduce import Built, reproduce

        if len(names) != 1:
            raise DeclarationError("expected one bundle", subject="reproduce")
        plan = self.plan
        bundle = plan.bundle(names[0])
        steps = Steps(plan)
        steps.build(bundle.name)
        space = plan.workspace
        # Without the digests of bundles: a build is to say what it made, not what is wrong with it.
        lock = plan.lock.pruned(plan.lock.images, ())
        files = {space.declaration.name: space.declaration.read_bytes()}
        files[space.lock.name] = lock.to_bytes()
        files |= named_files(plan, [bundle])
        program = f"from {__name__} import build_alone; build_alone({bundle.name!r})"
        blobs = steps.locking.image_blobs(bundle.image)
        digest = reproduce(
            bundle=bundle.name,
            command=[sys.executable, "-c", program],
            files=files,
            blobs=[space.blob(descriptor.digest) for descriptor in blobs],
            blobs_root=space.blobs,
            environ={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            },
            here=Built(
                entries=space.entries(bundle.name), config_json=space.config_json(bundle.name)
            ),
            progress=plan.progress,
        )
        sys.stdout.write(f"{digest}\n")
        return 0
