"""Files of variables, in the syntax that Compose gives them.

Spec: Compose, "Use an .env file", section "Syntax". One difference: what a value refers to with
``$`` is looked for in the same files only, never in the host's environment, because the bundle
would then differ from host to host.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import DeclarationError

LONGEST_SHOWN = 40
"""Letters of what may be a name; a line of a key is longer."""
ESCAPES = {
    "n": "\n",
    "r": "\r",
    "t": "\t",
    "\\": "\\",
    '"': '"',
    "$": "$",
    "a": "\a",
    "b": "\b",
    "f": "\f",
    "v": "\v",
}


def parse_env_file(
    content: bytes, *, subject: str, known: Mapping[str, str] | None = None
) -> dict[str, str]:
    r"""Variables in the order of the file; ``known`` are those of earlier files.

    >>> parse_env_file(b'A=1 # one\nB="x\\ny$A"\n', subject="e")
    {'A': '1', 'B': 'x\ny1'}

    Raises: DeclarationError.
    """
    try:
        text = content.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise DeclarationError(f"no UTF-8: {error}", subject=subject) from error
    reader = _Reader(text, subject, dict(known or {}))
    reader.read()
    return reader.found


class _Reader:
    def __init__(self, text: str, subject: str, known: dict[str, str]) -> None:
        self.text = text
        self.at = 0
        self.subject = subject
        self.known = known
        self.found: dict[str, str] = {}

    def fail(self, message: str, hint: str | None = None) -> DeclarationError:
        line = self.text.count("\n", 0, self.at) + 1
        return DeclarationError(message, subject=f"{self.subject}:{line}", hint=hint)

    def read(self) -> None:
        while self.at < len(self.text):
            start = self.text[self.at]
            if start.isspace():
                self.at += 1
            elif start == "#":
                self.at = self.end_of_line()
            else:
                self.assignment()

    def end_of_line(self) -> int:
        end = self.text.find("\n", self.at)
        return len(self.text) if end < 0 else end

    def assignment(self) -> None:
        line = self.text[self.at : self.end_of_line()]
        head = line
        for sign in "=:":
            head = head.split(sign, 1)[0]
        name = head.strip().removeprefix("export ").strip()
        if not name or any(letter.isspace() for letter in name) or "\0" in line:
            # Not what stands there: it may be a part of a secret.
            raise self.fail("this line is no NAME=VALUE")
        if len(head) == len(line):
            shown = name if len(name) <= LONGEST_SHOWN else "NAME"
            raise self.fail(
                f"{shown} has no value, and none is taken from the host",
                f"write {shown}=… (an empty value is allowed)",
            )
        self.at += len(head) + 1
        while self.text[self.at : self.at + 1] in (" ", "\t"):
            self.at += 1
        quote = self.text[self.at : self.at + 1]
        value = self.quoted(quote) if quote in ("'", '"') and quote else self.bare()
        self.found[name] = self.known[name] = value

    def bare(self) -> str:
        """Up to the end of the line, or to a ``#`` after a blank."""
        end = self.end_of_line()
        text = self.text[self.at : end]
        for place, letter in enumerate(text):
            if letter == "#" and (place == 0 or text[place - 1] in " \t"):
                text = text[:place]
                break
        value = self.expand(text.strip())
        self.at = end
        return value

    def quoted(self, quote: str) -> str:
        parts: list[str] = []
        place = self.at + 1
        while True:
            letter = self.text[place : place + 1]
            if not letter:
                raise self.fail(f"a {quote} is not closed")
            if letter == quote:
                break
            if letter == "\\" and self.text[place + 1 : place + 2]:
                parts.append(self.escaped(quote, self.text[place + 1]))
                place += 2
            elif letter == "$" and quote == '"':
                value, place = self.reference(self.text, place)
                parts.append(value)
            else:
                parts.append(letter)
                place += 1
        self.at = place + 1
        rest = self.text[self.at : self.end_of_line()].strip()
        if rest and not rest.startswith("#"):
            raise self.fail(f"something stands after the closing {quote}")
        self.at = self.end_of_line()
        return "".join(parts)

    @staticmethod
    def escaped(quote: str, letter: str) -> str:
        if quote == "'":
            return letter if letter == "'" else "\\" + letter
        return ESCAPES.get(letter, "\\" + letter)

    def expand(self, text: str) -> str:
        parts: list[str] = []
        place = 0
        while place < len(text):
            if text[place] == "$":
                value, place = self.reference(text, place)
                parts.append(value)
            else:
                parts.append(text[place])
                place += 1
        return "".join(parts)

    def reference(self, text: str, place: int) -> tuple[str, int]:
        """The value of ``$NAME``, ``${NAME}`` or ``${NAME:-default}`` there, and where it ends."""
        after = text[place + 1 : place + 2]
        if after == "$":
            return "$", place + 2
        if after == "{":
            end = _closing(text, place + 2)
            if end < 0:
                raise self.fail("a ${ is not closed")
            return self.substituted(text[place + 2 : end]), end + 1
        end = place + 1
        while end < len(text) and (text[end].isalnum() or text[end] == "_"):
            end += 1
        if end == place + 1:
            return "$", end
        return self.value_of(text[place + 1 : end]), end

    def substituted(self, inside: str) -> str:
        end = 0
        while end < len(inside) and (inside[end].isalnum() or inside[end] == "_"):
            end += 1
        name, sign, word = inside[:end], inside[end:], ""
        if sign.startswith(":"):
            sign, word = sign[:2], sign[2:]
        else:
            sign, word = sign[:1], sign[1:]
        if not name or sign not in ("", "-", ":-", "+", ":+", "?", ":?"):
            raise self.fail("what stands in ${…} is no reference to a variable")
        is_set = bool(self.known.get(name)) if sign.startswith(":") else name in self.known
        if sign.endswith("-"):
            return self.known[name] if is_set else self.expand(word)
        if sign.endswith("+"):
            return self.expand(word) if is_set else ""
        if sign.endswith("?") and not is_set:
            raise self.fail(f"{name} is required: {word or 'it is not set'}")
        return self.value_of(name)

    def value_of(self, name: str) -> str:
        if name not in self.known:
            raise self.fail(
                f"{name} is not set in this file, and the host's environment is not used",
                f"write ${{{name}:-}} for an empty value, or '…' for a text with a dollar",
            )
        return self.known[name]


def _closing(text: str, place: int) -> int:
    depth = 1
    while place < len(text):
        if text.startswith("${", place):
            depth += 1
            place += 1
        elif text[place] == "}":
            depth -= 1
            if not depth:
                return place
        place += 1
    return -1
