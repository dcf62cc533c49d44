"""Processes that were forked for builds: used again, replaced where they failed, ended with us.

Each case is a process of its own, because nothing is forked beside the threads of a test runner.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.command import CHECKOUT

BEFORE = """
import os, signal, sys
from tasks.progress import Silent
from tasks.store.layers.forks import Forks

spawn, started = os.posix_spawn, []
os.posix_spawn = lambda *words, **rest: started.append(1) or spawn(*words, **rest)
forks = Forks(2, Silent())
children = open("/proc/thread-self/children").read().split()

def remove(name):
    os.makedirs(f"{name}/x")
    forks.call({"do": "remove", "mapped": False, "path": os.path.abspath(name)}, Silent())
    assert not os.path.exists(name)
"""
AFTER = """
forks.close()
try:
    os.waitpid(-1, 0)
except ChildProcessError:
    sys.exit(0)
sys.exit("a child is left")
"""
CASES = {
    "each is used again and again": """
for number in range(5):
    remove(f"tree{number}")
assert not started and len(children) == 2
""",
    "one that was killed is passed over, and when there is none one is started": """
for child, expected in zip(children, (0, 1)):
    os.kill(int(child), signal.SIGKILL)
    os.waitid(os.P_PID, int(child), os.WEXITED | os.WNOWAIT)
    for _ in range(2):
        remove("tree")
    assert len(started) == 2 * expected, started
""",
    "a failure is raised here, and the next request is done all the same": """
for _ in range(3):
    try:
        forks.call({"do": "clean", "mapped": False, "tmp": 5, "containers": None}, Silent())
    except RuntimeError as error:
        assert "TypeError" in str(error)
    else:
        raise AssertionError("a path that is none was taken")
    remove("tree")
""",
    "beside threads none is forked": """
import threading
forks.close()
ended = threading.Event()
other = threading.Thread(target=ended.wait)
other.start()
forks = Forks(2, Silent())
remove("tree")
assert len(started) == 1
ended.set()
other.join()
""",
}


@pytest.mark.parametrize("case", CASES)
def test_forks(case: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", BEFORE + CASES[case] + AFTER],
        cwd=tmp_path,
        env={"PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
