"""Call the runtime about a running container, from inside the namespaces that it runs in."""

from __future__ import annotations

import os
import signal

from .. import kernel
from . import container
from .process_one import pass_on_and_wait
from .signals import awaited_signals, default_signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, NoReturn


def start_in_namespaces(
    folder: str,
    record: dict[str, Any],
    words: Sequence[str],
    *,
    mask: set[int],
    own_group: bool,
    output: int | None = None,
) -> int:
    """Fork a child that does ``runtime WORDS``; its status becomes the child's.

    ``output`` takes the place of its standard output and error.

    Raises:
        OSError: the container is gone.
    """
    process = record["process"]
    kinds = [("mnt", kernel.CLONE_NEWNS), ("pid", kernel.CLONE_NEWPID)]
    if record["rootless"]:
        kinds.insert(0, ("user", kernel.CLONE_NEWUSER))
    flags = os.O_RDONLY | os.O_CLOEXEC
    namespaces = [(os.open(f"/proc/{process}/ns/{name}", flags), kind) for name, kind in kinds]
    path, kind = record["runtime"]
    manager = ["--cgroup-manager", "disabled"] if kind == "crun" and not record["group"] else []
    command = [path, "--root", f"{folder}/{container.STATE}", *record["arguments"], *manager]
    caller = os.getpid()
    child = os.fork()
    if child == 0:
        words = [*command, *words]
        _enter(namespaces, words, caller, mask=mask, own_group=own_group, output=output)
    for descriptor, _ in namespaces:
        os.close(descriptor)
    return child


def _enter(
    namespaces: Sequence[tuple[int, int]],
    command: Sequence[str],
    caller: int,
    *,
    mask: set[int],
    own_group: bool,
    output: int | None,
) -> NoReturn:
    """The process between: it passes on signals, and the runtime's status."""
    try:
        if own_group:
            os.setpgid(0, 0)
        for descriptor, kind in namespaces:
            kernel.join_namespace(descriptor, kind)
        # Whoever is killed above hangs up on what was started, which is in no namespace of its own.
        # Only now: joining takes such a wish back.
        kernel.die_with_parent(signal.SIGHUP)
        if os.getppid() != caller:
            os._exit(128 + signal.SIGHUP)
        signal.pthread_sigmask(signal.SIG_BLOCK, awaited_signals())
        runtime = os.fork()
        if runtime == 0:
            kernel.die_with_parent(signal.SIGHUP)
            if output is not None:
                os.dup2(output, 1)
                os.dup2(output, 2)
            default_signals(mask)
            os.execv(command[0], list(command))
        pass_on_and_wait(runtime)
    except OSError as error:
        os.write(2, f"cannot enter the container: {error}\n".encode())
    finally:
        os._exit(126)


def call_runtime(folder: str, record: dict[str, Any], words: Sequence[str]) -> bool:
    """Do ``runtime WORDS`` about a container; says whether it succeeded."""
    null = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    try:
        child = start_in_namespaces(
            folder,
            record,
            words,
            mask=signal.pthread_sigmask(signal.SIG_BLOCK, ()),
            own_group=False,
            output=null,
        )
        return os.waitpid(child, 0)[1] == 0
    finally:
        os.close(null)
