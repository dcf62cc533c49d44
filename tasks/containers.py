"""Containers that are there: ps, exec, logs, kill, pause, resume, delete and stats.

In: ``build/run/containers``. A container is named by its id, or by its bundle, which then means the
one that started last. Everything is read from the container's record and its control groups, and
asked of the runtime only where it has to act.
"""

from __future__ import annotations

import json
import os
import signal
import time

from .standard_files import write_output
from .store.runtime import container, log_file
from .store.runtime.failure import failure
from .store.runtime.health import load_health
from .store.runtime.signals import parse_signal
from .store.runtime.stale import process_start, remove_stale, send_signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence
    from os import PathLike
    from typing import Any, BinaryIO

    Place = str | PathLike[str]

RUNNING = "running"
PAUSED = "paused"
EXITED = "exited"


class ContainerStatus:
    """One container as ``ps`` shows it. ``created`` is in seconds since the epoch."""

    __slots__ = (
        "args",
        "created",
        "exit_status",
        "folder",
        "health",
        "identifier",
        "name",
        "out_of_memory",
        "record",
        "status",
        "timed_out",
    )

    def __init__(self, folder: str, record: dict[str, Any]) -> None:
        self.folder = folder
        self.identifier = os.path.basename(folder)
        self.record = record
        self.name: str = record["name"]
        self.args: list[str] = record["args"]
        self.created: float = record["created"]
        self.exit_status: int | None = record.get(container.EXITED)
        self.out_of_memory: bool = record.get(container.OUT_OF_MEMORY, False)
        self.timed_out: bool = record.get(container.TIMED_OUT, False)
        self.health = load_health(folder)
        self.status = EXITED
        if self.exit_status is None:
            self.status = PAUSED if container.is_paused(folder, record) else RUNNING

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.identifier,
            "bundle": self.name,
            "status": self.status,
            "exitStatus": self.exit_status,
            "outOfMemory": self.out_of_memory,
            "timedOut": self.timed_out,
            "health": self.health,
            "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.created)),
            "args": self.args,
        }


def list_containers(run_dir: Place, name: str | None = None) -> list[ContainerStatus]:
    """Containers that run, or have ended and were not deleted; the newest last."""
    run_folder = os.path.abspath(run_dir)
    remove_stale(run_folder)
    parent = container.containers_folder(run_folder)
    found = []
    for entry in os.listdir(parent) if os.path.isdir(parent) else ():
        record = None if entry.endswith(".lock") else container.load_record(f"{parent}/{entry}")
        if record is not None and name in (None, entry, record["name"]):
            found.append(ContainerStatus(f"{parent}/{entry}", record))
    return sorted(found, key=lambda each: each.created)


def find_container(run_dir: Place, name: str, *, running: bool) -> ContainerStatus:
    """The last container of a bundle, or the one with that id.

    Raises:
        RuntimeFailed: there is none, or none that runs.
    """
    found = list_containers(run_dir, name)
    wanted = [each for each in found if each.exit_status is None] if running else found
    if wanted:
        return wanted[-1]
    if found:
        raise failure(f"has ended with status {found[-1].exit_status}", name)
    raise failure("no container of that name", name, "`doit-oci ps` lists them")


def exec_in(
    *,
    run_dir: Place,
    name: str,
    args: Sequence[str],
    tty: bool | None = None,
    user: str | None = None,
    environment: Sequence[str] = (),
    working_dir: str | None = None,
) -> int:
    """Run a command in a running container; returns its status. ``tty`` None: where we have one."""
    from contextlib import nullcontext

    from .store.runtime.enter import start_in_namespaces
    from .store.runtime.exec_process import write_process
    from .store.runtime.supervise import Supervisor
    from .store.runtime.terminal import Terminal, copy_size

    found = find_container(run_dir, name, running=True)
    has_terminal = os.isatty(0) and os.isatty(1) if tty is None else tty
    if has_terminal and not os.isatty(0):
        raise failure("a terminal was asked for, and standard input is none", name)
    supervisor = Supervisor(stop_signal=signal.SIGTERM, stop_grace=10.0, timeout=None)
    process = write_process(
        found.folder,
        found.record,
        args,
        terminal=has_terminal,
        user=user,
        environment=environment,
        working_dir=working_dir,
    )
    words = ["exec", "--process", process, found.identifier]
    try:
        with supervisor, Terminal() if has_terminal else nullcontext():
            own_group = supervisor.in_main_thread and not any(os.isatty(n) for n in (0, 1, 2))
            child = start_in_namespaces(
                found.folder, found.record, words, mask=supervisor.mask, own_group=own_group
            )
            if has_terminal and found.record["runtime"][1] == "crun":
                supervisor.on_resize = copy_size
            return supervisor.wait(child, child, passes_through=not own_group, tick=None)
    finally:
        os.unlink(process)


def write_logs(
    *, run_dir: Place, name: str, follow: bool = False, outputs: tuple[int, int] = (1, 2)
) -> None:
    """Give back what a detached container wrote, to standard output and standard error."""
    found = find_container(run_dir, name, running=False)
    targets = {b"stdout": outputs[0], b"stderr": outputs[1]}
    if not log_file.log_files(found.folder):
        raise failure("is not detached: its output went to whoever started it", name)
    for stream, text in _follow(found.folder) if follow else log_file.read_log(found.folder):
        write_output(text, targets[stream])


