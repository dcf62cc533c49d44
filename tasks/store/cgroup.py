"""Control groups as this host offers them: version 1, version 2, both, or none."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
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


def unavailable(needed: list[str]) -> list[str]:
    """Those of the controllers that this host does not have."""
    available = controllers() if needed else {}
    return [name for name in needed if name not in available]


def delegated_parent(needed: list[str]) -> str | None:
    """The group below which an ordinary user may set these limits, or None.

    Version 2 only: the group beside our own, where systemd gave its parent to this user.
    Spec: the kernel's cgroup-v2 "Delegation".
    """
    if version() != "v2":
        return None
    root = hierarchies()[""]
    parent = os.path.dirname(own_groups().get("", "/"))
    folder = root + parent
    if not all(os.access(path, os.W_OK) for path in (folder, folder + "/cgroup.procs")):
        return None
    enabled = _read(folder + "/cgroup.subtree_control").split()
    return parent if set(needed) <= set(enabled) else None


def own_groups() -> dict[str, str]:
    """Controller → the path of this process's group; ``""`` is version 2's."""
    groups: dict[str, str] = {}
    for line in _read("/proc/self/cgroup").splitlines():
        _, names, path = line.split(":", 2)
        for name in names.split(","):
            groups[name] = path
    return groups


def prepare_to_move() -> None:
    """Spend early what the first move between groups costs the kernel.

    A move takes the lock that keeps all processes from forking meanwhile, which waits for a grace
    period of RCU: about 8 ms, unless another move was less than 20 ms ago. Moving this process to
    where it is already takes the lock and changes nothing.
    """
    _move_to_first(_own_lists())


def prepare_to_move_beside() -> None:
    """The same while this process goes on to load what it needs to launch a container.

    It may fork meanwhile: the other thread holds no lock of Python's that a child would wait for,
    so what it needs is read before it starts, and it imports nothing.
    """
    import _thread  # threading takes a millisecond to load

    if os.geteuid() == 0:
        _thread.start_new_thread(_move_to_first, (_own_lists(),))


def _own_lists() -> list[str]:
    """The lists of processes that this one stands in, of each hierarchy that is mounted."""
    found = hierarchies()
    groups = own_groups().items()
    return [f"{found[name]}{path}/cgroup.procs" for name, path in groups if name in found]


def _move_to_first(lists: list[str]) -> None:
    for path in lists:
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        except OSError:
            continue  # not ours to write to; then nothing is gained
        try:
            os.write(descriptor, b"0")
        except OSError:
            continue
        finally:
            os.close(descriptor)
        return


def remove_group(path: str) -> None:
    """Remove a container's groups from every hierarchy; those of a killed run stay behind."""
    for folder in set(hierarchies().values()):
        _remove_folder(folder + path)


def _remove_folder(folder: str) -> None:
    try:
        os.rmdir(folder)
    except FileNotFoundError:
        return
    except OSError:
        _remove_busy_folder(folder)


def _remove_busy_folder(folder: str) -> None:
    """With groups of the container's own below it, or processes on their way out."""
    import time

    for entry in os.scandir(folder):
        if entry.is_dir(follow_symlinks=False):
            _remove_folder(entry.path)
    for _ in range(100):
        try:
            os.rmdir(folder)
        except FileNotFoundError:
            return
        except OSError:
            time.sleep(0.01)
        else:
            return


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as stream:
            return stream.read()
    except OSError:
        return ""


def has_killed(group: str) -> bool:
    """Whether the kernel has killed a process at this group's limit of memory."""
    found = hierarchies()
    if "memory" in found:
        text = _read(f"{found['memory']}{group}/memory.oom_control")
    else:
        text = _read(f"{found.get('', ROOT)}{group}/memory.events")
    counts = dict(line.split() for line in text.splitlines())
    return int(counts.get("oom_kill", 0)) > 0


class MemoryWatch:
    """The same for a container whose runtime removes its groups as soon as it has ended.

    Version 1 signals an eventfd when the limit is reached, and once more when the group is
    removed: only at the first can the group still be read. Version 2 counts in memory.events.
    """

    def __init__(self, group: str) -> None:
        self._exceeded = False
        folder = hierarchies().get("memory")
        if folder is None:
            self._start(self._count_events, hierarchies().get("", ROOT) + group)
        else:
            self._start(self._await_event, folder + group)

    def _start(self, watch: Callable[[str], None], folder: str) -> None:
        import threading

        self._thread = threading.Thread(target=watch, args=(folder,), daemon=True)
        self._thread.start()

    def _await_event(self, folder: str) -> None:
        if not _await_folder(folder):
            return
        try:
            control = os.open(folder + "/memory.oom_control", os.O_RDONLY | os.O_CLOEXEC)
            event = os.eventfd(0, os.EFD_CLOEXEC)
            with open(folder + "/cgroup.event_control", "w", encoding="ascii") as stream:
                stream.write(f"{event} {control}")
        except OSError:
            return
        os.eventfd_read(event)
        try:
            os.pread(control, 4096, 0)
        except OSError:
            return
        self._exceeded = True

    def _count_events(self, folder: str) -> None:
        import select

        if not _await_folder(folder):
            return
        poller = select.poll()
        try:
            with open(folder + "/memory.events", "rb", buffering=0) as stream:
                poller.register(stream, select.POLLPRI)
                while not self._exceeded:
                    poller.poll(200)
                    stream.seek(0)
                    counts = dict(line.split() for line in stream.read().splitlines())
                    self._exceeded = int(counts.get(b"oom_kill", 0)) > 0
        except OSError:
            return

    def was_exceeded(self) -> bool:
        """To be asked once the container has ended and its groups are gone."""
        self._thread.join(1)
        return self._exceeded


def _await_folder(folder: str) -> bool:
    import time

    for _ in range(2000):
        if os.path.isdir(folder):
            return True
        time.sleep(0.001)
    return False


def is_frozen(group: str) -> bool:
    """Whether a container's processes are paused."""
    found = hierarchies()
    if "freezer" in found:
        return _read(f"{found['freezer']}{group}/freezer.state").strip() in ("FROZEN", "FREEZING")
    return _read(f"{found.get('', ROOT)}{group}/cgroup.freeze").strip() == "1"


def read_figures(group: str) -> dict[str, int | None]:
    """What a group uses: bytes, microseconds, processes; None where nothing is counted."""
    found = hierarchies()
    unified = found.get("", ROOT) + group
    memory = found.get("memory")
    figures: dict[str, int | None] = {}
    if memory is not None:
        figures["memory"] = _number(f"{memory}{group}/memory.usage_in_bytes")
        figures["memoryLimit"] = _number(f"{memory}{group}/memory.limit_in_bytes")
    else:
        figures["memory"] = _number(f"{unified}/memory.current")
        figures["memoryLimit"] = _number(f"{unified}/memory.max")
    if "cpuacct" in found:
        nanoseconds = _number(f"{found['cpuacct']}{group}/cpuacct.usage")
        figures["cpuMicroseconds"] = None if nanoseconds is None else nanoseconds // 1000
    else:
        statistics = dict(line.split() for line in _read(f"{unified}/cpu.stat").splitlines())
        microseconds = statistics.get("usage_usec")
        figures["cpuMicroseconds"] = None if microseconds is None else int(microseconds)
    pids = found["pids"] + group if "pids" in found else unified
    figures["processes"] = _number(f"{pids}/pids.current")
    return figures


def _number(path: str) -> int | None:
    text = _read(path).strip()
    if not text.isdigit() or int(text) >= 1 << 62:
        return None
    return int(text)
