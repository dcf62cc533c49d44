"""Do something as another user, in a child of this process: no interpreter need be readable."""

from __future__ import annotations

import os
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

NOBODY_WE_KNOW = 4242


def as_other_user(
    work: Callable[[], object], *, cwd: Path, umask: int = 0o077, zone: str = "Asia/Kathmandu"
) -> None:
    """Run ``work`` as user 4242 with another umask, time zone and directory; fail as it fails."""
    for parent in cwd.absolute().parents:
        if parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o011)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setgroups([])
            os.setgid(NOBODY_WE_KNOW)
            os.setuid(NOBODY_WE_KNOW)
            os.umask(umask)
            os.chdir(cwd)
            os.environ.update(TZ=zone, LC_ALL="C", HOME="/nonexistent")
            time.tzset()
            work()
            status = 0
        except BaseException:  # noqa: BLE001 - a child of fork must not go on into the tests
            traceback.print_exc()
        finally:
            os._exit(status)
    _, result = os.waitpid(child, 0)
    assert result == 0, "failed as another user; its traceback stands above"