def _follow(folder: str) -> Iterator[tuple[bytes, bytes]]:
    """Lines as they come, until the container has ended; a log that is rotated is read on."""
    for path in log_file.log_files(folder)[:-1]:
        with open(path, "rb") as stream:
            yield from map(log_file.parse_line, stream)
    rotated = True
    while rotated:
        with open(f"{folder}/{log_file.NAME}", "rb") as stream:
            rotated = yield from _follow_file(folder, stream)


def _follow_file(folder: str, stream: BinaryIO) -> Generator[tuple[bytes, bytes], None, bool]:
    """One log to its end; returns whether another has taken its name."""
    inode = os.fstat(stream.fileno()).st_ino
    rest = b""
    while True:
        record = container.load_record(folder)
        ended = record is None or container.EXITED in record
        try:
            rotated = os.stat(f"{folder}/{log_file.NAME}").st_ino != inode
        except FileNotFoundError:
            ended, rotated = True, False
        for line in stream:
            rest += line
            if rest.endswith(b"\n"):
                yield log_file.parse_line(rest)
                rest = b""
        if ended or rotated:
            return rotated
        time.sleep(0.05)


def kill_container(*, run_dir: Place, name: str, signal_name: str = "KILL") -> None:
    """Send a signal to the process of a container; KILL ends all of them."""
    number = parse_signal(signal_name)
    if number is None:
        raise failure(f"{signal_name} is no signal", name, "a name such as TERM, or a number")
    found = find_container(run_dir, name, running=True)
    if number == signal.SIGKILL:
        _thaw(found)
    send_signal(found.record["process"], number)
    if number == signal.SIGKILL:
        _await_end(found, 10.0)


def stop_container(*, run_dir: Place, name: str) -> None:
    """The bundle's stop signal, then, when its grace period is over, SIGKILL."""
    found = find_container(run_dir, name, running=True)
    _thaw(found)
    send_signal(found.record["process"], found.record["stop_signal"])
    if not _await_end(found, found.record["stop_grace"]):
        send_signal(found.record["process"], signal.SIGKILL)
        _await_end(found, 10.0)


def _await_end(found: ContainerStatus, seconds: float) -> bool:
    """Wait until the supervisor has tidied up."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        record = container.load_record(found.folder)
        if record is None or container.EXITED in record:
            return True
        if not process_start(record["supervisor"]) and not process_start(record["process"]):
            return True
        time.sleep(0.01)
    return False


def pause_container(*, run_dir: Place, name: str) -> None:
    """Freeze all processes of a container."""
    _call(find_container(run_dir, name, running=True), "pause")


def resume_container(*, run_dir: Place, name: str) -> None:
    """Let a frozen container go on."""
    _call(find_container(run_dir, name, running=True), "resume")


def _thaw(found: ContainerStatus) -> None:
    if found.status == PAUSED:
        _call(found, "resume")


def _call(found: ContainerStatus, word: str) -> None:
    from .store.runtime.enter import call_runtime

    if not found.record["group"]:
        raise failure(f"cannot {word}: it runs without a control group of its own", found.name)
    if not call_runtime(found.folder, found.record, [word, found.identifier]):
        raise failure(f"the runtime could not {word} it; it is {found.status}", found.name)
    if found.record["runtime"][1] == "runsc":
        container.mark_paused(found.folder, paused=word == "pause")


def delete_container(*, run_dir: Place, name: str, force: bool = False) -> None:
    """Remove an ended container and its logs; with ``force`` kill it first."""
    found = find_container(run_dir, name, running=False)
    if found.exit_status is None:
        if not force:
            hint = f"`doit-oci kill {name}` first, or delete with --force"
            raise failure(f"is still {found.status}", name, hint)
        kill_container(run_dir=run_dir, name=found.identifier)
    parent, identifier = os.path.split(found.folder)
    for _ in range(500):  # its supervisor may be about to let go
        box = container.take_container(parent, identifier)
        if box is not None:
            box.remove()
            return
        if not os.path.exists(found.folder):
            return
        time.sleep(0.01)
    raise failure("is held by its supervisor", name)


def container_stats(*, run_dir: Place, name: str) -> dict[str, int | None]:
    """Memory and its limit in bytes, processor time in microseconds, number of processes."""
    from .store import cgroup

    found = find_container(run_dir, name, running=True)
    if not found.record["group"]:
        raise failure("has no control group of its own to read figures from", name)
    return cgroup.read_figures(found.record["group"])


def _status_words(each: ContainerStatus) -> str:
    if each.exit_status is not None:
        why = ", out of memory" if each.out_of_memory else ", time limit" if each.timed_out else ""
        return f"{each.status} ({each.exit_status}{why})"
    return f"{each.status} ({each.health['status']})" if each.health else each.status


def containers_json(containers: Sequence[ContainerStatus]) -> str:
    return json.dumps([each.to_json() for each in containers], indent=4) + "\n"


def containers_text(containers: Sequence[ContainerStatus]) -> str:
    """A table of one line for each container."""
    rows = [("ID", "BUNDLE", "STATUS", "CREATED", "COMMAND")]
    for each in containers:
        created = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(each.created))
        rows.append(
            (each.identifier, each.name, _status_words(each), created, " ".join(each.args)[:60])
        )
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = []
    for row in rows:
        cells = [text.ljust(width) for text, width in zip(row[:4], widths, strict=True)]
        lines.append("  ".join((*cells, row[4])).rstrip())
    return "\n".join(lines) + "\n"
