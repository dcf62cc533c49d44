"""The graph as a text tree: what a target needs stands below it, in the way of ``cargo tree``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...figures import short_digest
from ..why import CURRENT, Finding

LINES = ("├── ", "│   ", "└── ", "    ")
PLAIN_LINES = ("|-- ", "|   ", "`-- ", "    ")


def draw_tree(findings: Sequence[Finding], *, plain: bool = False) -> str:
    """``plain`` uses ASCII only. What stands elsewhere already is marked (*)."""
    by_title = {finding.title: finding for finding in findings}
    needed = {title for finding in findings for title in finding.needs}
    tree = Tree(by_title, PLAIN_LINES if plain else LINES)
    rows = [row for each in findings if each.title not in needed for row in tree.rows(each)]
    width = max((len(head) for head, _, _ in rows), default=0)
    return "".join(
        f"{head:<{width}}  {'(*)' if again else _said(finding)}\n" for head, finding, again in rows
    )


def _said(finding: Finding) -> str:
    return finding.state if finding.state == CURRENT else f"{finding.state}: {finding.words[0]}"


class Tree:
    """``lines`` are what stands before a branch, beside one, before the last, and below that."""

    def __init__(self, by_title: dict[str, Finding], lines: tuple[str, str, str, str]) -> None:
        self._by_title, self._lines = by_title, lines
        self._seen: set[str] = set()

    def rows(
        self, finding: Finding, head: str = "", below: str = ""
    ) -> Iterator[tuple[str, Finding, bool]]:
        """Text, finding, and whether it was drawn before."""
        step, colon, name = finding.title.partition(":")
        again = finding.title in self._seen
        yield f"{head}{step}{colon}{short_digest(name)}", finding, again
        if again:
            return
        self._seen.add(finding.title)
        branch, bar, last, blank = self._lines
        for place, need in enumerate(finding.needs):
            ends = place == len(finding.needs) - 1
            yield from self.rows(
                self._by_title[need],
                below + (last if ends else branch),
                below + (blank if ends else bar),
            )
