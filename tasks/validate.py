"""Check documents and what they refer to: images.toml, the lock, image layouts, bundles.

What `oci-image-tool validate` does, and bundles by the runtime specification, and our own files; of
this project or under any path, also those that others made. All problems, not the first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from .errors import ContentError, DeclarationError, DoitOciError, SchemaViolations, UnknownTarget
from .oci.media_type import CONFIGS, is_index, is_layer, is_manifest
from .project.finding import Finding
from .project.image_rules import DOCUMENTS, lock_violations
from .project.images import load_images
from .project.plan import Plan
from .project.runtime_rules import runtime_violations
from .project.schema import Violation
from .store.layout_reader import LayoutReader, parse_document, read_document

STEPS = ("layout", "rootfs", "config", "bundle", "run", "check")


def validate(*, plan: Plan, names: Iterable[str]) -> list[Finding]:
    """Findings about what was named; without names, about all that is there.

    A name is an image, a bundle, or a path. Raises: UnknownTarget.
    """
    wanted = list(names)
    if not wanted:
        return [*_project(plan)]
    return [finding for name in wanted for finding in _named(plan, name)]


def _project(plan: Plan) -> Iterator[Finding]:
    space = plan.workspace
    yield from validate_path(space.declaration)
    if space.lock.exists():
        yield from validate_path(space.lock)
    for image in plan.images.images:
        if space.layout(image).exists():
            yield from validate_layout(space.layout(image), f"layout {image}")
    for name in plan.bundle_names():
        if space.bundle(name).exists():
            yield from validate_bundle(space.bundle(name), f"bundle {name}")


def _named(plan: Plan, name: str) -> Iterator[Finding]:
    space = plan.workspace
    step, _, rest = name.partition(":")
    name = rest if step in STEPS and rest else name
    is_image, is_bundle = name in plan.images.images, name in plan.images.bundles
    if not is_image and not is_bundle:
        if "/" not in name and not Path(name).exists():
            plan.images.bundle(name)
        yield from validate_path(Path(name))
        return
    there = False
    if is_image and space.layout(name).exists():
        there = True
        yield from validate_layout(space.layout(name), f"layout {name}")
    if space.bundle(name).exists():
        there = True
        yield from validate_bundle(space.bundle(name), f"bundle {name}")
    if not there:
        yield Finding(name, "", f"nothing of it is built yet; `doit bundle:{name}` does")


def validate_path(path: Path) -> Iterator[Finding]:
    """Whatever lies there, told by what it holds. Raises: UnknownTarget."""
    subject = str(path)
    if (path / "oci-layout").exists() or (path / "index.json").exists():
        yield from validate_layout(path, subject)
    elif (path / "config.json").exists():
        yield from validate_bundle(path, subject)
    elif path.is_dir():
        yield Finding(
            subject, "", "is no image layout (no oci-layout) and no bundle (no config.json)"
        )
    elif not path.exists():
        raise UnknownTarget("no such image, bundle or path", subject=subject)
    elif path.suffix == ".toml":
        yield from _declaration(path)
    else:
        yield from _document_file(path)


def _declaration(path: Path) -> Iterator[Finding]:
    try:
        load_images(path)
    except SchemaViolations as error:
        for text in error.violations:
            place, _, message = text.partition(": ")
            yield Finding(str(path), place, message)
    except DeclarationError as error:
        yield Finding(str(path), "", error.message)


def _document_file(path: Path) -> Iterator[Finding]:
    """One JSON document: the lock, a runtime configuration, or a document of an image."""
    subject = str(path)
    try:
        document = parse_document(read_document(path, subject=subject), subject=subject)
    except ContentError as error:
        yield Finding(subject, "", error.message)
        return
    keys = document.keys() if isinstance(document, Mapping) else ()
    if "ociVersion" in keys:
        yield from _findings(subject, runtime_violations(document))
    elif "images" in keys and "version" in keys:
        yield from _findings(subject, lock_violations(document))
    elif "imageLayoutVersion" in keys:
        yield from _findings(subject, DOCUMENTS["layout"](document))
    elif "manifests" in keys:
        yield from _findings(subject, DOCUMENTS["index"](document))
    elif "layers" in keys:
        yield from _findings(subject, DOCUMENTS["manifest"](document))
    elif "rootfs" in keys:
        yield from _findings(subject, DOCUMENTS["config"](document))
    else:
        yield Finding(subject, "", "is no document of images, bundles or locks")


def _findings(subject: str, violations: Iterable[Violation], file: str = "") -> Iterator[Finding]:
    for each in violations:
        text = each.text()
        yield Finding(subject, file, text)


def validate_bundle(folder: Path, subject: str) -> Iterator[Finding]:
    """A runtime bundle: its config.json, and that its root is there."""
    path = folder / "config.json"
    try:
        document = parse_document(read_document(path, subject=subject), subject=subject)
    except ContentError as error:
        yield Finding(subject, "config.json", error.message)
        return
    violations = runtime_violations(document)
    yield from _findings(subject, violations, "config.json")
    root = document.get("root") if isinstance(document, Mapping) else None
    place = root.get("path") if isinstance(root, Mapping) else None
    if isinstance(place, str) and not (folder / place).is_dir():
        yield Finding(subject, "config.json", f"root.path: {place!r} is no directory")


def validate_layout(folder: Path, subject: str) -> list[Finding]:
    """An image layout and every descriptor that can be reached from its index."""
    return _LayoutCheck(folder, subject).run()


class _LayoutCheck:
    """Follows descriptors; each blob is read once however often it is named."""

    def __init__(self, folder: Path, subject: str) -> None:
        self.reader = LayoutReader(folder)
        self.folder = folder
        self.subject = subject
        self.findings: list[Finding] = []
        self.seen: set[tuple[str, str]] = set()

    def say(self, place: str, message: str) -> None:
        self.findings.append(Finding(self.subject, place, message))

    def run(self) -> list[Finding]:
        self._file("oci-layout", "layout")
        index = self._file("index.json", "index")
        if index is not None:
            self._follow_index(index, "index.json")
        return self.findings

    def _file(self, name: str, kind: str) -> Any:
        try:
            content = read_document(self.folder / name, subject=name)
            document = parse_document(content, subject=name)
        except ContentError as error:
            self.say(name, error.message)
            return None
        return document if self._fits(document, kind, name) else None

    def _fits(self, document: Any, kind: str, place: str) -> bool:
        violations = DOCUMENTS[kind](document)
        for each in violations:
            self.say(place, each.text())
        return not violations

    def _follow_index(self, index: Mapping[str, Any], place: str) -> None:
        for number, descriptor in enumerate(index["manifests"]):
            where = f"{place}: manifests[{number}]"
            media_type = descriptor["mediaType"]
            if is_index(media_type):
                document = self._document(descriptor, "index", where)
                if document is not None:
                    self._follow_index(document, descriptor["digest"])
            elif is_manifest(media_type):
                document = self._document(descriptor, "manifest", where)
                if document is not None:
                    self._follow_manifest(document, descriptor)
            else:
                self._blob(descriptor, None, where)

    def _document(self, descriptor: Mapping[str, Any], kind: str, where: str) -> Any:
        key = (descriptor["digest"], kind)
        if key in self.seen:
            return None
        self.seen.add(key)
        try:
            document = self.reader.document(descriptor)
        except DoitOciError as error:
            self.say(where, f"{error.subject}: {error.message}")
            return None
        declared = document.get("mediaType") if isinstance(document, Mapping) else None
        if declared is not None and kind != "config" and declared != descriptor["mediaType"]:
            self.say(where, f"says {descriptor['mediaType']}, and the document says {declared}")
        return document if self._fits(document, kind, descriptor["digest"]) else None

    def _follow_manifest(self, manifest: Mapping[str, Any], descriptor: Mapping[str, Any]) -> None:
        digest = descriptor["digest"]
        config = manifest["config"]
        diff_ids: list[str] | None = None
        if config["mediaType"] in CONFIGS:
            document = self._document(config, "config", f"{digest}: config")
            if document is not None:
                diff_ids = document["rootfs"]["diff_ids"]
                self._check_platform(descriptor, document)
        else:
            self._blob(config, None, f"{digest}: config")
        layers = manifest["layers"]
        if diff_ids is not None and len(diff_ids) != len(layers):
            self.say(digest, f"has {len(layers)} layers, and its configuration {len(diff_ids)}")
            diff_ids = None
        for number, layer in enumerate(layers):
            can_unpack = diff_ids is not None and is_layer(layer["mediaType"])
            diff_id = diff_ids[number] if diff_ids is not None and can_unpack else None
            self._blob(layer, diff_id, f"{digest}: layers[{number}]")

    def _check_platform(self, descriptor: Mapping[str, Any], config: Mapping[str, Any]) -> None:
        platform = descriptor.get("platform")
        for key in ("os", "architecture"):
            if platform and platform[key] != config[key]:
                self.say(
                    descriptor["digest"],
                    f"is listed for {key} {platform[key]}, its configuration says {config[key]}",
                )

    def _blob(self, descriptor: Mapping[str, Any], diff_id: str | None, where: str) -> None:
        key = (descriptor["digest"], diff_id or "")
        if key in self.seen:
            return
        self.seen.add(key)
        if descriptor.get("urls") and "nondistributable" in descriptor["mediaType"]:
            return
        problem = self.reader.layer(descriptor, diff_id)
        if problem is not None:
            self.say(where, f"{problem.subject}: {problem.message}")
