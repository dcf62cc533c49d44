"""doit-oci as its users call it: a process of its own in a project's folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
DOOR = "import sys; from tasks.cli import main; sys.exit(main())"


def doit_oci(
    project: Path,
    *words: str,
    stdin: bytes = b"",
    timeout: float = 120,
    env: dict[str, str] | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run one command line in ``project`` and return its result, whatever its status."""
    return subprocess.run(
        [sys.executable, "-c", DOOR, *words],
        cwd=project,
        input=stdin,
        capture_output=True,
        timeout=timeout,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT), **(env or {})},
        check=False,
    )


def run_python(project: Path, code: str) -> subprocess.CompletedProcess[str]:
    """Run a program that imports our modules in ``project``, whatever its status."""
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        check=False,
    )


def start_doit_oci(project: Path, *words: str, **env: str) -> subprocess.Popen[bytes]:
    """As :func:`doit_oci`, and go on beside it; what it says on standard error can be read."""
    return subprocess.Popen(
        [sys.executable, "-c", DOOR, *words],
        cwd=project,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT), **env},
    )


def start_patched(
    project: Path,
    patch: str,
    *words: str,
    stderr: int = subprocess.DEVNULL,
    start_new_session: bool = False,
) -> subprocess.Popen[bytes]:
    """As :func:`start_doit_oci`, after the lines of ``patch``; what they print can be read,
    and what they read be told."""
    return subprocess.Popen(
        [sys.executable, "-c", patch + DOOR, *words],
        cwd=project,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        start_new_session=start_new_session,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
    )


def loads_doit(project: Path, *words: str) -> bool:
    """Whether a command line that succeeds had to load doit."""
    code = f"{DOOR.rpartition(';')[0]}; main(sys.argv[1:]); print('doit' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        check=True,
        capture_output=True,
    )
    return done.stdout.split()[-1] == b"True"


def expect(result: subprocess.CompletedProcess[bytes], status: int = 0) -> str:
    """Hold a result against a status, showing what was said if it is another; no traceback ever."""
    said = result.stderr.decode(errors="replace")
    assert result.returncode == status, f"status {result.returncode}\n{result.stdout!r}\n{said}"
    assert "Traceback" not in said, said
    return result.stdout.decode(errors="replace")


def steps_done(result: subprocess.CompletedProcess[bytes]) -> list[str]:
    """The steps that a run says it did, without what stands behind the colon."""
    lines = result.stderr.decode().splitlines()
    return [line[3:].partition(":")[0] for line in lines if line.startswith(".  ")]
