"""Body: an answer's bytes as they arrive, without copies and without waiting for more.

requests and urllib3 read through buffers of their own, which costs more than the hashing does; the
file below them is http.client's.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import requests


def body(response: requests.Response) -> Any:
    """The file that http.client reads the body from, without urllib3's copies in between."""
    return getattr(response.raw, "_fp", None) or response.raw


def reader(response: requests.Response) -> Callable[[memoryview], int]:
    """Reads what has arrived of a body into a buffer; 0 at its end.

    Unlike ``readinto`` of the same file it does not wait for the buffer to be full, so that
    nothing is lost when the connection breaks.
    """
    inner = body(response)
    file = getattr(inner, "fp", None)
    if file is None or getattr(inner, "chunked", True) or inner.length is None:
        return lambda view: _read_some(inner, view)

    ahead = io.DEFAULT_BUFFER_SIZE  # what was read with the headers comes first, and alone

    def readinto1(view: memoryview) -> int:
        nonlocal ahead
        if inner.isclosed():
            return 0
        count: int = file.readinto1(view[: min(inner.length, ahead or len(view))])
        ahead = 0
        inner.length -= count
        if not inner.length:
            inner.close()
        return count

    return readinto1


def _read_some(inner: Any, view: memoryview) -> int:
    read = getattr(inner, "read1", None) or inner.read
    content = read(len(view))
    view[: len(content)] = content
    return len(content)


def body_errors() -> tuple[type[Exception], ...]:
    """What reading a body may raise."""
    from http.client import HTTPException

    from urllib3.exceptions import HTTPError

    return (OSError, HTTPException, HTTPError, ValueError)
