"""JSON in which every named entry stands on a line of its own, so that one can be read alone.

    {
    "format": 2,
    "images names": ["a", "b"],
    "images": {
    "a": {…},
    "b": {…}
    }}

Ten thousand entries take a tenth of a second and a hundred megabytes as objects; one takes a
search through their bytes. A newline inside a JSON text is always escaped, so that a line's
beginning is never inside of one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from ..errors import DeclarationError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Named = Mapping[str, Any]
else:
    Named = Mapping


def to_lines(head: Mapping[str, Any], sections: Mapping[str, Mapping[str, Any]]) -> bytes:
    """Write the items of ``head``, a line each, and then the sections."""
    items = {**head, **{f"{key} names": list(found) for key, found in sections.items()}}
    lines = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in items.items()]
    for key, found in sections.items():
        inside = ",\n".join(
            f"{json.dumps(name)}: {json.dumps(entry)}" for name, entry in found.items()
        )
        lines.append(f"{json.dumps(key)}: {{\n{inside}\n}}")
    return ("{\n" + ",\n".join(lines) + "}\n").encode()


FEW = 16
"""So many entries are searched for one by one; whoever asks for more gets all of them read."""


class Lines:
    """What :func:`to_lines` wrote; asking for what is not there is a KeyError."""

    __slots__ = ("content",)

    def __init__(self, content: bytes) -> None:
        self.content = content

    def __getitem__(self, key: str) -> Any:
        """An item of the head."""
        return _entry(self.content, key, 0, len(self.content))

    def begins_with(self, head: Mapping[str, Any]) -> bool:
        """Whether these are the first items of the head: cheaper than to read a long one."""
        lines = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in head.items()]
        return self.content.startswith(("{\n" + ",\n".join(lines) + ",\n").encode())

    def section(self, key: str) -> Section:
        start = self.content.find(f"\n{json.dumps(key)}: {{\n".encode())
        end = self.content.find(b"\n}", start)
        if start < 0 or end < 0:
            raise KeyError(key)
        return Section(self, key, self.content.index(b"{\n", start) + 1, end)


class Section(Named):
    """Entries by name, each read when it is asked for, or all of them where many are."""

    __slots__ = ("_all", "_asked", "_end", "_key", "_lines", "_start")

    def __init__(self, lines: Lines, key: str, start: int, end: int) -> None:
        self._lines, self._key, self._start, self._end = lines, key, start, end
        self._all: dict[str, Any] | None = None
        self._asked = 0

    def __getitem__(self, name: str) -> Any:
        if self._are_many():
            return self.read_all()[name]
        return _entry(self._lines.content, name, self._start, self._end)

    def __contains__(self, name: object) -> bool:
        if self._are_many():
            return name in self.read_all()
        content = self._lines.content
        return isinstance(name, str) and _place(content, name, self._start, self._end) >= 0

    def __iter__(self) -> Iterator[str]:
        return iter(self._lines[f"{self._key} names"])

    def __len__(self) -> int:
        return len(self._lines[f"{self._key} names"])

    def one_by_one(self) -> Iterator[tuple[str, Any]]:
        """Every name and entry, none of which is kept."""
        content, at = self._lines.content, self._start + 1
        while at < self._end:
            stop = content.find(b"\n", at, self._end)
            stop = self._end if stop < 0 else stop
            if line := content[at:stop].rstrip(b","):
                yield from _read(b"{" + line + b"}", self._key).items()
            at = stop + 1

    def _are_many(self) -> bool:
        self._asked += 1
        return self._all is not None or self._asked > FEW

    def read_all(self) -> dict[str, Any]:
        if self._all is None:
            text = self._lines.content[self._start : self._end]
            self._all = dict(_read(b"{" + text + b"}", self._key))
        return self._all


def each_entry(entries: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Names and entries of a section, or of any mapping; of a section at most one is in memory."""
    yield from entries.one_by_one() if isinstance(entries, Section) else entries.items()


def _place(content: bytes, key: str, start: int, end: int) -> int:
    """Where the value of the line of that key begins, or -1."""
    wanted = f"\n{json.dumps(key)}: ".encode()
    at = content.find(wanted, start, end)
    return at if at < 0 else at + len(wanted)


def _entry(content: bytes, key: str, start: int, end: int) -> Any:
    at = _place(content, key, start, end)
    if at < 0:
        raise KeyError(key)
    stop = content.find(b"\n", at, end)
    return _read(content[at : end if stop < 0 else stop].rstrip(b","), key)


def _read(text: bytes, key: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as cause:
        raise DeclarationError(
            "is damaged in what was written for a quick start",
            subject=key,
            hint="delete images.json and lock.json in the state directory: they are made anew",
        ) from cause
