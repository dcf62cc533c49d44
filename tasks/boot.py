"""Boot: which start of the machine this is.

Trees are not synced to the disk: that would take a third of the time of making them. What was made
in another boot than this one is therefore read back before it is trusted, once: power may have been
cut while its bytes were still in memory.
"""

from __future__ import annotations

import os

FILE = "/proc/sys/kernel/random/boot_id"

READ_BACK = ""
"""In place of a boot: it was read from the disk in a later one, so it is there for good."""


def boot_id() -> str:
    """A text for this boot; where the kernel says none, all is taken for read back."""
    try:
        fd = os.open(FILE, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return READ_BACK
    try:
        return os.read(fd, 64).decode("ascii", "replace").strip()
    finally:
        os.close(fd)


def is_sure(boot: object) -> bool:
    """Whether no power cut can have touched what was made in ``boot``."""
    return boot in (READ_BACK, boot_id())
