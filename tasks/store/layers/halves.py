"""Choose about half of a large tree, to be written by a second process beside the first.

What is chosen are whole directories; they are written apart, and renamed into the tree before the
directories above them get their metadata.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

from .merge import Directory

WORTH_TWO = 10_000
"""Names below which a second process costs more than it saves."""

SMALLEST_SHARE = 50
"""A directory with less than this part of the names is not worth a choice."""


@dataclass(frozen=True, slots=True)
class Choice:
    """``chosen`` directories with their paths, and the directories ``above`` them."""

    chosen: tuple[tuple[bytes, Directory], ...] = ()
    above: tuple[tuple[bytes, Directory], ...] = ()


def choose_half(root: Directory) -> Choice:
    """Whole directories with about half of all names; none in a small tree."""
    sizes = _sizes(root)
    total = sizes[id(root)]
    if total < WORTH_TWO:
        return Choice()
    wanted = total // 2
    heap = [(-total, b"", root)]
    chosen = []
    while heap:
        size, path, directory = heapq.heappop(heap)
        if directory is not root and -size <= wanted:
            chosen.append((path, directory))
            wanted += size
            continue
        for name, child in directory.children.items():
            if isinstance(child, Directory) and sizes[id(child)] * SMALLEST_SHARE > total:
                inner = path + b"/" + name if path else name
                heapq.heappush(heap, (-sizes[id(child)], inner, child))
    return Choice(tuple(chosen), _above(root, chosen))


def _sizes(root: Directory) -> dict[int, int]:
    """Names at and below each directory."""
    order = [root]
    for directory in order:
        order.extend(x for x in directory.children.values() if isinstance(x, Directory))
    sizes: dict[int, int] = {}
    for directory in reversed(order):
        inner = (sizes[id(x)] for x in directory.children.values() if isinstance(x, Directory))
        sizes[id(directory)] = len(directory.children) + sum(inner)
    return sizes


def _above(
    root: Directory, chosen: list[tuple[bytes, Directory]]
) -> tuple[tuple[bytes, Directory], ...]:
    """Every directory on the way to a chosen one, the deepest first."""
    found = {b"": root}
    for path, _ in chosen:
        place, names = root, path.split(b"/")
        for count, name in enumerate(names[:-1], 1):
            child = place.children[name]
            assert isinstance(child, Directory), "a chosen directory has directories above it"
            place = found[b"/".join(names[:count])] = child
    return tuple(sorted(found.items(), key=lambda pair: -(pair[0].count(b"/") + bool(pair[0]))))
