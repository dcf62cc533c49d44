"""What lies in a state directory and no lock names, nor any container needs."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ContentError
from ..oci.digest import Digest, parse_digest
from ..store.atomic import SUFFIX
from ..store.layers import staging
from ..store.layers.in_use import trees_of
from ..value import Value

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from ..project.workspace import Workspace

BUNDLE_STEPS = ("check", "bundle", "config", "rootfs")


class Reachable(Value):
    """What the locks that use a state directory name.

    ``blobs`` are manifests, indexes, configurations and layers; ``diff_ids`` are those of layers.
    """

    images: frozenset[str] = frozenset()
    bundles: frozenset[str] = frozenset()
    blobs: frozenset[Digest] = frozenset()
    diff_ids: frozenset[Digest] = frozenset()

    def has(self, candidate: Candidate) -> bool:
        places: dict[str, frozenset[Any]] = {
            "bundle": self.bundles,
            "layout": self.images,
            "layer": self.diff_ids,
            "blob": self.blobs,
        }
        return candidate.name in places.get(candidate.kind, ())


class Candidate(Value):
    """Something that no lock reaches: the paths that go together, the first named in reports.

    ``name`` is what a lock would call it: the name of a bundle or an image, or a digest.
    """

    kind: str
    paths: tuple[Path, ...]
    name: str | Digest | None = None
    guards: tuple[Path, ...] = ()
    unfinished: bool = False


def unreached(workspace: Workspace, reachable: Reachable) -> Iterator[Candidate]:
    """Everything in the state directory that neither a lock nor a container needs."""
    running = bundles_in_use(workspace)
    bundles = names_of(workspace, "bundles", ".jsonl") | stamped(workspace, BUNDLE_STEPS)
    for name in sorted(bundles - reachable.bundles - running):
        yield bundle_candidate(workspace, name)
    for name in sorted(names_in(workspace.state / "layouts") - reachable.images):
        yield Candidate(
            kind="layout",
            name=name,
            paths=(workspace.layout(name), workspace.stamp("layout", name)),
            guards=(workspace.guard(f"layout-{name}"),),
        )
    yield from unreached_layers(workspace, reachable.diff_ids)
    for algorithm in sorted(names_in(workspace.blobs)):
        for encoded in sorted(names_in(workspace.blobs / algorithm)):
            with contextlib.suppress(ContentError):
                digest = Digest(algorithm, encoded)
                if digest not in reachable.blobs:
                    yield Candidate(kind="blob", name=digest, paths=(workspace.blob(digest),))
    for path in unfinished(workspace):
        yield Candidate(kind="unfinished", paths=(path,), guards=(path,), unfinished=True)


def unfinished(workspace: Workspace) -> Iterator[Path]:
    """What has no final name yet: blobs and trees in the making, imports, and small files, which
    are written beside their names."""
    for name in sorted(names_in(workspace.tmp, hidden=True)):
        if not name.startswith(staging.PREFIX) and not name.endswith(".lock"):
            yield workspace.tmp / name
    bundles = workspace.state / "bundles"
    for name in sorted(names_in(bundles, hidden=True)):
        if name.startswith("."):
            yield bundles / name
    for depth in ("", "*/", "*/*/"):
        for path in sorted(workspace.state.glob(f"{depth}.*{SUFFIX}")):
            if workspace.tmp not in path.parents:
                yield path


def bundle_candidate(workspace: Workspace, name: str) -> Candidate:
    """A bundle and all that is recorded of it, the stamps first: they must not outlive it."""
    return Candidate(
        kind="bundle",
        name=name,
        paths=(
            workspace.bundle(name),
            workspace.ready(name),
            *(workspace.stamp(step, name) for step in BUNDLE_STEPS),
            workspace.entries(name),
            workspace.unrepresented(name),
            workspace.provenance(name),
        ),
        guards=tuple(workspace.guard(f"{step}-{name}") for step in BUNDLE_STEPS),
    )


def unreached_layers(workspace: Workspace, diff_ids: frozenset[Digest]) -> Iterator[Candidate]:
    """Unpacked layers; one without its card is in the making, or was left so by a kill."""
    found = (
        workspace.layers / algorithm / name
        for algorithm in sorted(names_in(workspace.layers))
        for name in sorted(names_in(workspace.layers / algorithm))
    )
    for path in found:
        if not path.is_dir():
            continue
        guards = (path.with_name(f"{path.name}.lock"),)
        try:
            diff_id = parse_digest(json.loads((path / "layer.json").read_bytes())["diff_id"])
        except (OSError, ValueError, KeyError, TypeError, ContentError):
            yield Candidate(kind="unfinished", paths=(path,), guards=guards, unfinished=True)
            continue
        if diff_id not in diff_ids:
            yield Candidate(kind="layer", name=diff_id, paths=(path,), guards=guards)


def bundles_in_use(workspace: Workspace) -> set[str]:
    """Bundles whose tree lies under a container that still has its directory."""
    return {tree.parent.name for tree in trees_of(workspace.run / "containers")}


def names_of(workspace: Workspace, folder: str, suffix: str) -> set[str]:
    """Bundles that have a directory or recorded entries."""
    entries = {
        name.removesuffix(suffix)
        for name in names_in(workspace.state / "entries")
        if not name.endswith(f".unrepresented{suffix}")
    }
    return names_in(workspace.state / folder) | entries


def stamped(workspace: Workspace, steps: Iterable[str]) -> set[str]:
    found: set[str] = set()
    for step in steps:
        folder = workspace.stamp(step, "x").parent
        found |= {name.removesuffix(".json") for name in names_in(folder)}
    return found


def names_in(folder: Path, *, hidden: bool = False) -> set[str]:
    """The names in a directory; hidden ones are somebody's work in progress."""
    try:
        return {name for name in os.listdir(folder) if hidden or not name.startswith(".")}
    except OSError:
        return set()
