"""The fenced blocks of a Markdown page, and what the page says a test should do with them.

A mark is a comment in the line above a block:

    <!-- file: NAME -->        the block's text becomes that file in the page's folder
    <!-- syntax only: WHY -->  parsed and not executed, and why
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

FENCE = re.compile(r"^(?P<indent> *)(?P<fence>`{3,})(?P<language>[\w-]*)(?P<rest>.*)$")
MARK = re.compile(r"^ *<!-- (?P<word>file|syntax only): (?P<value>.+?) -->$")


class Block(NamedTuple):
    """``line`` is that of the opening fence, from 1."""

    page: Path
    line: int
    language: str
    text: str
    file: str
    syntax_only: str

    @property
    def place(self) -> str:
        return f"{self.page.name}:{self.line}"


class Command(NamedTuple):
    """One command of a console block, and the lines that the page shows of its output."""

    text: str
    shown: tuple[str, ...]


def blocks_of(page: Path) -> list[Block]:
    """Every fenced block of a page, in order."""
    lines = page.read_text("utf-8").splitlines()
    found: list[Block] = []
    at = 0
    while at < len(lines):
        opening = FENCE.match(lines[at])
        if not opening or opening["rest"].strip().startswith("`"):
            at += 1
            continue
        end = at + 1
        while lines[end].strip() != opening["fence"]:
            end += 1
        indent = len(opening["indent"])
        above = [MARK.match(line) for line in lines[max(0, at - 2) : at]]
        marks = {mark["word"]: mark["value"] for mark in above if mark}
        found.append(
            Block(
                page=page,
                line=at + 1,
                language=opening["language"],
                text="\n".join(line[indent:] for line in lines[at + 1 : end]) + "\n",
                file=marks.get("file", ""),
                syntax_only=marks.get("syntax only", ""),
            )
        )
        at = end + 1
    return found


def commands_of(text: str) -> list[Command]:
    """The commands of a console block; a line that ends in a backslash goes on."""
    found: list[Command] = []
    continues = False
    for line in text.splitlines():
        if continues:
            found[-1] = found[-1]._replace(text=f"{found[-1].text}\n{line}")
        elif line.startswith("$ "):
            # What stands behind two spaces and a hash is for the reader.
            found.append(Command(line[2:], ()))
        else:
            assert found, f"output before any command: {line}"
            found[-1] = found[-1]._replace(shown=(*found[-1].shown, line))
            continue
        continues = line.endswith("\\")
    return found


def agrees(shown: str, line: str) -> bool:
    """Whether a line of output is what a page shows, where … stands for anything.

    >>> agrees("built in … ms", "built in 12 ms"), agrees("a", "b")
    (True, False)
    """
    parts = (re.escape(part) for part in shown.strip().split("…"))
    return re.fullmatch(".*".join(parts), line.strip()) is not None
