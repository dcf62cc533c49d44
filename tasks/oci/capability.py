"""Linux capabilities: their names, and what cap_add and cap_drop make of the default set.

Spec: capabilities(7); runtime-spec 1.2 config.md, "capabilities"; Compose "cap_add", "cap_drop".
"""

from __future__ import annotations

from collections.abc import Iterable

CAPABILITIES = (
    "CAP_AUDIT_CONTROL",
    "CAP_AUDIT_READ",
    "CAP_AUDIT_WRITE",
    "CAP_BLOCK_SUSPEND",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_KILL",
    "CAP_LEASE",
    "CAP_LINUX_IMMUTABLE",
    "CAP_MAC_ADMIN",
    "CAP_MAC_OVERRIDE",
    "CAP_MKNOD",
    "CAP_NET_ADMIN",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_RAW",
    "CAP_PERFMON",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYSLOG",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_CHROOT",
    "CAP_SYS_MODULE",
    "CAP_SYS_NICE",
    "CAP_SYS_PACCT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_WAKE_ALARM",
)
DEFAULT_CAPABILITIES = ("CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE")
"""Those of ``runc spec``."""

ALL = "ALL"


def parse_capability(text: str) -> str | None:
    """``net_admin``, ``NET_ADMIN`` and ``CAP_NET_ADMIN`` are one; None where it is none.

    >>> parse_capability("net_admin")
    'CAP_NET_ADMIN'
    """
    name = text.strip().upper()
    if name in (ALL, "CAP_ALL"):
        return ALL
    name = name if name.startswith("CAP_") else f"CAP_{name}"
    return name if name in CAPABILITIES else None


def effective_capabilities(added: Iterable[str], dropped: Iterable[str]) -> list[str]:
    """The sorted set that remains: ``ALL`` first, then the single names, added over dropped.

    >>> effective_capabilities(["CAP_CHOWN"], ["ALL"])
    ['CAP_CHOWN']
    """
    add, drop = set(added), set(dropped)
    if ALL in add:
        return sorted(set(CAPABILITIES) - drop)
    kept = set() if ALL in drop else set(DEFAULT_CAPABILITIES) - drop
    return sorted(kept | add)
