"""Display: how far the blobs and layers in work are, looked at from a thread of its own.

On a terminal each has a bar (live_view.py); in a log one line every few seconds sums them up. What
is done within a moment is never shown, and the thread ends when there is nothing to show.
"""

from __future__ import annotations

import contextlib
import threading
import time

from ..figures import count_text, size_text, time_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TextIO

    from .console import Console
    from .events import Events, Item
    from .live_view import LiveView

PATIENCE = 0.4
"""Seconds of work before anything is shown."""
REFRESH = 0.12
LOG_INTERVAL = 5.0


class Display:
    """``drawn`` says that the stream is a terminal; ``interval`` is in seconds, for logs."""

    def __init__(
        self,
        console: Console,
        events: Events,
        stream: TextIO,
        *,
        drawn: bool,
        interval: float = LOG_INTERVAL,
    ) -> None:
        self._console, self._events, self._stream = console, events, stream
        self._drawn, self._interval = drawn, interval
        self._view: LiveView | None = None
        self._thread: threading.Thread | None = None
        self._guard = threading.Lock()
        self._stopped = threading.Event()

    def wake(self) -> None:
        """Begin to look, unless that is being done."""
        with self._guard:
            if self._thread is None and not self._stopped.is_set():
                self._thread = threading.Thread(target=self._look, name="display", daemon=True)
                self._thread.start()

    def say(self, text: str) -> bool:
        """A line above the bars; False where there are none."""
        view = self._view
        if view is None:
            return False
        try:
            view.say(text)
        except (OSError, ValueError):
            # The terminal went away; the work goes on.
            self._stopped.set()
        return True

    def pause(self) -> Callable[[], None]:
        """Take the bars away, and return what looks again."""
        if not self._stopped.is_set():
            self.close()
            self._stopped.clear()
        return self.wake

    def close(self) -> None:
        """Take the bars away; when this returns, nothing is drawn any more."""
        self._stopped.set()
        with self._guard:
            thread, self._thread = self._thread, None
        if thread is not None:
            thread.join()

    def _look(self) -> None:
        began = time.monotonic()
        wait = PATIENCE
        try:
            while not self._stopped.wait(wait):
                wait = REFRESH
                items = self._items()
                if self._drawn:
                    self._draw(items)
                elif items and time.monotonic() - began >= self._interval:
                    began = time.monotonic()
                    self._console.line(log_text(items, began))
                if self._is_over():
                    return
        except (OSError, ValueError):
            # The terminal went away; the work goes on.
            return
        finally:
            view, self._view = self._view, None
            if view is not None:
                with contextlib.suppress(OSError, ValueError):
                    view.close()

    def _items(self) -> list[Item]:
        """Blobs and layers, and steps that tell of bytes."""
        return [each for each in self._events.open_items() if each.kind != "step" or each.done]

    def _draw(self, items: list[Item]) -> None:
        if self._view is None and items:
            from .live_view import LiveView

            self._view = LiveView(self._stream)
        if self._view is not None:
            self._view.show(items)

    def _is_over(self) -> bool:
        with self._guard:
            if self._events.open_items():
                return False
            self._thread = None
            return True


def log_text(items: list[Item], now: float) -> str:
    """One line for a log: what is in work, how far it is and when it will be done."""
    parts = []
    for kind, verb in (("blob", "fetching"), ("layer", "unpacking"), ("step", "doing")):
        found = [item for item in items if item.kind == kind]
        if found:
            parts.append(f"{verb} {count_text(len(found), kind)}: {_progress_text(found, now)}")
    return "…  " + "; ".join(parts)


def _progress_text(items: list[Item], now: float) -> str:
    done = sum(item.done for item in items)
    speed = sum(item.done / max(now - item.began, 0.001) for item in items)
    known = all(item.total is not None for item in items)
    total = sum(item.total or 0 for item in items)
    text = f"{size_text(done)} of {size_text(total)}" if known else size_text(done)
    text += f", {size_text(speed)}/s"
    if known and speed > 0 and total > done:
        text += f", about {time_text((total - done) / speed)} left"
    return text
