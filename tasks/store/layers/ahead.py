"""Read ahead: a thread fills a short queue, so that two cores can work at one layer.

Where every core has a layer of its own, a thread takes processor time and gives none back.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterator

DEPTH = 6
"""Pieces that may wait: enough to ride out one large write, and a bound on memory."""


def read_ahead_when(
    is_worth_it: Callable[[], bool], pieces: Iterator[bytes]
) -> Generator[bytes, None, None]:
    """The same pieces, ahead from the moment on that ``is_worth_it`` says so."""
    while not is_worth_it():
        piece = next(pieces, b"")
        if not piece:
            return
        yield piece
    yield from read_ahead(pieces)


def read_ahead(pieces: Iterator[bytes]) -> Generator[bytes, None, None]:
    """The same pieces. What ``pieces`` raises is raised here; closing it ends the thread."""
    waiting: queue.Queue[bytes | BaseException] = queue.Queue(DEPTH)
    stopped = threading.Event()

    def fill() -> None:
        last: bytes | BaseException = b""
        try:
            for piece in pieces:
                waiting.put(piece)
                if stopped.is_set():
                    return
        except BaseException as error:  # noqa: BLE001  raised again where the pieces are used
            last = error
        waiting.put(last)

    thread = threading.Thread(target=fill, daemon=True)
    thread.start()
    try:
        while found := waiting.get():
            if isinstance(found, BaseException):
                raise found
            yield found
    finally:
        stopped.set()
        while thread.is_alive():
            try:
                waiting.get(timeout=0.01)
            except queue.Empty:
                continue
        thread.join()
