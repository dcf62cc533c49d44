"""The words of a command line: what is ours of them, and what goes to the container.

They are taken apart before doit sees them, wherever they stand.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FLAGS = {
    "--locked": "locked",
    "--offline": "offline",
    "--json": "json",
    "--quiet": "quiet",
    "-q": "quiet",
    "--detach": "detach",
    "--wait": "wait",
}
VALUES = {"--dir": ("state", "a path"), "--shard": ("shard", "K/N, like 1/4,")}
STATE_VARIABLE = "DOIT_OCI_DIR"


def split(words: list[str]) -> tuple[list[str], list[str] | None]:
    """What stands before the first ``--`` and, if there is one, all that stands after it.

    >>> split(["run:a", "--", "", "B=c"])
    (['run:a'], ['', 'B=c'])
    """
    if "--" not in words:
        return words, None
    at = words.index("--")
    return words[:at], words[at + 1 :]


def take_options(words: list[str]) -> tuple[list[str], dict[str, Any]]:
    """Take our own options out of the words, wherever they stand.

    Raises:
        DeclarationError: an option has no value.
    """
    rest: list[str] = []
    found: dict[str, Any] = {}
    pending = iter(words)
    for word in pending:
        if word in FLAGS:
            found[FLAGS[word]] = True
            continue
        option, equals, value = word.partition("=")
        if option not in VALUES:
            rest.append(word)
            continue
        value = value if equals else next(pending, "")
        if not value:
            from .errors import DeclarationError

            raise DeclarationError(f"expected {VALUES[option][1]} behind it", subject=option)
        found[VALUES[option][0]] = value
    found.setdefault("state", os.environ.get(STATE_VARIABLE, ""))
    return rest, found
