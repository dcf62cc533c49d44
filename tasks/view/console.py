"""Console: lines on standard error for whoever watches a build, at a terminal or in a log.

A step that was done is a line when it ends, with its time and why it ran. While blobs and layers
are in work for longer than a moment, the display (display.py) shows how far they are. Nothing is
said of what was up to date.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from ..figures import count_text, short_digest, size_text, time_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TextIO

    from ..project.plan import Options
    from .display import Display
    from .events import Event, Events, Totals

USUAL_COLUMNS = 80
LASTED = 1.0
"""Seconds after which an invocation is worth a line of totals."""
DIM, RED, PLAIN = "\033[2m", "\033[31m", "\033[0m"


def open_events(
    options: Options, record: Path | None, environ: Mapping[str, str] = os.environ
) -> Events:
    """The events of an invocation, shown as the options and the environment ask."""
    from .. import __version__
    from .events import Events, Lines, Record

    events = Events(version=__version__, words=options.words)
    if options.json:
        events.listeners.append(Lines(sys.stderr))
    else:
        console = Console(sys.stderr, environ, quiet=options.quiet)
        console.events = events
        events.listeners.append(console)
    if record is not None:
        events.listeners.append(Record(record))
    return events


class Console:
    """A listener of Events; ``events`` is where it looks for what is in work."""

    def __init__(
        self, stream: TextIO, environ: Mapping[str, str] = os.environ, *, quiet: bool = False
    ) -> None:
        self.events: Events | None = None
        self._stream, self._quiet = stream, quiet
        self._terminal = is_terminal(stream, environ)
        self._colour = self._terminal and not environ.get("NO_COLOR")
        self._display: Display | None = None
        self._whys: dict[int, str] = {}
        self._running = 0
        self._summed = False

    def __call__(self, event: Event) -> None:
        name = event["event"]
        if name == "start":
            self._on_start(event)
        elif name == "finish":
            self._on_finish(event)
        elif name == "note" and not self._quiet:
            self.line(f"note: {event['text']}")
        elif name == "error":
            self._on_error(event)
        elif name == "end":
            self._stop_display()
            self._sum_up(event["at"])

    def _on_start(self, event: Event) -> None:
        if event["kind"] == "step" and event["subject"].startswith("run:"):
            # From here on the terminal is the container's.
            self._running += 1
            self._stop_display()
            self._sum_up(event["at"])
        elif not self._quiet and not self._running and self.events is not None:
            if event["kind"] == "step":
                self._whys[event["item"]] = event.get("why", "")
            if self._display is None:
                from .display import Display

                self._display = Display(self, self.events, self._stream, drawn=self._terminal)
            self._display.wake()

    def _on_finish(self, event: Event) -> None:
        if event["kind"] != "step":
            return
        if event["subject"].startswith("run:"):
            self._running -= 1
        elif event["outcome"] == "done" and not self._quiet:
            step, colon, name = event["subject"].partition(":")
            head = f".  {step}{colon}{short_digest(name)}  {time_text(event['seconds'])}"
            self._step_line(head, self._whys.pop(event["item"], ""))

    def _on_error(self, event: Event) -> None:
        subject = event["subject"]
        text = f"{subject}: {event['message']}" if subject else str(event["message"])
        head = f"{RED}error:{PLAIN}" if self._colour else "error:"
        hint = f"\nhint: {event['hint']}" if event.get("hint") else ""
        self.line(f"{head} {text}{hint}")

    def _sum_up(self, seconds: float) -> None:
        if self._summed or self._quiet or seconds < LASTED or self.events is None:
            return
        if self.events.totals.steps:
            self._summed = True
            self.line(totals_text(self.events.totals, seconds))

    def _step_line(self, head: str, why: str) -> None:
        text = f"{head}  {why}" if why else head
        if self._terminal:
            width = terminal_columns(self._stream) - 1
            text = text if len(text) <= width else text[: max(width - 1, 0)] + "…"
        if self._colour and len(text) > len(head):
            text = f"{text[: len(head)]}{DIM}{text[len(head) :]}{PLAIN}"
        self.line(text)

    def line(self, text: str) -> None:
        """One line that stays, above whatever is being drawn."""
        if self._display is not None and self._display.say(text):
            return
        try:
            self._stream.write(text + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            # Nobody reads any more; the work goes on.
            self._quiet = True

    def pause(self) -> Callable[[], None]:
        """End the display's thread until what is returned is called."""
        return self._display.pause() if self._display is not None else lambda: None

    def _stop_display(self) -> None:
        display, self._display = self._display, None
        if display is not None:
            display.close()


def is_terminal(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether lines can be drawn over: a terminal, and none that calls itself dumb."""
    try:
        return stream.isatty() and environ.get("TERM", "") not in ("", "dumb")
    except ValueError:
        return False


def terminal_columns(stream: TextIO) -> int:
    """The width of the terminal that is written to, wherever standard output goes."""
    try:
        return os.get_terminal_size(stream.fileno()).columns or USUAL_COLUMNS
    except (OSError, ValueError):
        return USUAL_COLUMNS


def totals_text(totals: Totals, seconds: float) -> str:
    """The line at the end.

    >>> from tasks.view.events import Totals
    >>> found = Totals(); found.steps = 2
    >>> totals_text(found, 1.26)
    'done in 1.3 s: 2 steps'
    """
    parts = [count_text(totals.steps, "step")]
    if totals.blobs:
        parts.append(f"fetched {size_text(totals.fetched)} in {count_text(totals.blobs, 'blob')}")
    if totals.layers:
        layers = count_text(totals.layers, "layer")
        parts.append(f"unpacked {size_text(totals.unpacked)} of {layers}")
    if totals.reused:
        saved = f", saved {size_text(totals.saved)}" if totals.saved else ""
        parts.append(f"reused {totals.reused}{saved}")
    return f"done in {time_text(seconds)}: " + ", ".join(parts)
