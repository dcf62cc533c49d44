"""Fit a portable config.json to the host that runs it; never written back into the bundle.

Everything that depends on this machine is here: the root's path, the terminal, the uid maps, the
network, relative volume sources, limits that this host cannot set. Functions change the
configuration that they are given, which the caller has just parsed for this run alone.

Spec: runtime-spec 1.2 config.md and config-linux.md.
"""

from __future__ import annotations

import os

from ..cgroup import LIMITS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

INIT_TARGET = "/.doit-oci-init"
X32 = "SCMP_ARCH_X32"
PROJECT = "../../../"
"""See docs/decisions/0003: what a relative host path begins with in the portable file."""


def set_process(
    config: dict[str, Any],
    *,
    entrypoint: Sequence[str],
    args: Sequence[str] | None,
    terminal: bool,
    terminal_type: str,
    init: str | None,
) -> None:
    """The command line and the terminal; ``args`` take the place of the image's Cmd."""
    process = config["process"]
    process["terminal"] = terminal
    if args is not None:
        process["args"] = [*entrypoint, *args]
    if terminal:
        set_size(process)
        environment = process.setdefault("env", [])
        if not any(item.startswith("TERM=") for item in environment):
            environment.append(f"TERM={terminal_type}")
    if init is not None:
        process["args"] = [INIT_TARGET, "--", *process["args"]]
        config.setdefault("mounts", []).append(_bind(init, INIT_TARGET))


def set_size(process: dict[str, Any]) -> None:
    """Begin with our terminal's size, which a runtime would set only after the program's start."""
    size = _terminal_size()
    process.pop("consoleSize", None)
    if size is not None:
        process["consoleSize"] = {"width": size.columns, "height": size.lines}


def _terminal_size() -> os.terminal_size | None:
    for number in (0, 1, 2):
        try:
            return os.get_terminal_size(number)
        except OSError:
            continue
    return None


def set_root(config: dict[str, Any], root: str) -> None:
    config["root"]["path"] = root


def resolve_sources(config: dict[str, Any], project: str) -> str | None:
    """Make bind sources absolute; return the first that does not exist."""
    for mount in config.get("mounts", ()):
        source = mount.get("source")
        if source is None or not _is_bind(mount):
            continue
        if not source.startswith("/"):
            mount["source"] = source = _host_source(source, project)
        if not os.path.lexists(source):
            return str(source)
    return None


def _host_source(source: str, project: str) -> str:
    """``PROJECT`` leads from a bundle to images.toml's folder, also where ``--dir`` moved it."""
    if source == "~" or source.startswith("~/"):
        return os.path.normpath(os.path.expanduser("~") + source[1:])
    inside = source.removeprefix(PROJECT) if source != PROJECT[:-1] else ""
    return os.path.normpath(os.path.join(project, inside))


def is_self_contained(config: dict[str, Any], rootfs: str) -> bool:
    """Whether every mount has its place in the rootfs, so that the runtime has none to make."""
    for mount in config.get("mounts", ()):
        path = rootfs
        for part in mount["destination"].strip("/").split("/"):
            path = f"{path}/{part}"
            if os.path.islink(path):
                return False
        if not os.path.exists(path) and not _below_a_mount(config, mount["destination"]):
            return False
    return True


def _below_a_mount(config: dict[str, Any], destination: str) -> bool:
    return any(
        destination.startswith(mount["destination"].rstrip("/") + "/")
        for mount in config["mounts"]
        if mount.get("type") in ("tmpfs", "proc", "sysfs", "devpts", "mqueue")
    )


def set_network(config: dict[str, Any], mode: str, resolver_folder: str) -> None:
    """``none``: a namespace of its own; ``host`` and ``user``: the one that the runtime is in.

    ``resolver_folder`` holds the resolv.conf and hosts to show, if any.
    """
    namespaces = config.setdefault("linux", {}).setdefault("namespaces", [])
    namespaces[:] = [item for item in namespaces if item["type"] != "network"]
    if mode == "none":
        namespaces.append({"type": "network"})
    taken = {mount["destination"] for mount in config.get("mounts", ())}
    for name in ("resolv.conf", "hosts"):
        source = f"{resolver_folder}/{name}"
        if f"/etc/{name}" not in taken and os.path.exists(source):
            config.setdefault("mounts", []).append(_bind(source, f"/etc/{name}", writable=True))


