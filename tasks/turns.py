"""Turns: how many pieces of work of a parallel build go on at the same time, and of which kind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Semaphore

from .progress import Progress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


AHEAD = 8
"""Images that may be fetched while as many as were asked for are unpacked."""


class Turns:
    """With ``-n N`` there are N pieces of work at a time, and beside them some that fetch: those
    wait for the network and the disk for most of their time, so that no core has to."""

    def __init__(self, count: int, call: Callable[[dict[str, Any], Progress], Any]) -> None:
        """``call`` has another process do what one with threads cannot."""
        self.call = call
        self._working, self._fetching = Semaphore(count), Semaphore(count)
        self._is_over = False
        self.workers = count + min(count, AHEAD)

    @contextmanager
    def turn(self, *, fetches: bool) -> Iterator[None]:
        """Wait for a turn, and have it. Raises: KeyboardInterrupt when there are no more."""
        with self._fetching if fetches else self._working:
            if self._is_over:
                raise KeyboardInterrupt
            yield

    def end(self) -> None:
        """Whoever waits for a turn gets none."""
        self._is_over = True
