"""A child process of ours: a build with memory, umask and signals of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

PACKAGE = __package__.rpartition(".")[0]
TAIL = 4000
"""Characters of what a child said that are worth passing on."""


def run_function(
    name: str, words: Sequence[str], *, cwd: Path, environ: Mapping[str, str]
) -> tuple[int, str]:
    """Call ``MODULE.FUNCTION`` of this package in a child, with ``words`` as its arguments.

    Status and the end of standard error. What this process imports, the child can import.
    """
    module, _, function = name.rpartition(".")
    program = f"import sys; from {PACKAGE}.{module} import {function}; sys.exit({function}())"
    path = os.pathsep.join(entry for entry in sys.path if entry)
    done = subprocess.run(
        [sys.executable, "-c", program, *words],
        cwd=cwd,
        env={**environ, "PYTHONPATH": path},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        check=False,
    )
    return done.returncode, done.stderr.decode(errors="replace")[-TAIL:]
