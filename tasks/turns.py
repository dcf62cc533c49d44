"""Turns: how many pieces of work of a parallel build go on at the same time, and of which kind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Semaphore


class Turns:
    """With ``-n N`` there are N pieces of work at a time, and beside them whoever fetches: that
    waits for the network and the disk for most of its time, so that no core has to."""

    def __init__(self, count: int) -> None:
        self._working, self._fetching = Semaphore(count), Semaphore(count)
        self._is_over = False
        self.workers = count + 1

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
