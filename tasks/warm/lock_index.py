"""images.lock as it is read: ten thousand entries take a tenth of a second and a hundred megabytes,
so a large lock is kept beside the state once more, one entry a line (see project/named_lines.py).

The copy holds the signature of the lock that it was made from, and is not even looked at when that
is another one. Losing it costs time only.
"""

from __future__ import annotations

import time
from pathlib import Path

from ..errors import DoitOciError
from ..project.lock import Lock, load_lock
from ..project.named_lines import Lines, to_lines
from ..store.atomic import write_atomic
from .bundle import is_settled, signature

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..project.workspace import Workspace

LARGE = 128 * 1024
"""Bytes: a smaller lock is parsed in a millisecond."""
VERSION = 1


def open_lock(workspace: Workspace) -> Lock:
    """The lock of a project, of which single entries are cheap. Raises: DeclarationError."""
    signed = signature(str(workspace.lock))
    if not signed or signed[2] < LARGE:
        return load_lock(workspace.lock)
    head = {"version": VERSION, "signature": signed}
    found = _read(workspace.lock_index, head, workspace.lock)
    if found is not None:
        return found
    now = time.time_ns()
    lock = load_lock(workspace.lock)
    if is_settled(signed, now) and signature(str(workspace.lock)) == signed:
        write_lock_index(workspace, lock, signed)
    return lock


def write_lock_index(workspace: Workspace, lock: Lock, signed: list[int]) -> None:
    """Leave the copy of a lock that is on the disk with that signature."""
    content = to_lines({"version": VERSION, "signature": signed}, lock.sections())
    try:
        workspace.lock_index.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(workspace.lock_index, content)
    except (OSError, DoitOciError):
        # A state directory that cannot be written is said by the step that needs it.
        return


def _read(index: Path, head: dict[str, object], path: Path) -> Lock | None:
    try:
        lines = Lines(index.read_bytes())
        if not lines.begins_with(head):
            return None
        return Lock(path, lines.section("images"), lines.section("bundles"))
    except (OSError, KeyError, ValueError):
        return None
