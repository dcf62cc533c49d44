"""What this host offers to a run, found out by trying: runtimes, namespaces, overlay, cgroups."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from .store import cgroup, kernel, overlay, user_namespace
from .store.runtime import network
from .store.runtime.container import remove_tree_of_any_owner
from .store.runtime.find import HOW_TO_GET, RUNTIMES, find_executable, runtime_version
from .store.runtime.host import Host
from .store.runtime.prepare import INITS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

GOOD = "good"
LIMITED = "limited"
MISSING = "missing"


class Finding:
    """One thing looked at: ``good``, ``limited`` or ``missing``, in words, and what would help."""

    __slots__ = ("hint", "state", "subject", "text")

    def __init__(self, subject: str, state: str, text: str, hint: str = "") -> None:
        self.subject = subject
        self.state = state
        self.text = text
        self.hint = hint

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("subject", "state", "text", "hint")}


def examine_host(*, state: Path) -> tuple[Finding, ...]:
    """Look at everything; ``state`` is the directory that overlays will lie in."""
    host = Host()
    return (
        *_runtimes(),
        _user(host),
        _user_namespaces(host),
        _subordinate_ids(host),
        _overlay(host, state),
        _cgroups(host),
        _seccomp(host),
        _network(),
        _init(),
        _terminal(),
    )


def findings_text(findings: Sequence[Finding]) -> str:
    """A line for each finding, and its hint below."""
    width = max(len(each.subject) for each in findings)
    lines = []
    for each in findings:
        mark = {GOOD: "ok", LIMITED: "--", MISSING: "no"}[each.state]
        lines.append(f"{mark}  {each.subject.ljust(width)}  {each.text}")
        if each.hint:
            lines.append(f"    {' ' * width}  hint: {each.hint}")
    return "\n".join(lines) + "\n"


def _runtimes() -> Iterator[Finding]:
    found = [(name, path) for name in RUNTIMES if (path := find_executable(name))]
    if not found:
        yield Finding("runtime", MISSING, "no OCI runtime is installed", HOW_TO_GET)
    for number, (name, path) in enumerate(found):
        used = ", used unless images.toml says otherwise" if number == 0 else ""
        yield Finding(f"runtime {name}", GOOD, f"{path} ({runtime_version(path)}){used}")


def _user(host: Host) -> Finding:
    if host.id_map is None:
        where = "root" if host.effective_map is None else "root of a user namespace"
        return Finding("user", GOOD, f"{where}: containers run with this user's own rights")
    return Finding("user", GOOD, f"uid {os.geteuid()}: containers run in a user namespace")


def _user_namespaces(host: Host) -> Finding:
    try:
        works = user_namespace.run_mapped(user_namespace.single_id_map(), lambda: None)
    except OSError as error:
        works, reason = False, str(error)
    else:
        reason = "cannot be entered"
    if works:
        return Finding("user namespaces", GOOD, "can be created")
    hint = (
        "sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone, "
        "kernel.apparmor_restrict_unprivileged_userns"
    )
    return Finding("user namespaces", MISSING if host.id_map else LIMITED, reason, hint)


def _subordinate_ids(host: Host) -> Finding:
    if host.id_map is None:
        return Finding("subordinate ids", GOOD, "not needed as root")
    if not host.id_map.is_single:
        count = sum(size for _, _, size in host.id_map.uids)
        try:
            if user_namespace.run_mapped(host.id_map, lambda: None):
                return Finding("subordinate ids", GOOD, f"{count} ids")
            reason = "cannot be mapped"
        except OSError as error:
            reason = str(error)
        hint = "newuidmap has to be set-user-id root: chmod u+s, or reinstall uidmap"
        return Finding("subordinate ids", LIMITED, reason, hint)
    hint = "apt-get install uidmap; usermod --add-subuids 100000-165535 --add-subgids … USER"
    return Finding("subordinate ids", LIMITED, "none: images see one user only", hint)


def _overlay(host: Host, state: Path) -> Finding:
    fuse = find_executable("fuse-overlayfs")
    state.mkdir(parents=True, exist_ok=True)
    folder = f"{state}/doctor-{os.getpid()}"
    try:
        os.mkdir(folder)
        for name in (overlay.LOWER, overlay.UPPER, overlay.WORK, overlay.MERGED):
            os.mkdir(f"{folder}/{name}")
        kernel_works = _try(host, lambda: _mount_overlay(folder, None))
        fuse_works = fuse is not None and _try(host, lambda: _mount_overlay(folder, fuse))
    except OSError as error:
        return Finding("overlay", LIMITED, f"cannot try in {state}: {error.strerror}")
    finally:
        remove_tree_of_any_owner(folder)
    if kernel_works:
        return Finding("overlay", GOOD, "the kernel's own")
    if fuse_works:
        return Finding("overlay", LIMITED, "fuse-overlayfs; the kernel's own is refused here")
    hint = "apt-get install fuse-overlayfs, or keep the state directory on ext4, xfs or btrfs"
    return Finding("overlay", LIMITED, "none: each run copies the rootfs", hint)


def _try(host: Host, work: Callable[[], None]) -> bool:
    try:
        return user_namespace.run_mapped(host.id_map, work)
    except OSError:
        return False


def _mount_overlay(folder: str, fuse: str | None) -> None:
    kernel.unshare(kernel.CLONE_NEWNS)
    kernel.mount("", "/", "", kernel.MS_REC | kernel.MS_SLAVE)
    os.chdir(folder)
    overlay.mount_layers(upper=overlay.UPPER, work=overlay.WORK, volatile=True, fuse=fuse)


def _cgroups(host: Host) -> Finding:
    found = cgroup.version()
    names = ", ".join(sorted(cgroup.controllers()))
    if found == "none":
        return Finding("cgroups", LIMITED, "none: no limits, no pause, no stats")
    if host.is_rootless and cgroup.delegated_parent(["memory", "pids"]) is None:
        hint = "limits need version 2 and a systemd user session that delegates its controllers"
        return Finding("cgroups", LIMITED, f"{found}, not delegated to this user: no limits", hint)
    return Finding("cgroups", GOOD, f"{found}: {names}")


def _seccomp(host: Host) -> Finding:
    if host.seccomp:
        return Finding("seccomp", GOOD, "the kernel has it")
    return Finding("seccomp", LIMITED, "this kernel has none: profiles are left out")


def _network() -> Finding:
    helper = network.find_helper(as_root=False)
    if helper is None:
        hint = "apt-get install passt"
        return Finding("user network", LIMITED, 'none: network = "user" is refused', hint)
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        hint = "chmod 666 /dev/net/tun"
        return Finding("user network", LIMITED, f"{helper.path}, but no /dev/net/tun", hint)
    return Finding("user network", GOOD, helper.path)


def _init() -> Finding:
    for name in INITS:
        path = find_executable(name)
        if path:
            return Finding("init", GOOD, path)
    return Finding("init", LIMITED, "none: init = true is refused", "apt-get install catatonit")


def _terminal() -> Finding:
    if os.isatty(0) and os.isatty(1):
        return Finding("terminal", GOOD, "containers get one")
    return Finding("terminal", GOOD, "none: containers get standard input and output as they are")
