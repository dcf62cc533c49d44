"""Make a container's directory ready to launch: its configuration adapted, its layers laid out."""

from __future__ import annotations

import fcntl
import json
import os

from .. import cgroup, overlay
from . import adapt, container, launch, network
from .failure import failure
from .find import find_executable
from .host import CAPABILITIES
from .settings import LIMITS_REQUIRED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..user_namespace import IdMap
    from .container import Container
    from .host import Host
    from .settings import Settings

LOG = "runtime.log"
PID_FILE = "pid"
PRIVATE_PID_FILE = f"{container.STATE}/pid"
LOOPBACK = "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n"
INITS = ("catatonit", "docker-init", "tini-static", "tini")


class Preparation:
    """One container's configuration on its way from portable to this host's."""

    __slots__ = (
        "box", "config", "group", "host", "is_announced", "leaves", "limits_memory", "network",
        "settings",
    )  # fmt: skip

    def __init__(
        self, settings: Settings, host: Host, box: Container, config: dict[str, Any]
    ) -> None:
        self.settings = settings
        self.host = host
        self.box = box
        self.config = config
        self.is_announced = False
        self.leaves = False
        self.group = ""
        self.limits_memory = False
        self.network: network.Helper | None = None

    def adapt(self, *, terminal: bool) -> None:
        """Fit the configuration to this host.

        Raises:
            RuntimeFailed: the bundle asks for what this host cannot give.
        """
        settings, config, host = self.settings, self.config, self.host
        self.leaves = settings.runtime.leaves and not terminal
        adapt.set_process(
            config,
            entrypoint=settings.entrypoint,
            args=settings.args,
            terminal=terminal,
            terminal_type=os.environ.get("TERM") or "xterm",
            init=self._find_init() if settings.init else None,
        )
        missing = adapt.resolve_sources(config, settings.project)
        if missing is not None:
            hint = f"create it: mkdir -p {missing}"
            raise settings.failure(f"the volume source {missing} does not exist", hint)
        self._set_network()
        self._set_limits()
        if host.effective_map is not None:
            self._fit_user_namespace(host.effective_map)
            if self.network is None and not adapt.has_own_network(config):
                adapt.bind_sys(config)
        adapt.fit_capabilities(config, host.bounding, CAPABILITIES, settings.note)
        if not host.seccomp and adapt.drop_seccomp(config):
            settings.note("this kernel has no seccomp: running without the profile")
        if adapt.has_x32(config) and host.lacks_x32():
            adapt.drop_x32(config)

    def _find_init(self) -> str:
        for name in INITS:
            path = find_executable(name)
            if path is not None:
                return path
        hint = "apt-get install catatonit"
        raise self.settings.failure("init = true needs catatonit, docker-init or tini", hint)

    def _network_mode(self) -> str:
        own = adapt.has_own_network(self.config)
        return self.settings.network or ("none" if own else "host")

    def _set_network(self) -> None:
        config, mode = self.config, self._network_mode()
        resolver = None
        if mode == "user":
            self.network = network.find_helper(as_root=not self.host.is_rootless)
            if self.network is None:
                hint = "apt-get install passt, or slirp4netns"
                raise self.settings.failure('network = "user" needs pasta or slirp4netns', hint)
            resolver = self.network.resolver
        if mode != "none":
            write_resolver(self.box, config.get("hostname"), resolver)
        elif self._lacks_hosts():
            write_file(self.box.path("hosts"), LOOPBACK + own_name(config.get("hostname")))
        adapt.set_network(config, mode, self.box.folder)

    def _lacks_hosts(self) -> bool:
        """Whether ``localhost`` and the container's own name would mean nothing without a file of
        ours. A tree that nothing may be made in stays as it is."""
        root = self.config["root"]
        etc = os.path.join(self.settings.bundle, root.get("path", "rootfs"), "etc")
        try:
            return os.lstat(f"{etc}/hosts").st_size == 0
        except FileNotFoundError:
            return not root.get("readonly") and os.path.isdir(etc) and not os.path.islink(etc)

    def _set_limits(self) -> None:
        config, settings = self.config, self.settings
        parent: str | None = "" if not self.host.is_rootless else None
        if (config.get("linux") or {}).get("resources"):
            needed = cgroup.declared_limits(config)
            if needed and parent is None:
                parent = cgroup.delegated_parent(needed)
            missing = cgroup.unavailable(needed) if parent is not None else needed
            if missing and settings.cgroup_limits == LIMITS_REQUIRED:
                raise settings.failure(
                    f"this host cannot limit {', '.join(missing)}, which the bundle asks for",
                    'take the limits out, or say cgroup_limits = "if-possible"',
                )
            if missing:
                settings.note(f"running without limits on {', '.join(missing)}")
                adapt.drop_limits(config, missing)
            self.limits_memory = "memory" in needed and "memory" not in missing
        if parent is None:
            config.setdefault("linux", {}).pop("cgroupsPath", None)
        else:
            self.group = adapt.set_group(config, f"{parent}/doit-oci-{self.box.identifier}")

    def _fit_user_namespace(self, id_map: IdMap) -> None:
        refused = adapt.fit_user_namespace(self.config, id_map.has, self.settings.note)
        if refused is not None:
            raise self.settings.failure(
                f"runs as {refused}, which this user namespace does not have",
                "give this user a range in /etc/subuid and /etc/subgid and install newuidmap",
            )

    def lay_out(self, files: tuple[int, int, int] | None) -> launch.Launch:
        """Write the directory that the runtime takes as its bundle."""
        settings, config, box = self.settings, self.config, self.box
        rootfs = os.path.join(settings.bundle, config["root"].get("path", "rootfs"))
        if not os.path.isdir(rootfs):
            hint = f"build it: doit-oci rootfs:{settings.name}"
            raise settings.failure("has no rootfs", hint)
        if not is_text(box.folder):
            hint = "choose another with --dir"
            raise settings.failure("its state directory has a name that is no UTF-8", hint)
        adapt.set_root(config, box.path(overlay.MERGED))
        os.makedirs(box.path(overlay.MERGED), 0o755, exist_ok=True)
        os.makedirs(box.path(container.STATE), 0o700, exist_ok=True)
        if not os.path.islink(box.path(overlay.LOWER)):
            os.symlink(rootfs, box.path(overlay.LOWER))
        read_only = bool(config["root"].get("readonly")) and adapt.is_self_contained(config, rootfs)
        upper, work = overlay.UPPER, overlay.WORK
        if settings.persistent:
            if not os.path.islink(box.path("persistent")):
                os.symlink(
                    persistent_folder(settings.run_folder, settings.name), box.path("persistent")
                )
            upper, work = f"persistent/{upper}", f"persistent/{work}"
        if not read_only:
            os.makedirs(box.path(upper), 0o755, exist_ok=True)
            os.makedirs(box.path(work), 0o700, exist_ok=True)
        with open(box.path("config.json"), "w", encoding="utf-8") as stream:
            json.dump(config, stream)
        groups = self._groups()
        return launch.Launch(
            argv=self._command(),
            pid_file=box.path(PRIVATE_PID_FILE) if self.leaves else None,
            announcement=box.path(PID_FILE) if self.is_announced else None,
            delete=self._delete_command(),
            folder=box.folder,
            read_only=read_only,
            upper=upper,
            work=work,
            volatile=not settings.persistent,
            fuse=None if read_only else find_executable("fuse-overlayfs"),
            groups=groups,
            group=self.group if self.leaves and groups == launch.MOUNT_UNIFIED else "",
            network=self.network,
            standard_files=files,
        )

    def _groups(self) -> str:
        """What the runtime needs done about this host's control groups."""
        if self.settings.runtime.kind == "crun" and _crun_refuses_hybrid():
            return launch.HIDE_UNIFIED
        return "" if cgroup.hierarchies() else launch.MOUNT_UNIFIED

    def _command(self) -> list[str]:
        box = self.box
        leave = ("--detach", "--pid-file", box.path(PRIVATE_PID_FILE))
        stay = ("--pid-file", box.path(PID_FILE)) if self.is_announced else ()
        return [
            *self._global_words(),
            "run",
            *(leave if self.leaves else stay),
            "--bundle",
            box.folder,
            box.identifier,
        ]

    def _delete_command(self) -> list[str]:
        """Only hooks need it: the runtime's state and groups are removed by us."""
        if not self.leaves or not (self.config.get("hooks") or {}).get("poststop"):
            return []
        return [*self._global_words(), "delete", self.box.identifier]

    def _global_words(self) -> list[str]:
        runtime, box = self.settings.runtime, self.box
        without_groups = runtime.kind == "crun" and not self.group
        return [
            *runtime.command(box.path(container.STATE), self._network_mode()),
            "--log",
            box.path(LOG),
            *(("--cgroup-manager", "disabled") if without_groups else ()),
        ]


