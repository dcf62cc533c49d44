"""What the edges say while they work: the Progress protocol and its silent default."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol
else:
    Protocol = object


class Progress(Protocol):
    """Told of work in bytes. Every method may be called from any thread and must not block."""

    def start(self, kind: str, subject: str, total: int | None = None, why: str = "") -> int:
        """Begin one item of work and return its number.

        ``kind`` is ``blob``, ``layer`` or ``step``; ``total`` is in bytes where it is known;
        ``why`` is what made a step run, in words.
        """

    def advance(self, item: int, count: int) -> None:
        """``count`` more bytes of an item are done."""

    def finish(self, item: int, outcome: str = "done") -> None:
        """An item ended: ``done``, ``reused`` or ``failed``."""

    def note(self, text: str) -> None:
        """One line that people should see: a fallback taken, a retry, a warning."""

    def pause(self) -> Callable[[], None]:
        """Have no thread of one's own, so that this process may fork, until what is returned is
        called."""


class Silent:
    """Progress that nobody looks at."""

    def start(self, kind: str, subject: str, total: int | None = None, why: str = "") -> int:
        return 0

    def advance(self, item: int, count: int) -> None:
        pass

    def finish(self, item: int, outcome: str = "done") -> None:
        pass

    def note(self, text: str) -> None:
        pass

    def pause(self) -> Callable[[], None]:
        return lambda: None
