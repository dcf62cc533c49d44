"""A file system that lacks something, for one command: the kernel refuses the calls.

A filter (seccomp) answers in place of the file system, with the error that one without the ability
gives: NFS, CIFS, FAT and what FUSE brings lack different things. Children are under it too.

    python -m tests.support.refusing "hard links; extended attributes" -- COMMAND...
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys

LACKING: dict[str, tuple[int, tuple[str, ...]]] = {
    "hard links": (errno.EPERM, ("link", "linkat")),
    "hard links, as CIFS says it": (errno.EOPNOTSUPP, ("link", "linkat")),
    "extended attributes": (
        errno.EOPNOTSUPP,
        ("setxattr", "lsetxattr", "fsetxattr", "getxattr", "lgetxattr", "fgetxattr",
         "listxattr", "llistxattr", "flistxattr", "removexattr", "lremovexattr", "fremovexattr"),
    ),
    "locks": (errno.ENOLCK, ("flock",)),
    "owners": (errno.EPERM, ("chown", "lchown", "fchown", "fchownat")),
    "special files": (errno.EPERM, ("mknod", "mknodat")),
    "symbolic links": (errno.EPERM, ("symlink", "symlinkat")),
    "modes": (errno.EPERM, ("chmod", "fchmod", "fchmodat")),
    "clones": (errno.EOPNOTSUPP, ("copy_file_range",)),
    "a way to rename without replacing": (errno.EINVAL, ("renameat2",)),
}  # fmt: skip
"""What may be lacking: the error, and the calls that end in it."""

NUMBERS = {
    "x86_64": {
        "link": 86, "linkat": 265, "setxattr": 188, "lsetxattr": 189, "fsetxattr": 190,
        "getxattr": 191, "lgetxattr": 192, "fgetxattr": 193, "listxattr": 194, "llistxattr": 195,
        "flistxattr": 196, "removexattr": 197, "lremovexattr": 198, "fremovexattr": 199,
        "flock": 73, "chown": 92, "fchown": 93, "lchown": 94, "fchownat": 260, "mknod": 133,
        "mknodat": 259, "symlink": 88, "symlinkat": 266, "chmod": 90, "fchmod": 91,
        "fchmodat": 268, "copy_file_range": 326, "renameat2": 316,
    },
    "aarch64": {
        "linkat": 37, "setxattr": 5, "lsetxattr": 6, "fsetxattr": 7, "getxattr": 8,
        "lgetxattr": 9, "fgetxattr": 10, "listxattr": 11, "llistxattr": 12, "flistxattr": 13,
        "removexattr": 14, "lremovexattr": 15, "fremovexattr": 16, "flock": 32, "fchown": 55,
        "fchownat": 54, "mknodat": 33, "symlinkat": 36, "fchmod": 52, "fchmodat": 53,
        "copy_file_range": 285,
    },
}  # fmt: skip
"""System calls by machine. renameat2 is the only rename on aarch64, and stays."""

LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, ERRNO = 0x7FFF0000, 0x00050000
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, FILTER = 38, 22, 2


def refuse(lacking: list[str]) -> None:
    """From here on, in this process and its children. Spec: seccomp(2)."""
    numbers = NUMBERS[platform.machine()]
    code = [(LOAD, 0, 0, 0)]
    for name in lacking:
        error, calls = LACKING[name]
        for call in calls:
            if call in numbers:
                code += [(EQUAL, 0, 1, numbers[call]), (RETURN, 0, 0, ERRNO | error)]
    code.append((RETURN, 0, 0, ALLOW))
    program = b"".join(struct.pack("HBBI", *each) for each in code)
    buffer = ctypes.create_string_buffer(program)
    header = struct.pack("HxxxxxxP", len(code), ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    for words in (
        (PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
        (PR_SET_SECCOMP, FILTER, ctypes.create_string_buffer(header), 0, 0),
    ):
        if libc.prctl(*words):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


if __name__ == "__main__":
    refuse(sys.argv[1].split("; "))
    os.execv(sys.argv[3], sys.argv[3:])
