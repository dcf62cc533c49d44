"""The filter of system calls. Spec: runtime-spec 1.2 config-linux.md, "Seccomp"."""

from __future__ import annotations

from collections.abc import Iterable

from .seccomp_table import (
    ALLOWED,
    ALLOWED_ON,
    ALLOWED_WITH,
    ARCHITECTURES,
    PERSONALITIES,
    REFUSED,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

EPERM, EINVAL, ENOSYS = 1, 22, 38
AF_NETLINK, NETLINK_AUDIT = 16, 9
ALLOW, ERRNO = "SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO"


def default_profile(architecture: str, capabilities: Iterable[str]) -> dict[str, Any] | None:
    """The profile for an image's architecture and the capabilities that its process may have.

    A call that no rule names fails as though the kernel had none, so that programs fall back to
    what they know; one that is refused on purpose fails with EPERM. None where the runtimes'
    library has no filter for the architecture.
    """
    known = ARCHITECTURES.get(architecture)
    if known is None:
        return None
    held = set(capabilities)
    allowed = set(ALLOWED) | set(ALLOWED_ON.get(architecture, ()))
    refused = set(REFUSED)
    for capability, names in ALLOWED_WITH.items():
        (allowed if capability in held else refused).update(names)
    rules: list[dict[str, Any]] = [
        {"names": sorted(allowed), "action": ALLOW},
        {"names": sorted(refused - allowed), "action": ERRNO, "errnoRet": EPERM},
    ]
    rules += [
        {"names": ["personality"], "action": ALLOW, "args": [_equal(0, value)]}
        for value in PERSONALITIES
    ]
    rules += _socket_rules("CAP_AUDIT_WRITE" in held)
    return {
        "defaultAction": ERRNO,
        "defaultErrnoRet": ENOSYS,
        "architectures": list(known),
        "syscalls": rules,
    }


def _socket_rules(may_audit: bool) -> list[dict[str, Any]]:
    """Every socket, but the kernel's audit socket only for those who may write to it."""
    if may_audit:
        return [{"names": ["socket"], "action": ALLOW}]
    audit = [_equal(0, AF_NETLINK), _equal(2, NETLINK_AUDIT)]
    return [
        {"names": ["socket"], "action": ERRNO, "errnoRet": EINVAL, "args": audit},
        *(
            {"names": ["socket"], "action": ALLOW, "args": [_other(index, value)]}
            for index, value in ((0, AF_NETLINK), (2, NETLINK_AUDIT))
        ),
    ]


def _equal(index: int, value: int) -> dict[str, Any]:
    return {"index": index, "value": value, "op": "SCMP_CMP_EQ"}


def _other(index: int, value: int) -> dict[str, Any]:
    return {"index": index, "value": value, "op": "SCMP_CMP_NE"}
