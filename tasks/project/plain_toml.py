"""The plain part of TOML, which most declarations keep to, read without the library.

Loading tomllib takes longer than a small image takes to come. Here stand tables, arrays of tables,
and lines of a bare key with strings without escapes, whole numbers, truth values, and arrays and
inline tables of these; for anything else, and for everything that is wrong, there is tomllib.
Spec: TOML 1.0.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DIGITS = frozenset("0123456789")
IN_BARE_KEY = DIGITS | frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_-")
AFTER_VALUE = frozenset(" \t,]}#")
NUMBER_LENGTH = 15
DEPTH = 20


class NotPlain(Exception):
    """The text has something that is left to tomllib, be it right or wrong."""


def load_plain(text: str) -> dict[str, Any] | None:
    """What ``tomllib.loads`` makes of the text; None where that has to be asked.

    >>> load_plain('[images.a]\\nimage = "x"')
    {'images': {'a': {'image': 'x'}}}
    """
    reader = Reader()
    try:
        for line in text.split("\n"):
            reader.read(line)
    except NotPlain:
        return None
    return reader.root


class Reader:
    """Takes line by line. A table that was begun once is never begun again."""

    def __init__(self) -> None:
        self.root: dict[str, Any] = {}
        self._table = self.root
        # What headers made: tables by identity, and whether they had a header of their own.
        self._headed: dict[int, bool] = {id(self.root): True}
        self._lists: set[int] = set()

    def read(self, line: str) -> None:
        """Raises: NotPlain."""
        line = line.strip(" \t")
        if not line.replace("\t", " ").isprintable():
            raise NotPlain
        if not line or line[0] == "#":
            return
        if line[0] == "[":
            self._begin(line)
            return
        name, equals, _ = line.partition("=")
        key = bare_key(name.strip(" \t"))
        if not equals or key in self._table:
            raise NotPlain
        value, at = Value(line).read(len(name) + 1, 0)
        check_rest(line, at)
        self._table[key] = value

    def _begin(self, line: str) -> None:
        in_list = line.startswith("[[")
        start, mark = (2, "]]") if in_list else (1, "]")
        end = line.find(mark)
        if end < 0:
            raise NotPlain
        check_rest(line, end + len(mark))
        *above, last = (bare_key(part.strip(" \t")) for part in line[start:end].split("."))
        place = self.root
        for part in above:
            place = self._inner(place, part, has_header=False)
        if in_list:
            made: list[Any] = []
            table: dict[str, Any] = {}
            found = place.setdefault(last, made)
            if found is made:
                self._lists.add(id(made))
            elif id(found) not in self._lists:
                raise NotPlain
            found.append(table)
            self._headed[id(table)] = True
            self._table = table
        else:
            self._table = self._inner(place, last, has_header=True)

    def _inner(self, place: dict[str, Any], name: str, *, has_header: bool) -> dict[str, Any]:
        """The table of a name, made if need be. Raises: NotPlain."""
        found = place.get(name)
        if found is None:
            found = place[name] = {}
        elif id(found) not in self._headed or (has_header and self._headed[id(found)]):
            raise NotPlain
        self._headed[id(found)] = has_header or self._headed.get(id(found), False)
        inner: dict[str, Any] = found
        return inner


class Value:
    """Reads values at places of one line; each reader returns a value and where it ends."""

    def __init__(self, line: str) -> None:
        self._line = line

    def read(self, at: int, depth: int) -> tuple[Any, int]:
        """Raises: NotPlain."""
        at = self._skip(at)
        line = self._line
        first = line[at : at + 1]
        if first in {'"', "'"}:
            return self._string(at, first)
        if first == "[" and depth < DEPTH:
            return self._array(at + 1, depth + 1)
        if first == "{" and depth < DEPTH:
            return self._table(at + 1, depth + 1)
        end = at
        while end < len(line) and line[end] not in AFTER_VALUE:
            end += 1
        return plain_word(line[at:end]), end

    def _skip(self, at: int) -> int:
        line = self._line
        while at < len(line) and line[at] in " \t":
            at += 1
        return at

    def _string(self, at: int, quote: str) -> tuple[str, int]:
        end = self._line.find(quote, at + 1)
        found = self._line[at + 1 : end]
        is_long = self._line.startswith(quote * 3, at)
        if end < 0 or is_long or (quote == '"' and "\\" in found):
            raise NotPlain
        return found, end + 1

    def _array(self, at: int, depth: int) -> tuple[list[Any], int]:
        found: list[Any] = []
        while True:
            at = self._skip(at)
            if self._line.startswith("]", at):
                return found, at + 1
            value, at = self.read(at, depth)
            found.append(value)
            at = self._skip(at)
            if self._line.startswith(",", at):
                at += 1
            elif not self._line.startswith("]", at):
                raise NotPlain

    def _table(self, at: int, depth: int) -> tuple[dict[str, Any], int]:
        found: dict[str, Any] = {}
        at = self._skip(at)
        if self._line.startswith("}", at):
            return found, at + 1
        while True:
            equals = self._line.find("=", at)
            key = bare_key(self._line[at : max(equals, at)].strip(" \t"))
            if key in found:
                raise NotPlain
            found[key], at = self.read(equals + 1, depth)
            at = self._skip(at)
            if self._line.startswith("}", at):
                return found, at + 1
            if not self._line.startswith(",", at):
                raise NotPlain
            at += 1


def bare_key(text: str) -> str:
    """Raises: NotPlain for any other sort of key."""
    if not text or not IN_BARE_KEY.issuperset(text):
        raise NotPlain
    return text


def plain_word(text: str) -> bool | int:
    """A truth value or a whole number. Raises: NotPlain."""
    if text in {"true", "false"}:
        return text == "true"
    digits = text.removeprefix("-")
    if not digits or len(digits) > NUMBER_LENGTH or not DIGITS.issuperset(digits):
        raise NotPlain
    if digits[0] == "0" and len(text) > 1:
        raise NotPlain
    return int(text)


def check_rest(line: str, at: int) -> None:
    """Behind a header or a value there is nothing but a comment. Raises: NotPlain."""
    if (rest := line[at:].lstrip(" \t")) and rest[0] != "#":
        raise NotPlain
