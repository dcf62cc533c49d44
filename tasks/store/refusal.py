"""What to do about what an operating system refuses: one table for the whole store."""

from __future__ import annotations

import errno

FULL = (errno.ENOSPC, errno.EDQUOT)

ANOTHER_STATE = "choose another state directory with --dir"
ANOTHER_PLACE = "choose another place"

LACKS = "its file system lacks links, modes, owners or the like (FAT, some network shares);"
HINTS = {
    errno.ENOSPC: "free some space or inodes (`doit gc`), or",
    errno.EDQUOT: "free some space in your quota (`doit gc`), or",
    errno.EROFS: "the file system is read-only;",
    errno.EACCES: "it belongs to someone else;",
    errno.EPERM: f"it belongs to someone else, or {LACKS}",
    errno.ENOLCK: "its file system has no locks; mount it with them, or",
    errno.ENOSYS: LACKS,
    errno.EOPNOTSUPP: LACKS,
}


def hint_for(problem: OSError, otherwise: str) -> str | None:
    """The next action; ``otherwise`` is the one that helps against all of these."""
    found = HINTS.get(problem.errno or 0)
    return f"{found} {otherwise}" if found else None