def has_own_network(config: dict[str, Any]) -> bool:
    namespaces = (config.get("linux") or {}).get("namespaces") or ()
    return any(item["type"] == "network" and not item.get("path") for item in namespaces)


def set_group(config: dict[str, Any], path: str) -> str:
    """Name the control group unless the bundle does; returns the name that counts."""
    linux = config.setdefault("linux", {})
    return str(linux.setdefault("cgroupsPath", path))


def drop_limits(config: dict[str, Any], controllers: Sequence[str]) -> None:
    """Take out the limits that need these controllers."""
    resources = config["linux"]["resources"]
    for key, name in LIMITS.items():
        if name in controllers:
            resources.pop(key, None)
    if "cpuset" in controllers:
        for key in ("cpus", "mems"):
            resources.get("cpu", {}).pop(key, None)


def fit_capabilities(
    config: dict[str, Any], bounding: int, names: Sequence[str], note: Callable[[str], None]
) -> None:
    """Drop capabilities that this host's bounding set lacks; the kernel would refuse them."""
    capabilities = config["process"].get("capabilities") or {}
    lacking: set[str] = set()
    for key, wanted in capabilities.items():
        held = [name for name in wanted if name not in names or bounding >> names.index(name) & 1]
        lacking |= set(wanted) - set(held)
        capabilities[key] = held
    if lacking:
        note(f"this host cannot give {', '.join(sorted(lacking))}")


def fit_user_namespace(
    config: dict[str, Any], mapped: Callable[[int], bool], note: Callable[[str], None]
) -> str | None:
    """What a process without rights on the host cannot do, done otherwise or refused.

    Returns the refusal in words: an id that the map does not have.
    """
    process = config["process"]
    user = process.setdefault("user", {"uid": 0, "gid": 0})
    for key in ("uid", "gid"):
        if not mapped(user.get(key, 0)):
            return f"{key} {user[key]}"
    groups = user.get("additionalGids", ())
    kept = [group for group in groups if mapped(group)]
    if len(kept) != len(groups):
        note("some additional groups are not mapped in this user namespace and were left out")
    if groups:
        user["additionalGids"] = kept
    if not mapped(1):
        user.pop("additionalGids", None)  # setgroups is denied in a namespace of one id
    linux = config.setdefault("linux", {})
    linux.pop("devices", None)
    (linux.get("resources") or {}).pop("devices", None)
    for mount in config.get("mounts", ()):
        mount["options"] = [
            option
            for option in mount.get("options", ())
            if not (option.startswith(("uid=", "gid=")) and not mapped(int(option[4:])))
        ]
    return None


def bind_sys(config: dict[str, Any]) -> None:
    """Only the owner of a network namespace may mount its sysfs."""
    for mount in config.get("mounts", ()):
        if mount.get("type") == "sysfs":
            mount["type"] = "none"
            mount["source"] = "/sys"
            mount["options"] = ["rbind", "nosuid", "noexec", "nodev", "ro"]


def drop_seccomp(config: dict[str, Any]) -> bool:
    """Take the seccomp profile out; says whether there was one."""
    return (config.get("linux") or {}).pop("seccomp", None) is not None


def drop_x32(config: dict[str, Any]) -> None:
    """Leave out of the filter what this kernel cannot execute.

    A third of the filter, and of the time that a runtime takes to compile it. A call of that ABI,
    which had failed with ENOSYS, then ends its program.
    """
    config["linux"]["seccomp"]["architectures"].remove(X32)


def has_x32(config: dict[str, Any]) -> bool:
    seccomp = (config.get("linux") or {}).get("seccomp") or {}
    return X32 in seccomp.get("architectures", ())


def _is_bind(mount: dict[str, Any]) -> bool:
    options = mount.get("options") or ()
    return mount.get("type") == "bind" or "bind" in options or "rbind" in options


def _bind(source: str, destination: str, *, writable: bool = False) -> dict[str, Any]:
    return {
        "destination": destination,
        "type": "bind",
        "source": source,
        "options": ["rbind", "rprivate", "rw" if writable else "ro"],
    }
