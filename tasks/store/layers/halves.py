"""Split a tree of names between two processes: what the second one writes, and who says what."""

from __future__ import annotations

import gc
import heapq
import json
import os
from collections.abc import Callable

from ...errors import StoreError
from .crew import error_from_json, error_to_json
from .materialise import OPEN_DIRECTORY, AlteredLayer
from .merge import Directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

MOST_SUBTREES = 64
"""Each is an open directory while the other process starts."""

WORTH_GIVING = 50
"""Names below which a subtree is not given away."""


def weights(root: Directory) -> dict[int, int]:
    """How many names there are in each directory of a tree and below, by the object's id."""
    order = [root]
    for directory in order:
        order.extend(x for x in directory.children.values() if isinstance(x, Directory))
    found: dict[int, int] = {}
    for directory in reversed(order):
        children = directory.children
        found[id(directory)] = len(children) + sum(
            found[id(x)] for x in children.values() if isinstance(x, Directory)
        )
    return found


def subtrees(root: Directory, share: float) -> list[tuple[bytes, Directory]]:
    """Disjoint subtrees that hold about ``share`` (0 to 1) of a tree's names, with their paths."""
    weight = weights(root)
    left = weight[id(root)] * share
    chosen: list[tuple[bytes, Directory]] = []
    heaviest = [(-weight[id(root)], b"", root)]
    while heaviest and len(chosen) < MOST_SUBTREES:
        negative, path, directory = heapq.heappop(heaviest)
        if -negative < WORTH_GIVING:
            break
        if path and -negative <= left:
            chosen.append((path, directory))
            left += negative
            continue
        for name, child in directory.children.items():
            if isinstance(child, Directory):
                inner = path + b"/" + name if path else name
                heapq.heappush(heaviest, (-weight[id(child)], inner, child))
    return chosen


def make_spine(root: Directory, fd: int, paths: list[bytes]) -> tuple[set[int], list[int]]:
    """Make the directories that lead to ``paths``, below the open ``fd``.

    Returns which were made, by the id of their nodes, and a descriptor for each path.
    """
    made: set[int] = set()
    opened = []
    for path in paths:
        node, place = root, os.dup(fd)
        for name in path.split(b"/"):
            found = node.children[name]
            assert isinstance(found, Directory), "a subtree's path leads through directories"
            node = found
            if id(node) not in made:
                os.mkdir(name, 0o700, dir_fd=place)
                made.add(id(node))
            above, place = place, os.open(name, OPEN_DIRECTORY, dir_fd=place)
            os.close(above)
        opened.append(place)
    return made, opened


class Other:
    """A forked child that does ``work``; what ``work`` returns must be JSON.

    Only for a process that has no threads. ``answer`` is a path for the child's answer.
    """

    def __init__(self, work: Callable[[], Any], answer: Path) -> None:
        self._answer = answer
        self._pid = os.fork()
        if self._pid == 0:
            status = 1
            try:
                # A look for garbage would write to every page, and so have a copy of each.
                gc.disable()
                answer.write_text(json.dumps(_attempt(work)))
                status = 0
            finally:
                os._exit(status)

    def result(self) -> Any:
        """Wait, and return what ``work`` returned. Raises: what it raised."""
        if self._pid:
            pid, self._pid = self._pid, 0
            if os.waitpid(pid, 0)[1]:
                raise StoreError(
                    "a worker process died",
                    subject="unpacking",
                    hint="was it killed for lack of memory? Try again.",
                )
        kind, value = json.loads(self._answer.read_bytes())
        if kind == "altered":
            raise AlteredLayer(value)
        if kind == "error":
            raise error_from_json(value)
        return value

    def close(self) -> None:
        """Wait for the child where nobody wants its result any more."""
        if self._pid:
            os.waitpid(self._pid, 0)
            self._pid = 0


def _attempt(work: Callable[[], Any]) -> tuple[str, Any]:
    try:
        return "result", work()
    except AlteredLayer as altered:
        return "altered", altered.position
    except Exception as error:  # noqa: BLE001  the parent raises it again
        return "error", error_to_json(error)
