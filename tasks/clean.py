"""Clean: what a build has left for bundles, and how it is taken away.

In: the state directory. Blobs stay, as far as the lock holds them: they are gc's to free.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from .store.layers.builder import remove_tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

    from .project.workspace import Workspace

EVERYTHING = ("bundles", "layouts", "layers", "entries", "stamps", "ready", "checks")


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


def all_outputs(space: Workspace) -> Iterator[Path]:
    """All that stands there and is not a blob."""
    found = (space.state / part for part in (*EVERYTHING, "provenance", "tmp"))
    yield from (path for path in found if path.exists())


def remove(path: Path) -> None:
    """Remove one output, also a tree that a mapped build made. Raises: StoreError."""
    if path.is_dir():
        remove_tree(path)
    else:
        path.unlink(missing_ok=True)
