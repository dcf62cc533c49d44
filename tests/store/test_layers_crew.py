"""When a process may fork workers: with no other thread, be it Python's or a library's."""

from __future__ import annotations

import threading

from tasks.store.layers.crew import may_fork


def test_a_thread_that_has_ended_is_none() -> None:
    """It may be in the kernel's table for a moment after its join."""
    for _ in range(500):
        thread = threading.Thread(target=int)
        thread.start()
        thread.join()
        assert may_fork()


def test_beside_a_thread_nothing_is_forked() -> None:
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    try:
        assert not may_fork()
    finally:
        done.set()
        thread.join()
    assert may_fork()
