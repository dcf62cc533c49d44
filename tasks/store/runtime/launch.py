"""The child's side of a run: namespaces, the overlay, then the runtime in our place.

The runtime, or a process of ours that waits where the runtime does not, becomes process 1 of a pid
namespace of its own, in a private mount namespace. So the kernel keeps two promises for us:
whatever ends process 1 ends the container with it, and no mount outlives either. With PDEATHSIG the
same holds for the process that supervises them.
"""

from __future__ import annotations

import json
import os
import signal

from .. import cgroup, kernel, overlay, user_namespace
from . import container
from .network import enter_network
from .process_one import close_descriptors, stay_and_wait
from .signals import default_signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import NoReturn

    from ..user_namespace import IdMap
    from .network import Helper

COPY = "/proc/fs"
HIDE_UNIFIED = "hide version 2"
MOUNT_UNIFIED = "mount version 2"


class Launch:
    """What the child needs to know.

    ``pid_file`` is where a runtime that starts the container and leaves writes its number,
    ``announcement`` the file that then says so to those outside, and ``delete`` what has to be
    called when it has ended; None and nothing for one that stays. ``groups`` is what has to be done
    about control groups first, and ``group`` the one to remove where only process 1 sees it.
    """

    __slots__ = (
        "announcement", "argv", "delete", "folder", "fuse", "group", "groups", "network",
        "pid_file", "read_only", "standard_files", "upper", "volatile", "work",
    )  # fmt: skip

    def __init__(
        self,
        *,
        argv: Sequence[str],
        pid_file: str | None,
        announcement: str | None,
        delete: Sequence[str],
        folder: str,
        read_only: bool,
        upper: str,
        work: str,
        volatile: bool,
        fuse: str | None,
        groups: str,
        group: str,
        network: Helper | None,
        standard_files: tuple[int, int, int] | None,
    ) -> None:
        self.argv = argv
        self.pid_file = pid_file
        self.announcement = announcement
        self.delete = delete
        self.folder = folder
        self.read_only = read_only
        self.upper = upper
        self.work = work
        self.volatile = volatile
        self.fuse = fuse
        self.groups = groups
        self.group = group
        self.network = network
        self.standard_files = standard_files


def start(
    launch: Launch, report: int, *, own_group: bool, mask: set[int], id_map: IdMap | None
) -> int:
    """Fork into new namespaces; returns the number of the child to wait for.

    The runtime's own number comes as ``child`` through the pipe ``report``, then the pipe closes.

    Raises:
        OSError: the namespaces are refused; PermissionError where only newuidmap did.
    """

    def work() -> None:
        become_runtime(launch, report, own_group=own_group, mask=mask)

    if id_map is not None:
        return user_namespace.fork_mapped(id_map, lambda: _start_and_wait(work, report))
    ours = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    try:
        kernel.unshare(kernel.CLONE_NEWPID)
        try:
            child = os.fork()
            if child == 0:
                work()
        finally:
            kernel.join_namespace(ours, kernel.CLONE_NEWPID)
    finally:
        os.close(ours)
    _tell(report, "child", str(child))
    return child


def _start_and_wait(work: Callable[[], None], report: int) -> NoReturn:
    """The one process between us and the runtime: it made the user namespace."""
    kernel.die_with_parent(signal.SIGKILL)
    try:
        kernel.unshare(kernel.CLONE_NEWPID)
        child = os.fork()
    except OSError as error:
        _tell(report, "error", str(error.strerror))
        os._exit(125)
    if child == 0:
        work()
    _tell(report, "child", str(child))
    close_descriptors()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os._exit(128 - code if code < 0 else code)


def become_runtime(launch: Launch, report: int, *, own_group: bool, mask: set[int]) -> NoReturn:
    """Go on as process 1 of the new pid namespace; errors go to the pipe ``report``."""
    try:
        kernel.die_with_parent(signal.SIGKILL)
        if own_group:
            os.setpgid(0, 0)
        kernel.unshare(kernel.CLONE_NEWNS)
        helped = prepare_mounts(launch, note=lambda text: _tell(report, "note", text))
        if launch.network is not None:
            enter_network(launch.network, lambda: default_signals(mask))
            helped = True
        if helped or launch.pid_file is not None:
            stay_and_wait(launch, mask)
        exec_runtime(launch, mask)
    except OSError as error:
        where = f" ({os.fsdecode(error.filename)})" if error.filename else ""
        _tell(report, "error", f"{error.strerror}{where}")
    except BaseException as error:  # noqa: BLE001  the parent raises it
        _tell(report, "error", repr(error))
    finally:
        os._exit(125)


