"""What config.json holds where neither the image nor the declaration speaks.

These are the defaults of ``runc spec``, and where they differ they are stricter: a control group
namespace, a filter of system calls, and more masked paths. Nothing here depends on a host.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


OCI_VERSION = "1.0.2"
"""The lowest that has all that is written here, so that older runtimes take it too."""

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

NAMESPACES = ("pid", "network", "ipc", "uts", "mount", "cgroup")

SHM = "/dev/shm"  # noqa: S108  a path in the container

MOUNTS: tuple[tuple[str, str, str, tuple[str, ...]], ...] = (
    ("/proc", "proc", "proc", ("nosuid", "noexec", "nodev")),
    ("/dev", "tmpfs", "tmpfs", ("nosuid", "strictatime", "mode=755", "size=65536k")),
    (
        "/dev/pts",
        "devpts",
        "devpts",
        ("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"),
    ),
    (SHM, "tmpfs", "shm", ("nosuid", "noexec", "nodev", "mode=1777", "size=65536k")),
    ("/dev/mqueue", "mqueue", "mqueue", ("nosuid", "noexec", "nodev")),
    ("/sys", "sysfs", "sysfs", ("nosuid", "noexec", "nodev", "ro")),
    ("/sys/fs/cgroup", "cgroup", "cgroup", ("nosuid", "noexec", "nodev", "relatime", "ro")),
)
"""Destination, type, source, options; in the order that they are made."""

MASKED_PATHS = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
)
READONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")

OPEN_FILES = 1024

SCRATCH_OPTIONS = ("nosuid", "nodev", "tmpcopyup")
"""Of a volume without a source: fresh for every run, seeded with what the image has there."""

SCRATCH_OWNER = (0o755, 0, 0)
"""Mode, uid and gid of such a volume where the image has no directory of that name."""


def default_mounts() -> list[dict[str, Any]]:
    return [
        {"destination": destination, "type": kind, "source": source, "options": list(options)}
        for destination, kind, source, options in MOUNTS
    ]
