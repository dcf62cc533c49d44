"""The process that asks a running container for its health now and then.

It is a child of the supervisor, dies with it, and writes what it finds into ``health.json`` beside
the container's record, for ``ps`` and ``--wait``.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time

from .. import kernel
from .container import is_paused
from .enter import start_in_namespaces
from .exec_process import write_process
from .health import Health, Probe, write_health
from .process_one import close_descriptors
from .stale import send_signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from ...oci.healthcheck import Healthcheck

OUTPUT = 4096
"""Bytes that are kept of what a probe writes."""


class Watch:
    """The process that asks."""

    def __init__(self, folder: str, record: dict[str, Any], check: Healthcheck) -> None:
        self._folder = folder
        self._record = record
        self._check = check
        self._process = ""
        self._child = 0

    def start(self, mask: set[int]) -> None:
        """Go on until the container ends. ``mask``: the signals that its processes hold back."""
        health = Health(self._check, time.time())
        write_health(self._folder, health)
        parent = os.getpid()
        self._child = os.fork()
        if self._child == 0:
            self._become_watcher(health, parent, mask)

    def stop(self) -> None:
        """End it. A probe that is under way goes with the container."""
        if self._child:
            send_signal(self._child, signal.SIGKILL)
            os.waitpid(self._child, 0)
            self._child = 0

    def _become_watcher(self, health: Health, parent: int, mask: set[int]) -> NoReturn:
        try:
            kernel.die_with_parent(signal.SIGKILL)
            if os.getppid() == parent:
                os.setpgid(0, 0)
                null = os.open(os.devnull, os.O_RDWR)
                for number in (0, 1, 2):
                    os.dup2(null, number)
                close_descriptors()
                self._watch(health, mask)
        finally:
            os._exit(0)

    def _watch(self, health: Health, mask: set[int]) -> None:
        """Ask until the container has gone; a host that is short of something fails a probe."""
        while True:
            time.sleep(health.pause(time.time()))
            if is_paused(self._folder, self._record):
                continue
            start = time.time()
            try:
                health.take(self._ask(start, mask))
            except (FileNotFoundError, ProcessLookupError):
                return
            except OSError as error:
                text = f"cannot be asked: {error}"
                health.take(Probe(start=start, end=time.time(), exit_status=-1, output=text))
            with contextlib.suppress(OSError):  # the next answer tries again
                write_health(self._folder, health)

    def _ask(self, start: float, mask: set[int]) -> Probe:
        if not self._process:
            name = self._record["name"]
            self._process = write_process(self._folder, name, self._check.args)
        reader, writer = os.pipe()
        try:
            child = start_in_namespaces(
                self._folder,
                self._record,
                ["exec", "--process", self._process, os.path.basename(self._folder)],
                mask=mask,
                own_group=True,
                output=writer,
            )
            os.close(writer)
            writer = -1
            output, status = self._await_answer(child, reader)
        finally:
            os.close(reader)
            if writer >= 0:
                os.close(writer)
        text = output.decode("utf-8", "replace")
        return Probe(start=start, end=time.time(), exit_status=status, output=text)

    def _await_answer(self, child: int, reader: int) -> tuple[bytes, int]:
        """What a probe writes, and its status; -1 where it took too long and was killed."""
        deadline = time.monotonic() + self._check.timeout
        output = b""
        ended = os.pidfd_open(child)
        awaited = [reader, ended]
        try:
            while ended in awaited:
                left = deadline - time.monotonic()
                ready = select.select(awaited, [], [], left)[0] if left > 0 else []
                if not ready:
                    kill_descendants(child)
                    os.waitpid(child, 0)
                    return f"took longer than {self._check.timeout:g} seconds".encode(), -1
                if reader in ready:
                    block = os.read(reader, 65536)
                    output = (output + block)[:OUTPUT]
                    if not block:
                        awaited.remove(reader)
                elif ended in ready:
                    awaited.remove(ended)
        finally:
            os.close(ended)
        return output, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def kill_descendants(process: int) -> None:
    """Kill a process and all below it; each is stopped before its children are looked for."""
    send_signal(process, signal.SIGSTOP)
    for child in _children(process):
        kill_descendants(child)
    send_signal(process, signal.SIGKILL)


def _children(process: int) -> list[int]:
    """The children of each of its threads: Go's programs start them from any."""
    found = []
    try:
        for thread in os.listdir(f"/proc/{process}/task"):
            with open(f"/proc/{process}/task/{thread}/children", encoding="ascii") as stream:
                found += [int(word) for word in stream.read().split()]
    except OSError:
        pass
    return found
