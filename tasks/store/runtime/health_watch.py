"""The process that asks a running container for its health now and then.

It is a child of the supervisor, dies with it, and is replaced by it when somebody kills it. What it
finds is in ``health.json`` beside the container's record, for ``ps`` and ``--wait``.
"""

from __future__ import annotations

import contextlib
import math
import os
import select
import signal
import time

from .. import kernel
from .container import is_paused
from .enter import start_in_namespaces
from .exec_process import write_process
from .health import Health, Probe, load_health, write_health
from .process_one import close_descriptors
from .stale import send_signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from ...oci.healthcheck import Healthcheck

LOOK_AGAIN = 1.0
"""Seconds between two watches, where one after the other comes to an end."""
OUTPUT = 4096
"""Bytes that are kept of what a probe writes."""


class Watch:
    """The process that asks, and another one in its place when somebody kills it."""

    def __init__(self, folder: str, record: dict[str, Any], check: Healthcheck) -> None:
        self._folder = folder
        self._record = record
        self._check = check
        self._process = ""
        self._child = 0
        self._is_over = False
        self._since = time.time()
        self._started = -math.inf

    def keep(self, mask: set[int]) -> float | None:
        """See to it that somebody asks; returns after how many seconds to look again, if at all.

        ``mask``: the signals that its processes hold back.
        """
        if self._is_asking():
            return None
        if time.monotonic() < self._started + LOOK_AGAIN:
            return LOOK_AGAIN
        self._started = time.monotonic()
        try:
            self._start(mask)
        except OSError:  # without a process or room on the disk the container runs on all the same
            return LOOK_AGAIN
        return None

    def _is_asking(self) -> bool:
        """Whether its process is there, or has ended because it found the container gone."""
        if self._child:
            process, status = os.waitpid(self._child, os.WNOHANG)
            if process == 0:
                return True
            self._child = 0
            self._is_over = status == 0
        return self._is_over

    def _start(self, mask: set[int]) -> None:
        health = Health(self._check, self._since)
        found = load_health(self._folder)
        if found is None:
            write_health(self._folder, health)
        else:
            health.take_up(found)
        parent = os.getpid()
        child = os.fork()
        if child == 0:
            self._become_watcher(health, parent, mask)
        self._child = child

    def stop(self) -> None:
        """End it. A probe that is under way goes with the container."""
        if self._child:
            send_signal(self._child, signal.SIGKILL)
            os.waitpid(self._child, 0)
            self._child = 0

    def _become_watcher(self, health: Health, parent: int, mask: set[int]) -> NoReturn:
        """Ask until the container ends: exit status 0. Any other end is one that was not meant."""
        status = 1
        try:
            kernel.die_with_parent(signal.SIGKILL)
            if os.getppid() == parent:
                os.setpgid(0, 0)
                null = os.open(os.devnull, os.O_RDWR)
                for number in (0, 1, 2):
                    os.dup2(null, number)
                close_descriptors()
                self._watch(health, mask)
            status = 0
        finally:
            os._exit(status)

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
            self._process = write_process(self._folder, self._record, self._check.args)
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
