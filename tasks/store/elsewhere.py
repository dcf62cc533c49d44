"""Run a command in other surroundings: umask, locale, time zone, directory and user."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import DoitOciError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

OTHER_USER = 65534
"""Nobody: there is always one, and nothing belongs to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """``user`` is None for whoever asks."""

    umask: int
    locale: str
    zone: str
    user: int | None = None

    def __str__(self) -> str:
        who = "this user" if self.user is None else f"user {self.user}"
        return f"umask {self.umask:03o}, {self.locale}, {self.zone}, {who}"


def other_user() -> int | None:
    """Another user who can start this interpreter, or None where there is none."""
    if os.geteuid() != 0:
        return None
    command = [sys.executable, "-c", "import sys; open(sys.argv[1]).close()", __file__]
    try:
        found = subprocess.run(
            command, user=OTHER_USER, group=OTHER_USER, extra_groups=[], capture_output=True,
            check=False, cwd="/",
        )  # fmt: skip
    except OSError:
        return None
    return OTHER_USER if found.returncode == 0 else None


def run_elsewhere(
    command: Sequence[str],
    *,
    cwd: Path,
    environ: Mapping[str, str],
    surroundings: Surroundings,
    subject: str,
) -> None:
    """Run to the end; its output is shown only when it fails. Raises: DoitOciError."""
    who = surroundings.user
    done = subprocess.run(
        list(command),
        cwd=cwd,
        env={
            **environ,
            "TZ": surroundings.zone,
            "LC_ALL": surroundings.locale,
            "HOME": str(cwd),
            "TMPDIR": str(cwd),
        },
        umask=surroundings.umask,
        user=who,
        group=who,
        extra_groups=[] if who is not None else None,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    if done.returncode:
        said = done.stdout.decode(errors="replace").strip().splitlines()[-20:]
        raise DoitOciError(
            "\n  ".join((f"failed with status {done.returncode} under {surroundings}", *said)),
            subject=subject,
        )
