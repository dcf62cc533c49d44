"""Which line of images.toml a place in it stands on.

A small scanner of our own: tomllib and tomlkit keep no lines. It runs only when there is
something to report, after tomllib has accepted the text, so it may take the grammar for granted.
Spec: TOML 1.0.
"""

from __future__ import annotations

from collections.abc import Mapping

Path = tuple[str | int, ...]

BARE = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")


class Lines:
    """Line numbers, from 1, by path."""

    def __init__(self, found: Mapping[Path, int]) -> None:
        self._found = found

    def find(self, path: Path) -> int:
        """The line of that place, or of the nearest thing that contains it."""
        for depth in range(len(path), 0, -1):
            line = self._found.get(path[:depth])
            if line:
                return line
        return 1


def lines_of(text: str) -> Lines:
    """Scan a text that is known to be valid TOML."""
    scanner = _Scanner(text.replace("\r\n", "\n"))
    scanner.document()
    return Lines(scanner.found)


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.line = 1
        self.found: dict[Path, int] = {}
        self.counts: dict[Path, int] = {}

    def peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def step(self, count: int = 1) -> None:
        self.line += self.text.count("\n", self.at, self.at + count)
        self.at += count

    def skip(self, also: str = "") -> None:
        """Over blanks, and over the letters of ``also``, and over comments if it has a newline."""
        while self.peek() and (
            self.peek() in " \t" + also or ("\n" in also and self.peek() == "#")
        ):
            if self.peek() == "#":
                self.comment()
            else:
                self.step()

    def comment(self) -> None:
        end = self.text.find("\n", self.at)
        self.at = len(self.text) if end < 0 else end

    def mark(self, path: Path) -> None:
        for depth in range(1, len(path) + 1):
            self.found.setdefault(path[:depth], self.line)

    def document(self) -> None:
        table: Path = ()
        self.skip("\n")
        while self.peek():
            if self.peek() == "[":
                table = self.header()
            else:
                self.pair(table)
            self.skip("\n")

    def header(self) -> Path:
        several = self.text.startswith("[[", self.at)
        self.step(2 if several else 1)
        self.skip()
        keys = self.key()
        path = self.resolve(keys if not several else keys[:-1])
        if several:
            path = (*path, keys[-1])
            self.counts[path] = self.counts.get(path, -1) + 1
            self.found.setdefault(path, self.line)
            path = (*path, self.counts[path])
        self.mark(path)
        self.found[path] = self.line
        self.skip()
        self.step(2 if several else 1)
        return path

    def resolve(self, keys: tuple[str, ...]) -> Path:
        """A header's path, with the number of the last item of every array of tables on the way."""
        path: Path = ()
        for key in keys:
            path = (*path, key)
            if path in self.counts:
                path = (*path, self.counts[path])
        return path

    def pair(self, table: Path) -> None:
        path = (*table, *self.key())
        self.mark(path)
        self.found[path] = self.line
        self.skip()
        self.step()
        self.skip()
        self.value(path)

    def key(self) -> tuple[str, ...]:
        parts = []
        while True:
            self.skip()
            parts.append(self.quoted() if self.peek() in ('"', "'") else self.bare())
            self.skip()
            if self.peek() != ".":
                return tuple(parts)
            self.step()

    def bare(self) -> str:
        start = self.at
        while self.peek() in BARE and self.peek():
            self.at += 1
        return self.text[start : self.at]

    def quoted(self) -> str:
        """Over a text of any of the four kinds; its content."""
        import tomllib

        quote = self.peek()
        mark = quote * 3 if self.text.startswith(quote * 3, self.at) else quote
        start, end = self.at, self.at + len(mark)
        while not self.text.startswith(mark, end):
            end += 2 if quote == '"' and self.text[end] == "\\" else 1
        end += len(mark)
        if len(mark) == 3:
            while self.text[end : end + 1] == quote:
                end += 1
        self.step(end - start)
        return str(tomllib.loads("x=" + self.text[start:end])["x"]) if len(mark) == 1 else ""

    def value(self, path: Path) -> None:
        letter = self.peek()
        if letter in ('"', "'"):
            self.quoted()
        elif letter == "[":
            self.array(path)
        elif letter == "{":
            self.inline_table(path)
        else:
            while self.peek() and self.peek() not in ",]}\n#":
                self.at += 1

    def array(self, path: Path) -> None:
        self.step()
        place = 0
        self.skip("\n")
        while self.peek() != "]":
            self.found[*path, place] = self.line
            self.value((*path, place))
            place += 1
            self.skip("\n,")
        self.step()

    def inline_table(self, path: Path) -> None:
        self.step()
        self.skip("\n")
        while self.peek() != "}":
            self.pair(path)
            self.skip("\n,")
        self.step()
