"""Signals that end a command: its exit status is 128 and the signal's number, however it is told.

By default SIGTERM and SIGHUP end a process on the spot. Here they are what Ctrl-C is, so that what
was begun is tidied up and told of.
"""

from __future__ import annotations

import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

INTERRUPTED = 128 + signal.SIGINT
ENDING = (signal.SIGTERM, signal.SIGHUP)


class Interrupted(KeyboardInterrupt):
    """A signal other than Ctrl-C's has come; raised in the main thread, wherever that is."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.status = 128 + number


def status_of(interrupt: KeyboardInterrupt) -> int:
    """The exit status of a command that was interrupted."""
    return interrupt.status if isinstance(interrupt, Interrupted) else INTERRUPTED


def end_in_order() -> None:
    """Have the signals that end a process raise Interrupted, in this process and no child of it.

    One that our caller ignores, as nohup does, stays ignored. In a thread other than the main one
    signals are its program's business.
    """
    import os

    taken = [number for number in ENDING if signal.getsignal(number) == signal.SIG_DFL]
    try:
        for number in taken:
            signal.signal(number, _interrupt)
    except ValueError:
        return
    if taken:
        os.register_at_fork(after_in_child=_end_at_once)


def _interrupt(number: int, _: object) -> NoReturn:
    raise Interrupted(number)


def _end_at_once() -> None:
    for number in ENDING:
        if signal.getsignal(number) == _interrupt:
            signal.signal(number, signal.SIG_DFL)
