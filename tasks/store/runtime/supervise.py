"""The parent's side of a run: pass signals on, keep time limits, say how it ended.

Signals are waited for instead of handled, so that none can arrive between two lines of Python.
A container without a terminal runs in a process group of its own: what ``kill`` or a shell sends to
us reaches it through us, exactly once. What our terminal sends to its own group is not passed on.
"""

from __future__ import annotations

import os
import signal
import threading
import time

from .signals import awaited_signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

ENDING = frozenset((signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT))
TICK = 0.05


class Supervisor:
    """Waits for one child. In a thread other than the main one it leaves signals alone.

    ``gives_up``: a signal that ends a process ends the child too, whatever that thinks of it, and
    is ``ended_by`` then.
    """

    def __init__(
        self,
        *,
        stop_signal: int,
        stop_grace: float,
        timeout: float | None,
        gives_up: bool = False,
    ) -> None:
        self.gives_up = gives_up
        self.ended_by = 0
        self.stop_signal = stop_signal
        self.stop_grace = stop_grace
        self.timeout = timeout
        self.timed_out = False
        self.interrupts = 0
        self.on_resize: Callable[[int], None] | None = None
        self.in_main_thread = is_main_thread()
        self.mask: set[int] = set()
        self.awaited: set[int] = set()
        self._kill_at: float | None = None

    def __enter__(self) -> Supervisor:
        """Hold signals back, from before the child exists until it is gone."""
        if self.in_main_thread:
            if (
                signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN
            ):  # inherited: no child is waited for
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self.awaited = awaited_signals()
            self.mask = set(signal.pthread_sigmask(signal.SIG_BLOCK, self.awaited))
        else:
            self.mask = set(signal.pthread_sigmask(signal.SIG_BLOCK, ()))
        return self

    def __exit__(self, *_: object) -> None:
        if self.in_main_thread:
            while signal.sigtimedwait({signal.SIGCHLD}, 0) is not None:
                pass
            signal.pthread_sigmask(signal.SIG_SETMASK, self.mask)

    def wait(
        self,
        child: int,
        target: int,
        *,
        passes_through: bool,
        tick: Callable[[], float | None] | None,
    ) -> int:
        """Until ``child`` ends; returns its exit status, 128 + n for signals.

        ``target`` is the process that gets the signals.
        ``passes_through``: the child shares our terminal and gets the terminal's signals itself.
        ``tick`` is called after whatever happened, and after the seconds that it returns.
        """
        deadline = None if self.timeout is None else time.monotonic() + self.timeout
        while True:
            status = self._reap(child)
            if status is not None:
                return status
            moment = time.monotonic()
            if deadline is not None and moment >= deadline:
                self.timed_out = True
                deadline = None
                _send(target, self.stop_signal)
                self._kill_at = moment + self.stop_grace
            if self._kill_at is not None and moment >= self._kill_at:
                _send(target, signal.SIGKILL)
                self._kill_at = None
            due = [at - moment for at in (deadline, self._kill_at) if at is not None]
            again = None if tick is None else tick()
            if again is not None:
                due.append(again)
            self._await_signal((child, target), min(due, default=None), passes_through)

    def _reap(self, child: int) -> int | None:
        process, status = os.waitpid(child, os.WNOHANG)
        if process == 0:
            return None
        code = os.waitstatus_to_exitcode(status)
        return 128 - code if code < 0 else code

    def _await_signal(
        self, processes: tuple[int, int], seconds: float | None, passes_through: bool
    ) -> None:
        child, target = processes
        if not self.in_main_thread:
            _await_child(child, seconds)
            return
        if seconds is None:
            information = signal.sigwaitinfo(self.awaited)
        else:
            received = signal.sigtimedwait(self.awaited, max(seconds, 0))
            if received is None:
                return
            information = received
        if information.si_signo == signal.SIGCHLD:
            return
        if information.si_signo == signal.SIGWINCH and self.on_resize is not None:
            self.on_resize(target)
        arrived = passes_through and information.si_code > 0  # the terminal sent it to the group
        if arrived and information.si_signo == signal.SIGHUP and self._kill_at is None:
            # Its terminal is gone: what does not end by itself nobody could end any more.
            self._kill_at = time.monotonic() + self.stop_grace
        self._pass_on(target, information.si_signo, arrived=arrived)

    def _pass_on(self, target: int, number: int, *, arrived: bool) -> None:
        if self.gives_up and number in ENDING:
            self.ended_by = self.ended_by or number
            number, arrived = signal.SIGKILL, False
        if number == signal.SIGINT:
            self.interrupts += 1
            if self.interrupts > 1:
                number, arrived = signal.SIGKILL, False
        if not arrived:
            _send(target, number)


def is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _await_child(child: int, seconds: float | None) -> None:
    import select

    descriptor = os.pidfd_open(child)
    try:
        select.select([descriptor], [], [], seconds)
    finally:
        os.close(descriptor)


def _send(process: int, number: int) -> None:
    try:
        os.kill(process, number)
    except ProcessLookupError:
        pass
