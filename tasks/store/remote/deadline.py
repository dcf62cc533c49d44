"""An end to waiting for calls that have none of their own."""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def within(seconds: float, work: Callable[[], Any]) -> Any:
    """What ``work`` returns, or raises. Raises: TimeoutError when it takes longer.

    It is left alone then, in a thread that does not keep this process from ending.
    """
    done: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            done.put((work(), None))
        except BaseException as problem:  # noqa: BLE001  raised again by whoever waits
            done.put((None, problem))

    threading.Thread(target=run, daemon=True).start()
    try:
        result, problem = done.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError(f"no answer within {seconds:.0f} seconds") from None
    if problem is not None:
        raise problem
    return result
