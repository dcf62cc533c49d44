"""Clean: what a build has left for bundles, and how it is taken away.

In: the state directory. Blobs stay, as far as the lock holds them: they are gc's to free. So does
a bundle that a container runs from; and what a build needs that goes on beside is waited for.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager

from .errors import StoreError
from .project.workspace import BUILDING
from .store.guard import guard
from .store.layers.builder import remove_tree
from .store.layers.in_use import is_in_use, trees_of
from .store.layers.staging import GUARD, clean_stale
from .store.layers.staging import PREFIX as UNPACKING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

    from .progress import Progress
    from .project.workspace import Workspace

OF_BUNDLES = ("bundles", "entries", "ready", "checks", "provenance", "stamps")
EVERYTHING = (*OF_BUNDLES, "layouts", "layers")


@contextmanager
def no_build(space: Workspace, progress: Progress) -> Iterator[None]:
    """No build goes on in the state directory in this block. Raises: StoreError."""
    said = f"waiting for a build that goes on in {space.state}"
    with guard(space.guard(BUILDING), lambda: progress.note(said)):
        yield


def running(space: Workspace) -> set[str]:
    """The bundles that a container runs from at this moment."""
    containers = space.run / "containers"
    trees = set(trees_of(containers))
    return {tree.parent.name for tree in trees if is_in_use(tree, tree, containers)}


def refuse_running(names: Collection[str]) -> None:
    """Raises: StoreError where there are any."""
    if names:
        raise StoreError(
            "kept, because a container runs from it",
            subject=", ".join(sorted(names)),
            hint="`doit-oci kill` ends it, `doit-oci ps` shows it",
        )


def outputs_of(space: Workspace, name: str, stamps: Iterable[Path]) -> Iterator[Path]:
    """What stands there of one bundle; ``stamps`` are those of its own steps."""
    found = (
        space.bundle(name),
        space.entries(name),
        space.unrepresented(name),
        space.ready(name),
        space.provenance(name),
        *stamps,
    )
    yield from (path for path in found if path.exists())


def all_outputs(space: Workspace, kept: Collection[str]) -> Iterator[Path]:
    """All that stands there, is not a blob and is of none of the bundles that are ``kept``."""
    own = {path for name in kept for path in outputs_of(space, name, _stamps(space, name))}
    for part in EVERYTHING:
        folder = space.state / part
        if not own or part not in OF_BUNDLES:
            yield from [folder] if folder.exists() else []
        else:
            pattern = "*/*" if part == "stamps" else "*"
            yield from sorted(path for path in folder.glob(pattern) if path not in own)


def _stamps(space: Workspace, name: str) -> list[Path]:
    return sorted(space.stamp("x", name).parent.parent.glob(f"*/{space.stamp('x', name).name}"))


def remove_half_done(space: Workspace) -> None:
    """Remove what lies in tmp/, but for trees that somebody is at or a container runs from.

    Raises: StoreError.
    """
    clean_stale(space.tmp, space.run / "containers")
    with contextlib.suppress(FileNotFoundError):
        for path in sorted(space.tmp.iterdir()):
            if path.name != GUARD and not path.name.startswith(UNPACKING):
                remove(path)


def remove(path: Path) -> None:
    """Remove one output, also a tree that a mapped build made. Raises: StoreError."""
    if path.is_dir():
        remove_tree(path)
    else:
        path.unlink(missing_ok=True)
