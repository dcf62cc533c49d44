"""Run a command in other surroundings: umask, locale, time zone, directory and user."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

from ..errors import DoitOciError
from ..value import Value

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

OTHER_USER = 65534
"""Nobody: there is always one, and nothing belongs to it."""

PLAIN_LOCALE = {"PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
"""Lets Python take a locale as it is, where it would rather take UTF-8."""

NAMESPACE = ("unshare", "--user", "--map-user=4242", "--map-group=4242", "--")


class Surroundings(Value):
    """``user`` is None for whoever asks; ``prefix`` are the words that make us another user."""

    umask: int
    locale: str
    zone: str
    user: int | None = None
    prefix: tuple[str, ...] = ()

    def __str__(self) -> str:
        who = "this user" if self.user is None else f"user {self.user}"
        who = "an ordinary user of a namespace" if self.prefix else who
        return f"umask {self.umask:03o}, {self.locale}, {self.zone}, {who}"


def as_another_user(surroundings: Surroundings) -> Surroundings | None:
    """The same as another user: nobody, where this is root, or an ordinary user of a namespace.

    None where neither can start this interpreter.
    """
    candidates = [surroundings.replacing(prefix=NAMESPACE)]
    if os.geteuid() == 0:
        candidates.insert(0, surroundings.replacing(user=OTHER_USER))
    for found in candidates:
        probe = [*found.prefix, sys.executable, "-c", "import sys; open(sys.argv[1]).close()"]
        who = found.user
        try:
            done = subprocess.run(
                [*probe, __file__], user=who, group=who, capture_output=True, check=False, cwd="/",
                extra_groups=[] if who is not None else None,
            )  # fmt: skip
        except OSError:
            continue
        if done.returncode == 0:
            return found
    return None


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
        [*surroundings.prefix, *command],
        cwd=cwd,
        env={
            **environ,
            "TZ": surroundings.zone,
            "LC_ALL": surroundings.locale,
            **({} if surroundings.locale.endswith("UTF-8") else PLAIN_LOCALE),
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
