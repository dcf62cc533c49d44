"""Whether a container still runs from a tree that has been replaced."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from .mounts import unescape

LOWER = "lower"
"""In a container's directory: a link to the tree that it runs from."""


def is_in_use(tree: Path, origin: Path, containers: Path | None) -> bool:
    """``tree`` stands where it was moved to, ``origin`` is the name that it was started under.

    Seen are our own containers, overlays above the tree, and binds of it, in every mount
    namespace that this user may look into.
    """
    if containers is not None and _has_container(origin, containers):
        return True
    names = {os.fsencode(os.path.realpath(path)) for path in (tree, origin)}
    inside = _inside_its_file_system(tree)
    return any(
        _is_lower(line, names) or _is_bind(line, *inside)
        for table in _tables()
        for line in table.splitlines()
    )


def _has_container(origin: Path, containers: Path) -> bool:
    """A link that names the tree, in a directory whose lock somebody holds."""
    names = {str(origin), os.path.realpath(origin)}
    with suppress(OSError):
        for box in containers.iterdir():
            with suppress(OSError):
                if os.readlink(box / LOWER) in names and _is_held(
                    box.with_name(box.name + ".lock")
                ):
                    return True
    return False


def trees_of(containers: Path) -> Iterator[Path]:
    """The trees that containers run from, or ran from and still have their directory."""
    with suppress(OSError):
        for box in containers.iterdir():
            with suppress(OSError):
                yield Path(os.readlink(box / LOWER))


def _is_held(lock: Path) -> bool:
    fd = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def _tables() -> Iterator[bytes]:
    """The mount table of every mount namespace that can be seen."""
    seen = set()
    for pid in ["self", *filter(str.isdigit, os.listdir("/proc"))]:
        try:
            namespace = os.readlink(f"/proc/{pid}/ns/mnt")
            if namespace in seen:
                continue
            with open(f"/proc/{pid}/mountinfo", "rb") as file:
                table = file.read()
        except OSError:
            continue
        seen.add(namespace)
        yield table


def _is_lower(line: bytes, names: set[bytes]) -> bool:
    options = line.rpartition(b" ")[2]
    if b"lowerdir" not in options:
        return False
    for option in options.split(b","):
        key, _, value = option.partition(b"=")
        if key.startswith(b"lowerdir") and names.intersection(unescape(value).split(b":")):
            return True
    return False


def _inside_its_file_system(tree: Path) -> tuple[bytes, bytes]:
    """Device and path of a tree as mountinfo's third and fourth fields have them."""
    path = os.fsencode(os.path.realpath(tree))
    best, device, root = b"", b"", b""
    with open("/proc/self/mountinfo", "rb") as file:
        for line in file:
            fields = line.split(b" ")
            point = unescape(fields[4])
            prefix = point.rstrip(b"/") + b"/"
            if (path + b"/").startswith(prefix) and len(point) >= len(best):
                best, device, root = point, fields[2], unescape(fields[3])
    rest = path[len(best.rstrip(b"/")) :]
    return device, root.rstrip(b"/") + rest


def _is_bind(line: bytes, device: bytes, inside: bytes) -> bool:
    fields = line.split(b" ")
    if len(fields) < 5 or fields[2] != device:
        return False
    root = unescape(fields[3])
    return root == inside or root.startswith(inside + b"/")