def _tell(report: int, kind: str, text: str) -> None:
    os.write(report, json.dumps([kind, text]).encode() + b"\n")


def prepare_mounts(launch: Launch, *, note: Callable[[str], None]) -> bool:
    """The private mount namespace's own view: /proc of the new pid namespace, and the root.

    Says whether a process serves the root.
    """
    leave_chroot()
    kernel.mount("", "/", "", kernel.MS_REC | kernel.MS_SLAVE)
    kernel.mount("proc", "/proc", "proc", kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC)
    if launch.groups == HIDE_UNIFIED:
        kernel.mount("none", cgroup.UNIFIED, "tmpfs", kernel.MS_NOSUID, "size=1m")
    elif launch.groups == MOUNT_UNIFIED:  # no runtime does without; it is only for this one's eyes
        kernel.unshare(kernel.CLONE_NEWCGROUP)
        kernel.mount("none", cgroup.ROOT, "cgroup2", kernel.MS_NOSUID)
    os.chdir(launch.folder)
    if launch.pid_file is not None:
        # The runtime writes while it starts: on the disk it would wait for everyone else's data.
        kernel.mount("none", container.STATE, "tmpfs", kernel.MS_NOSUID, "mode=700,size=64m")
    if launch.read_only:
        overlay.mount_read_only()
        return False
    return overlay.mount_overlay(
        upper=launch.upper,
        work=launch.work,
        volatile=launch.volatile,
        fuse=launch.fuse,
        note=note,
    )


def leave_chroot() -> None:
    """Make our root directory the mount namespace's, where it is another: in a chroot.

    Whoever joins a mount namespace comes to its root. Were that still the host's, what ``exec``
    starts in a container would be in the host.
    """
    try:
        descriptors = os.open("/proc/self/fdinfo", os.O_PATH | os.O_CLOEXEC)
        namespace = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        ours = os.open("/", os.O_PATH | os.O_CLOEXEC)
        kernel.join_namespace(namespace, kernel.CLONE_NEWNS)
    except PermissionError:  # where joining is forbidden nobody will exec either
        return
    root = os.open("/", os.O_PATH | os.O_CLOEXEC)
    if _mount_of(ours, descriptors) != _mount_of(root, descriptors) or not os.path.samestat(
        os.fstat(ours), os.fstat(root)
    ):
        _pivot_into(ours)


def _mount_of(descriptor: int, descriptors: int) -> str:
    """The number of the mount that an open file is on. Spec: proc(5), "fdinfo"."""
    with open(os.open(str(descriptor), os.O_RDONLY, dir_fd=descriptors), encoding="ascii") as file:
        return next(line for line in file if line.startswith("mnt_id:"))


def _pivot_into(chroot: int) -> None:
    """Go from the namespace's root into a directory that becomes its root.

    A copy of it does, because it may be no mount. That is put upon its /proc, which can be made
    private first: elsewhere the mount would propagate to the host.
    """
    kernel.mount("", "/", "", kernel.MS_REC | kernel.MS_SLAVE)
    os.fchdir(chroot)
    os.chroot(".")
    kernel.mount("", "/proc", "", kernel.MS_PRIVATE)
    kernel.mount("/", COPY, "", kernel.MS_BIND | kernel.MS_REC)
    copy = os.open(COPY, os.O_PATH | os.O_CLOEXEC)
    namespace = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    kernel.join_namespace(namespace, kernel.CLONE_NEWNS)
    os.fchdir(copy)
    kernel.pivot_root(".", ".")
    kernel.detach_mount(".")
    os.chdir("/")


def exec_runtime(launch: Launch, mask: set[int]) -> None:
    """Replace this process by the runtime, with the signals as our caller had them."""
    if launch.standard_files is not None:
        for target, source in enumerate(launch.standard_files):
            os.dup2(source, target)
    default_signals(mask)
    os.execv(launch.argv[0], list(launch.argv))
