"""The three standard files as a program of ours wants them: all open, and no traceback from them.

A caller may have closed one (``>&-``): the next file that is opened would take its number, and get
what was meant for people or for a container. Standard output may be full, or nobody may read it.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn, TextIO

NOBODY_READS = 128 + 13
"""The exit status of what SIGPIPE ends."""


def open_missing() -> None:
    """Put the null device where the caller has closed a standard file."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            null = os.open(os.devnull, os.O_RDWR)
            os.dup2(null, number)
            if null != number:
                os.close(null)
            os.set_inheritable(number, True)
            opened = os.fdopen(number, "w" if number else "r", encoding="utf-8")
            setattr(sys, name, opened)


def guard_output() -> None:
    """From here on a write to standard output that fails says so and ends the program.

    doit would show a traceback, and Python one of its own when it flushes at the very end. What
    cannot be encoded (a command line may hold any bytes) is written as an escape.
    """
    import io

    class Output(io.FileIO):
        def write(self, data: Any, /) -> int:
            try:
                return super().write(data) or 0
            except OSError as error:
                end_without_output(error)

    standard: TextIO = sys.stdout
    if id(standard) != id(sys.__stdout__):
        return  # a caller of our functions has put something of its own there
    standard.flush()
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(Output(1, "wb", closefd=False)),
        encoding=standard.encoding,
        errors="backslashreplace",
        line_buffering=standard.isatty(),
    )


def write_output(data: bytes, number: int = 1) -> None:
    """Write all of ``data`` to standard output or error, past Python's buffer."""
    view = memoryview(data)
    try:
        while view:
            view = view[os.write(number, view) :]
    except OSError as error:
        end_without_output(error, number)


def end_without_output(error: OSError, number: int = 1) -> NoReturn:
    """Raises: SystemExit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), number)  # what is buffered is tried again at the end
    if isinstance(error, BrokenPipeError):
        raise SystemExit(NOBODY_READS)
    if number == 1:
        sys.stderr.write(f"error: standard output: {error.strerror}\n")
    raise SystemExit(1)
