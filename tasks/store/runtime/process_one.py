"""Process 1 of a run's pid namespace, where a process of ours has to be it and not the runtime.

A runtime that starts the container and leaves hands it the three standard files as they are:
``runc run`` in the foreground would put pipes between, copy, and mix the order of standard output
and standard error. The container is then a child of process 1, which passes signals on to it and
ends as it ends.
"""

from __future__ import annotations

import os
import signal

from .signals import awaited_signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, NoReturn

    from .launch import Launch

NOBODYS = 125  # the runtime has taken the container's status for itself


def stay_and_wait(launch: Launch, mask: set[int]) -> NoReturn:
    """Start the runtime as a child; helpers such as pasta may live beside it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, awaited_signals())
    leaves = launch.pid_file is not None
    runtime = spawn(launch.argv, mask, launch.standard_files, own_group=leaves)
    close_descriptors()
    if launch.pid_file is None:
        pass_on_and_wait(runtime)
    family = _Family()
    status = family.wait(runtime, None)
    if status == 0:
        with open(launch.pid_file, encoding="ascii") as stream:
            process = int(stream.read())
        if launch.announcement is not None:
            with open(launch.announcement, "w", encoding="ascii") as stream:
                stream.write(str(process))
        status = family.wait(process, process)
    if launch.delete:
        family.wait(spawn(launch.delete, mask, None, own_group=True), None)
    if launch.group:
        from .. import cgroup

        cgroup.remove_group(launch.group)
    os._exit(status)


def spawn(
    argv: Sequence[str],
    mask: set[int],
    files: tuple[int, int, int] | None,
    *,
    own_group: bool,
) -> int:
    """Start a program with the signals as our caller had them; cheaper than fork.

    ``own_group``: what the terminal sends to our process group is not for it. A Ctrl-C would end a
    runtime that is about to leave, and with it the container, whatever that does with signals.
    """
    group: dict[str, Any] = {"setpgroup": 0} if own_group else {}
    return os.posix_spawn(
        argv[0],
        list(argv),
        os.environ,
        file_actions=[(os.POSIX_SPAWN_DUP2, file, number) for number, file in enumerate(files)]
        if files is not None
        else [],
        setsigmask=mask,
        setsigdef=(signal.SIGPIPE, signal.SIGXFSZ),
        **group,
    )


def pass_on_and_wait(child: int) -> NoReturn:
    """Be between: pass signals on to a child, and end as it ends. Signals are blocked already."""
    close_descriptors()
    os._exit(_Family().wait(child, child))


class _Family:
    """The children of a process, and the signals that came for them."""

    def __init__(self) -> None:
        self._awaited = awaited_signals()
        self._statuses: dict[int, int] = {}
        self._held: list[int] = []

    def wait(self, child: int, target: int | None) -> int:
        """Until ``child`` has ended; its exit status, 128 + n for signals.

        Signals go to ``target``; without one they are held for the next.
        """
        while child not in self._statuses:
            while target is not None and self._held:
                os.kill(target, self._held.pop(0))
            if not self._reap() and child not in self._statuses:
                return NOBODYS
            if child not in self._statuses:
                number = signal.sigwaitinfo(self._awaited).si_signo
                if number != signal.SIGCHLD:
                    self._held.append(number)
        return self._statuses[child]

    def _reap(self) -> bool:
        """Note who has ended; false where no child is left."""
        while True:
            try:
                process, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if process == 0:
                return True
            code = os.waitstatus_to_exitcode(status)
            self._statuses[process] = 128 - code if code < 0 else code


def close_descriptors() -> None:
    """Hold nothing that somebody waits for the end of; a process between has no use for it."""
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
