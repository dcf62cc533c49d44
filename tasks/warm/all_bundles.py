"""The record of all bundles: by it, a build of everything is known to have nothing to do.

One line of JSON (what it is of, the signatures of the files that people edit, and the groups of
names), then three numbers for each name of each group, in order: inode, size and time of change.
A vanished, cut or replaced output differs in one of them. Ten thousand bundles are over a hundred
thousand names: each is looked up from its own folder, and half of them by a second process.

This module is read at every start: it imports nothing that Python has not loaded anyway, but
json and array.
"""

from __future__ import annotations

import os

from ..boot import boot_id
from .bundle import VERSION, signature

TYPE_CHECKING = False
if TYPE_CHECKING:
    from array import array
    from collections.abc import Sequence
    from typing import Any, NamedTuple

    class Group(NamedTuple):
        """``ending`` follows each of ``names`` in ``folder``, which is below the state directory;
        of a ``place`` only the inode counts: what happens inside a tree is no other tree."""

        folder: str
        ending: str
        names: Sequence[str]
        place: bool


MANY = 20_000
"""Names from which on a second process pays: starting it costs about a millisecond."""
NUMBERS = 3
"""For each name."""


def marks(state: str, folder: str, names: Sequence[str], ending: str, place: bool) -> array[int]:
    """The numbers of some names of a group. Raises: OSError where one is not there."""
    from array import array

    found = array("Q")
    add, stat = found.append, os.stat
    descriptor = os.open(f"{state}/{folder}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for name in names:
            seen = stat(name + ending, dir_fd=descriptor)
            add(seen.st_ino)
            if place:
                add(0)
                add(0)
            else:
                add(seen.st_size)
                add(seen.st_ctime_ns)
    finally:
        os.close(descriptor)
    return found


def is_unchanged(path: str, state: str) -> bool:
    """Whether the record at ``path`` is of this folder, and everything it rests on is as it was."""
    import json
    from array import array

    try:
        with open(path, "rb") as file:
            head = json.loads(file.readline())
            known = array("Q", file.read())
        if head["version"] != VERSION or head["cwd"] != os.getcwd():
            return False
        if head["boot"] != boot_id():
            return False
        if any(signature(name) != signed for name, signed in head["files"].items()):
            return False
        groups = [(folder, ending, head["names"][names], place)
                  for folder, ending, names, place in head["groups"]]  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError):
        return False
    if sum(len(names) for _, _, names, _ in groups) * NUMBERS != len(known):
        return False
    return _all_as_known(state, groups, known)


def _all_as_known(state: str, groups: list[Any], known: array[int]) -> bool:
    if len(known) < MANY * NUMBERS or (os.cpu_count() or 1) < 2:
        return _as_known(state, groups, known, 0, 1)
    try:
        child = os.fork()
    except OSError:
        return _as_known(state, groups, known, 0, 1)
    if not child:
        try:
            os._exit(0 if _as_known(state, groups, known, 1, 2) else 1)
        finally:
            os._exit(1)
    same = _as_known(state, groups, known, 0, 2)
    return os.waitpid(child, 0)[1] == 0 and same


def _as_known(state: str, groups: list[Any], known: array[int], part: int, parts: int) -> bool:
    """Compare one of so many equal parts of every group."""
    start = 0
    for folder, ending, names, place in groups:
        first, last = len(names) * part // parts, len(names) * (part + 1) // parts
        try:
            found = marks(state, folder, names[first:last], ending, place)
        except OSError:
            return False
        if found != known[start + first * NUMBERS : start + last * NUMBERS]:
            return False
        start += len(names) * NUMBERS
    return True
