"""Control groups as this host offers them: version 1, version 2, both, or none."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ROOT = "/sys/fs/cgroup"
UNIFIED = ROOT + "/unified"
LIMITS = {  # runtime-spec linux.resources, and the controller that it needs
    "memory": "memory",
    "cpu": "cpu",
    "pids": "pids",
    "blockIO": "io",
    "hugepageLimits": "hugetlb",
    "network": "net_cls",
    "rdma": "rdma",
}
V1_NAMES = {"io": "blkio"}


def hierarchies() -> dict[str, str]:
    """Controller name → directory of its hierarchy's root; ``""`` stands for version 2 itself."""
    found: dict[str, str] = {}
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as stream:
        for line in stream:
            if " - cgroup" not in line:
                continue
            left, _, right = line.partition(" - ")
            folder = left.split(" ")[4]
            kind, _, options = right.rstrip("\n").split(" ", 2)
            if kind == "cgroup2":
                found.setdefault("", folder)
            else:
                for option in options.split(","):
                    if (option not in ("rw", "ro") and "=" not in option) or option.startswith(
                        "name="
                    ):
                        found.setdefault(option, folder)
    return found


def version() -> str:
    """``v1``, ``v2``, ``hybrid`` or ``none``."""
    found = hierarchies()
    if "" not in found:
        return "v1" if found else "none"
    return "v2" if len(found) == 1 else "hybrid"


def controllers() -> dict[str, str]:
    """Controllers that can limit something here → directory of their hierarchy."""
    found = hierarchies()
    available = {name: folder for name, folder in found.items() if name and "=" not in name}
    if "blkio" in available:
        available["io"] = available.pop("blkio")
    if len(found) == 1 and "" in found:
        for name in _read(found[""] + "/cgroup.controllers").split():
            available.setdefault(name, found[""])
    return available


def declared_limits(config: dict[str, Any]) -> list[str]:
    """The controllers that a config.json's limits need, sorted."""
    resources = (config.get("linux") or {}).get("resources") or {}
    needed = {LIMITS[key] for key, value in resources.items() if key in LIMITS and value}
    cpu = resources.get("cpu") or {}
    if cpu.get("cpus") or cpu.get("mems"):
        needed.add("cpuset")
        if set(cpu) <= {"cpus", "mems"}:
            needed.discard("cpu")
    return sorted(needed)


def unavailable(needed: list[str], *, privileged: bool) -> list[str]:
    """Those of the controllers that cannot be used to limit a container here."""
    if not needed:
        return []
    available = controllers()
    missing = [name for name in needed if name not in available]
    if privileged:
        return missing
    own = own_groups()
    for name in needed:
        folder = available.get(name)
        if folder is not None:
            path = folder + own.get(V1_NAMES.get(name, name), own.get("", "/"))
            if not os.access(path, os.W_OK) or not os.access(path + "/cgroup.procs", os.W_OK):
                missing.append(name)
    return sorted(set(missing))


def own_groups() -> dict[str, str]:
    """Controller → the path of this process's group; ``""`` is version 2's."""
    groups: dict[str, str] = {}
    for line in _read("/proc/self/cgroup").splitlines():
        _, names, path = line.split(":", 2)
        for name in names.split(","):
            groups[name] = path
    return groups


def remove_group(path: str) -> None:
    """Remove a container's groups from every hierarchy; those of a killed run stay behind."""
    for folder in set(hierarchies().values()):
        _remove_folder(folder + path)


def _remove_folder(folder: str) -> None:
    import time

    if not os.path.isdir(folder):
        return
    for entry in os.scandir(folder):
        if entry.is_dir(follow_symlinks=False):
            _remove_folder(entry.path)
    for _ in range(100):
        try:
            os.rmdir(folder)
        except FileNotFoundError:
            return
        except OSError:  # processes that were killed are still on their way out
            time.sleep(0.01)
        else:
            return


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as stream:
            return stream.read()
    except OSError:
        return ""