def persistent_folder(run_folder: str, name: str) -> str:
    return f"{run_folder}/persistent/{name}"


def take_persistent(run_folder: str, name: str) -> int:
    """Hold a persistent bundle's upper directory, which only one run may use at a time."""
    folder = persistent_folder(run_folder, name)
    os.makedirs(folder, 0o711, exist_ok=True)
    lock = os.open(f"{folder}/lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        hint = "its files can be changed by one container at a time: wait, or `doit-oci kill` it"
        raise failure("is persistent and already running", name, hint) from None
    return lock


def clear_persistent(run_folder: str, name: str) -> None:
    """Empty a persistent bundle's upper directory."""
    folder = persistent_folder(run_folder, name)
    if not os.path.isdir(folder):
        return
    lock = take_persistent(run_folder, name)
    for part in (overlay.UPPER, overlay.WORK):
        container.remove_tree_of_any_owner(f"{folder}/{part}")
    os.close(lock)


def write_resolver(box: Container, hostname: str | None, resolver: str | None) -> None:
    """Copies of this host's resolv.conf and hosts: a container may write into its own.

    ``resolver`` stands in for name servers that only answer on the host's own loopback.
    """
    for name in ("resolv.conf", "hosts"):
        try:
            with open(f"/etc/{name}", encoding="utf-8", errors="surrogateescape") as stream:
                text = stream.read()
        except OSError:
            text = LOOPBACK if name == "hosts" else ""
        if name == "hosts" and hostname:
            text = f"{text.rstrip()}\n{own_name(hostname)}"
        if name == "resolv.conf" and resolver is not None:
            text = "".join(line for line in text.splitlines(True) if "nameserver" not in line)
            text += f"nameserver {resolver}\n"
        write_file(box.path(name), text)


def is_text(path: str) -> bool:
    """Whether a runtime's configuration, which is JSON, can hold it."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def own_name(hostname: str | None) -> str:
    """The line of /etc/hosts for a container's own name."""
    return f"127.0.1.1 {hostname}\n" if hostname else ""


def write_file(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8", errors="surrogateescape") as stream:
        stream.write(text)


def _crun_refuses_hybrid() -> bool:
    """crun before 1.9 wants no controller on version 2 where version 1 is mounted as well."""
    try:
        with open("/sys/fs/cgroup/unified/cgroup.controllers", encoding="ascii") as stream:
            return bool(stream.read().strip())
    except OSError:
        return False
