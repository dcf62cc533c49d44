"""Real ordinary users, made for a test and removed after it, and Python run as one of them."""

from __future__ import annotations

import pwd
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import doit

from .command import CHECKOUT, DOOR

VERSION = "import sys; sys.exit(sys.version_info < (3, 11))"


class OrdinaryUser:
    """A user with a home; ``subordinate`` says whether there are ids to map."""

    def __init__(self, name: str, *, subordinate: bool) -> None:
        found = pwd.getpwnam(name)
        self.name, self.uid, self.gid, self.home = name, found.pw_uid, found.pw_gid, found.pw_dir
        self.subordinate = subordinate

    def run(self, code: str, *, cwd: Path, status: int = 0, path: str = "/usr/bin:/bin") -> str:
        """Run Python code that can import ``tasks``; give back what it printed."""
        done = subprocess.run(
            [self._python(), "-c", code],
            cwd=cwd,
            user=self.uid,
            group=self.gid,
            extra_groups=[],
            env={"PATH": path, "HOME": self.home, "PYTHONPATH": str(CHECKOUT)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == status, done.stderr
        return done.stdout

    def start(self, code: str, *, cwd: Path) -> subprocess.Popen[bytes]:
        """As :meth:`run`, in a session of its own, and go on beside it."""
        return subprocess.Popen(
            [self._python(), "-c", code],
            cwd=cwd,
            user=self.uid,
            group=self.gid,
            extra_groups=[],
            env={"PATH": "/usr/bin:/bin", "HOME": self.home, "PYTHONPATH": str(CHECKOUT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def doit_oci(
        self, cwd: Path, *words: str, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        """Run one command line in ``cwd``, as tests.support.command does it."""
        packages = Path(doit.__file__).resolve().parents[1]
        return subprocess.run(
            [self._python(), "-c", DOOR, *words],
            cwd=cwd,
            user=self.uid,
            group=self.gid,
            extra_groups=[],
            env={
                "PATH": "/usr/bin:/bin",
                "HOME": self.home,
                "PYTHONPATH": f"{CHECKOUT}:{packages}",
                **(env or {}),
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )

    def _python(self) -> str:
        for path in (sys.executable, "/usr/bin/python3", "/usr/local/bin/python3"):
            try:
                subprocess.run([path, "-c", VERSION], user=self.uid, group=self.gid, check=True)
            except (OSError, subprocess.CalledProcessError):
                continue
            return path
        raise AssertionError(f"{self.name} may run no Python of 3.11 or newer")


@contextmanager
def ordinary_user(*, subordinate: bool) -> Iterator[OrdinaryUser]:
    """Make a user, with or without subordinate ids; remove it after."""
    # Another module's user of this process may still be there.
    name = f"oci{secrets.token_hex(4)}{'s' if subordinate else 'p'}"
    words = ["useradd", "--create-home", name]
    if not subordinate:
        words[1:1] = ["-K", "SUB_UID_COUNT=0", "-K", "SUB_GID_COUNT=0"]
    subprocess.run(words, check=True, capture_output=True)
    try:
        yield OrdinaryUser(name, subordinate=subordinate)
    finally:
        subprocess.run(["userdel", "--force", "--remove", name], check=True, capture_output=True)
