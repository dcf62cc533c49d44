"""What killed runs left behind, found by the locks that nobody holds any more."""

from __future__ import annotations

import os
import signal

from . import container

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .container import Container


def remove_stale(run_folder: str) -> None:
    """Remove what killed runs left; containers that ended and are kept for ``logs`` stay."""
    for box in container.stale_containers(run_folder):
        record = container.load_record(box.folder)
        if record is not None and container.EXITED in record:
            box.release()
            continue
        try:
            _remove(box, record)
        except OSError:  # another user's, or still busy: the next run tries again
            box.release()


def _remove(box: Container, record: dict[str, Any] | None) -> None:
    if record is not None:
        if process_start(record["process"]) == record["started"]:
            send_signal(record["process"], signal.SIGKILL)
        remove_group(record["group"])
    box.remove()


def remove_group(group: str) -> None:
    """Remove a container's control groups."""
    from .. import cgroup

    if group:
        cgroup.remove_group(group)


def process_start(process: int) -> str:
    """When a process started, in clock ticks: with its number, what tells it from a later one."""
    try:
        with open(f"/proc/{process}/stat", encoding="ascii", errors="replace") as stream:
            fields = stream.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if fields[0] in "ZX" else fields[19]


def send_signal(process: int, number: int) -> None:
    """kill(2), content with a process that is gone."""
    try:
        os.kill(process, number)
    except ProcessLookupError:
        pass
