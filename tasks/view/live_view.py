"""LiveView: a bar for every blob and layer in work, drawn by rich at the foot of the terminal."""

from __future__ import annotations

from typing import Any, TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.text import Text

from ..figures import short_digest
from .console import terminal_columns

WIDE, MEDIUM = 90, 60
LABELS = {"blob": "fetch", "layer": "unpack"}
AT_MOST = 8
"""Bars at a time: a terminal has few lines, and those above are the finished steps."""


def columns_for(width: int) -> list[ProgressColumn]:
    """What fits: on a narrow terminal only name and per cent."""
    columns: list[ProgressColumn] = [TextColumn("{task.description}", markup=False)]
    if width < MEDIUM:
        return [*columns, TextColumn("{task.percentage:>3.0f}%", markup=False)]
    columns += [BarColumn(bar_width=20 if width < WIDE else 30), DownloadColumn()]
    if width >= WIDE:
        columns += [TransferSpeedColumn(), TimeRemainingColumn(compact=True)]
    return columns


class Steady(Console):
    """A console that leaves the cursor alone: a signal may end us before it could be put back."""

    def show_cursor(self, show: bool = True) -> bool:
        return False


class LiveView:
    """Drawn over at every :meth:`show`; :meth:`close` leaves nothing behind but what was said."""

    def __init__(self, stream: TextIO) -> None:
        width = terminal_columns(stream)
        # NO_COLOR and the colours of the terminal are rich's to know.
        self._console = Steady(file=stream, highlight=False, markup=False, emoji=False)
        self._progress = Progress(
            *columns_for(width),
            console=self._console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._bars: dict[int, TaskID] = {}
        self._progress.start()

    def show(self, items: list[Any]) -> None:
        shown = {item.number: item for item in items[:AT_MOST]}
        for number in [number for number in self._bars if number not in shown]:
            self._progress.remove_task(self._bars.pop(number))
        for number, item in shown.items():
            if number not in self._bars:
                name = short_digest(item.subject).removeprefix("sha256:")
                label = f"{LABELS.get(item.kind, item.kind)} {name}"
                self._bars[number] = self._progress.add_task(label, total=item.total)
            self._progress.update(self._bars[number], completed=item.done)
        self._progress.refresh()

    def say(self, text: str) -> None:
        """A line above the bars that stays."""
        self._console.print(Text.from_ansi(text), soft_wrap=True)

    def close(self) -> None:
        for bar in self._bars.values():
            self._progress.remove_task(bar)
        self._bars.clear()
        self._progress.stop()
