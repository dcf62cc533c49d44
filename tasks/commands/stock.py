"""doit's own commands that need nothing of ours but that a wrong word is no traceback."""

from __future__ import annotations

import sys
from typing import Any

from doit.cmd_completion import TabCompletion as StockTabCompletion
from doit.cmd_ignore import Ignore as StockIgnore
from doit.cmd_info import Info as StockInfo
from doit.cmd_resetdep import ResetDep as StockResetDep
from doit.cmd_strace import Strace as StockStrace

from ..doit_bridge import Ours, ProjectCommand


class Info(Ours, StockInfo):  # type: ignore[misc]
    """``info TASK``"""


class Ignore(Ours, StockIgnore):  # type: ignore[misc]
    """``ignore TASK…``"""


class ResetDep(Ours, StockResetDep):  # type: ignore[misc]
    """``reset-dep [TASK…]``"""


class Strace(Ours, StockStrace):  # type: ignore[misc]
    """``strace TASK``"""


class TabCompletion(Ours, StockTabCompletion):  # type: ignore[misc]
    """``tabcompletion``; ``completion`` is ours."""


class DumpDB(ProjectCommand):
    """``dumpdb``: doit's own looks for a dbm file, and the database is JSON here."""

    name = "dumpdb"
    doc_purpose = "print doit's database"

    def perform(self, given: dict[str, Any], names: list[str]) -> int:
        try:
            sys.stdout.write(self.plan.workspace.database.read_text("utf-8"))
        except FileNotFoundError:
            pass
        return 0
