"""The ``linux`` part of config.json: namespaces, devices, limits, paths, system calls.

Spec: runtime-spec 1.2 config-linux.md.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import ConversionError, DeclarationError
from .config_draft import BUILT_IN, Draft
from .runtime_defaults import MASKED_PATHS, NAMESPACES, READONLY_PATHS
from .seccomp import default_profile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .runtime_inputs import Inputs

SHARED = {"network": "host", "pid": "host", "ipc": "host", "uts": "host"}
"""Keys whose value ``host`` leaves the namespace of that name out."""

RESOURCES = {
    "mem_limit": ("memory", "limit"),
    "mem_reservation": ("memory", "reservation"),
    "memswap_limit": ("memory", "swap"),
    "oom_kill_disable": ("memory", "disableOOMKiller"),
    "cpu_quota": ("cpu", "quota"),
    "cpu_period": ("cpu", "period"),
    "cpu_shares": ("cpu", "shares"),
    "cpuset": ("cpu", "cpus"),
    "pids_limit": ("pids", "limit"),
}


def add_linux(draft: Draft, inputs: Inputs, capabilities: list[str]) -> None:
    overrides = inputs.overrides
    draft.put_list(
        ("linux", "namespaces"),
        [
            ({"type": name}, inputs.origin(name) if name in overrides else BUILT_IN)
            for name in NAMESPACES
            if overrides.get(name) != SHARED.get(name, "")
        ],
    )
    _add_devices(draft, inputs)
    for key, place in RESOURCES.items():
        if key in overrides:
            draft.put(("linux", "resources", *place), overrides[key], inputs.origin(key))
    if "domainname" in overrides and overrides.get("uts") != "host":
        # The property of that name is younger (runtime-spec 1.1) than runtimes in use.
        setting = ("linux", "sysctl", "kernel.domainname")
        draft.put(setting, overrides["domainname"], inputs.origin("domainname"))
    for name, value in sorted(overrides.get("sysctls", {}).items()):
        _check_sysctl(name, overrides)
        draft.put(("linux", "sysctl", name), value, inputs.origin("sysctls", name))
    if "cgroup_parent" in overrides:
        origin = inputs.origin("cgroup_parent")
        draft.put(("linux", "cgroupsPath"), overrides["cgroup_parent"], origin)
    security = overrides.get("security", {})
    if not security.get("unconfined_paths"):
        draft.put(("linux", "maskedPaths"), list(MASKED_PATHS), BUILT_IN)
        draft.put(("linux", "readonlyPaths"), list(READONLY_PATHS), BUILT_IN)
    if security.get("selinux_label"):
        draft.put(("linux", "mountLabel"), security["selinux_label"], inputs.origin("security"))
    _add_seccomp(draft, inputs, capabilities)


def _add_devices(draft: Draft, inputs: Inputs) -> None:
    rules: list[tuple[dict[str, Any], str]] = [({"allow": False, "access": "rwm"}, BUILT_IN)]
    nodes: list[tuple[dict[str, Any], str]] = []
    for path, device in sorted(inputs.overrides.get("devices", {}).items()):
        origin = inputs.origin("devices", path)
        node = {"path": path, "type": device["type"]}
        numbers = {key: device[key] for key in ("major", "minor") if key in device}
        owner = {key: device[key] for key in ("uid", "gid") if key in device}
        mode = {"fileMode": int(device["mode"], 8)} if "mode" in device else {"fileMode": 0o666}
        nodes.append(({**node, **numbers, **mode, **owner}, origin))
        kind = {"u": "c"}.get(device["type"], device["type"])
        if kind in ("c", "b"):
            rules.append(
                ({"allow": True, "type": kind, **numbers, "access": device["access"]}, origin)
            )
    if nodes:
        draft.put_list(("linux", "devices"), nodes)
    draft.put_list(("linux", "resources", "devices"), rules)


def sysctl_namespace(name: str) -> str:
    """Which namespace a kernel setting belongs to; "" for one of the whole host.

    >>> sysctl_namespace("net/ipv4/ip_forward"), sysctl_namespace("kernel.panic")
    ('network', '')
    """
    place = name.replace("/", ".")
    if place.startswith("net."):
        return "network"
    if place.startswith("fs.mqueue.") or place in IPC_SETTINGS:
        return "ipc"
    return "uts" if place == "kernel.domainname" else ""


def _check_sysctl(name: str, overrides: Mapping[str, Any]) -> None:
    """Only settings of a namespace that is the container's own: others would change the host."""
    needed = sysctl_namespace(name)
    if not needed:
        raise ConversionError(f"the setting {name} belongs to the host", subject="")
    if overrides.get(needed) == "host":
        raise ConversionError(
            f'the setting {name} would change the host, because {needed} = "host"', subject=""
        )


IPC_SETTINGS = frozenset(
    {
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
    }
)


def _add_seccomp(draft: Draft, inputs: Inputs, capabilities: list[str]) -> None:
    given = inputs.overrides.get("security", {}).get("seccomp", "default")
    if given == "unconfined":
        return
    if given == "default":
        profile = default_profile(inputs.architecture, capabilities)
        if profile is not None:
            draft.put(("linux", "seccomp"), profile, BUILT_IN)
        return
    import json

    try:
        value = json.loads(inputs.files[given])
    except ValueError as error:
        raise DeclarationError(f"no JSON: {error}", subject=given) from error
    if not isinstance(value, dict) or "defaultAction" not in value:
        raise DeclarationError(
            "no seccomp profile of the runtime specification: it lacks defaultAction", subject=given
        )
    if "archMap" in value or any("includes" in rule for rule in value.get("syscalls", ())):
        raise DeclarationError(
            "this is a profile for an engine (it has archMap, includes or excludes)",
            subject=given,
            hint="write it in the runtime specification's form, with architectures",
        )
    draft.put(("linux", "seccomp"), value, inputs.origin("security", "seccomp"))
