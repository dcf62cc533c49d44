"""When a process may fork workers: with no other thread, be it Python's or a library's.

Asked in processes of their own, because the one that runs the tests may have threads.
"""

from __future__ import annotations

import subprocess
import sys

from tests.support.command import CHECKOUT

JOINED = """
for _ in range(200):
    thread = threading.Thread(target=int)
    thread.start()
    thread.join()
    assert may_fork()
"""
RUNNING = """
done = threading.Event()
thread = threading.Thread(target=done.wait)
thread.start()
try:
    assert not may_fork()
finally:
    done.set()
thread.join()
assert may_fork()
"""


def succeeds(script: str) -> bool:
    script = f"import threading\nfrom tasks.store.layers.crew import may_fork\n{script}"
    return not subprocess.run([sys.executable, "-c", script], cwd=CHECKOUT, check=False).returncode


def test_a_thread_that_has_ended_is_none() -> None:
    """It may be in the kernel's table for a moment after its join."""
    assert succeeds(JOINED)


def test_beside_a_thread_nothing_is_forked() -> None:
    assert succeeds(RUNNING)
