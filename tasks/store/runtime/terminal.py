"""The terminal that a run borrows: its mode is given back however the run ends.

A bundle with ``tty = true`` gets a terminal even where we have none, as in CI: then one of our
own stands between, and its output is passed on.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Terminal:
    """Context of a run with ``process.terminal``; ``files`` is what the runtime gets as 0, 1, 2."""

    def __init__(self) -> None:
        self.files: tuple[int, int, int] | None = None
        self._mode: list[Any] | None = None
        self._own = -1
        self._keeper = (0, -1)

    def __enter__(self) -> Terminal:
        import termios

        self._own = next((number for number in (0, 1, 2) if os.isatty(number)), -1)
        if self._own < 0:
            self._open_pair()
        else:
            self._mode = termios.tcgetattr(self._own)
            self._keeper = _start_keeper(self._own, self._mode)
        return self

    def __exit__(self, *_: object) -> None:
        if self.files is not None:
            os.close(self.files[0])
            self._pump.join()
        elif self._mode is not None:
            _restore(self._own, self._mode)
            _dismiss(*self._keeper)

    def _open_pair(self) -> None:
        import threading
        import tty

        ours, theirs = os.openpty()
        tty.setraw(theirs)  # the container's own terminal is the one that edits lines
        self.files = (theirs, theirs, theirs)
        self._pump = threading.Thread(target=_pump, args=(ours,), daemon=True)
        self._feed = threading.Thread(target=_feed, args=(ours,), daemon=True)

    def start(self) -> None:
        """Begin to pass data on; after the fork, which threads would not survive."""
        if self.files is not None:
            self._pump.start()
            self._feed.start()


def _restore(terminal: int, mode: list[Any]) -> None:
    import termios

    try:
        termios.tcsetattr(terminal, termios.TCSADRAIN, mode)
    except termios.error:
        pass


def _start_keeper(terminal: int, mode: list[Any]) -> tuple[int, int]:
    """A process that gives the terminal's mode back where we are killed before we can.

    Returns its number, and the pipe by which it learns that there is nothing left to do. It has a
    session of its own: what kills our process group leaves it, and the terminal lets it through.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setsid()
            os.dup2(reader, 3)
            os.closerange(4, os.sysconf("SC_OPEN_MAX"))  # locks above all
            if os.read(3, 4) != b"done":
                _restore(terminal, mode)
        finally:
            os._exit(0)
    os.close(reader)
    return child, writer


def _dismiss(keeper: int, pipe: int) -> None:
    try:
        os.write(pipe, b"done")
    except BrokenPipeError:
        pass  # somebody killed it
    os.close(pipe)
    os.waitpid(keeper, 0)


def copy_size(runtime: int) -> None:
    """Give the container's terminal the size of ours, which crun does only when it starts.

    The terminal's other end is found among the runtime's open files.
    """
    import fcntl
    import termios

    from .. import kernel

    try:
        size = fcntl.ioctl(0, termios.TIOCGWINSZ, b"\0" * 8)
        for process in (runtime, *_children(runtime)):
            for name in os.listdir(f"/proc/{process}/fd"):
                if os.readlink(f"/proc/{process}/fd/{name}").endswith("/ptmx"):
                    terminal = kernel.copy_descriptor(process, int(name))
                    fcntl.ioctl(terminal, termios.TIOCSWINSZ, size)
                    os.close(terminal)
    except OSError:
        return  # it ends just now, or this kernel does not share files


def _children(process: int) -> list[int]:
    with open(f"/proc/{process}/task/{process}/children", encoding="ascii") as stream:
        return [int(word) for word in stream.read().split()]


def _pump(source: int) -> None:
    while True:
        try:
            block = os.read(source, 65536)
        except OSError:  # EIO: the other end is closed everywhere
            break
        if not block:
            break
        _write_whole(1, block)


def _feed(target: int) -> None:
    while block := os.read(0, 65536):
        try:
            _write_whole(target, block)
        except OSError:
            return
    try:
        os.write(target, b"\x04")
    except OSError:
        pass


def _write_whole(target: int, block: bytes) -> None:
    view = memoryview(block)
    while view:
        view = view[os.write(target, view) :]
