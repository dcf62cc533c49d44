"""The Linux calls that Python does not offer on every version we support.

Imported by the run path, where each millisecond counts: nothing but ctypes and os.
"""

from __future__ import annotations

import ctypes
import os

CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY = 0x1
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_REMOUNT = 0x20
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 0x40000
MS_SLAVE = 0x80000
MNT_DETACH = 0x2

PR_SET_PDEATHSIG = 1
SYS_PIDFD_GETFD = 438  # one number on every architecture that Linux got since 5.6
X32_GETPID = 0x40000000 + 39

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mount.argtypes = (
    ctypes.c_char_p,
    ctypes.c_char_p,
    ctypes.c_char_p,
    ctypes.c_ulong,
    ctypes.c_char_p,
)


def _check(result: int, call: str, subject: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}", subject)


def mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    """mount(2)."""
    result = _libc.mount(
        os.fsencode(source), os.fsencode(target), kind.encode(), flags, os.fsencode(data)
    )
    _check(result, "mount", target)


def pivot_root(new_root: str, put_old: str) -> None:
    """pivot_root(2)."""
    _check(_libc.pivot_root(os.fsencode(new_root), os.fsencode(put_old)), "pivot_root", new_root)


def detach_mount(target: str) -> None:
    """umount2(2): out of sight at once, gone when nobody uses it."""
    _check(_libc.umount2(os.fsencode(target), MNT_DETACH), "umount2", target)


def unshare(flags: int) -> None:
    """unshare(2)."""
    _check(_libc.unshare(flags), "unshare", "")


def join_namespace(descriptor: int, kind: int) -> None:
    """setns(2); ``kind`` is one of the CLONE_NEW flags."""
    _check(_libc.setns(descriptor, kind), "setns", "")


def die_with_parent(signal_number: int) -> None:
    """Have the kernel send a signal when the thread that started this process ends."""
    _check(_libc.prctl(PR_SET_PDEATHSIG, signal_number, 0, 0, 0), "prctl", "")


def runs_x32() -> bool:
    """Whether this kernel has the x32 ABI; not to be asked below a filter, which might kill us."""
    return int(_libc.syscall(X32_GETPID)) > 0


def copy_descriptor(process: int, descriptor: int) -> int:
    """pidfd_getfd(2): another process's open file, as a descriptor of our own."""
    handle = os.pidfd_open(process)
    try:
        copied = int(_libc.syscall(SYS_PIDFD_GETFD, handle, descriptor, 0))
    finally:
        os.close(handle)
    _check(min(copied, 0), "pidfd_getfd", "")
    return copied
