"""Between this project and doit: loader, run command, reporter, database and our exceptions.

With graph.py and the commands the only importer of doit. doit is used through its plugin points
(task loader, commands, reporter, database), neither forked nor patched.
"""

from __future__ import annotations

import getopt
import json
import os
import sys
from collections.abc import Callable
from typing import Any

from doit.cmd_base import Command, TaskLoader2
from doit.cmd_run import Run as StockRun
from doit.dependency import JsonDB
from doit.doit_cmd import DoitMain
from doit.exceptions import BaseFail, TaskFailed
from doit.reporter import ZeroReporter
from doit.task import Task

from .errors import DoitOciError
from .project.plan import Options, Plan
from .store.atomic import write_atomic

PACKAGE = __package__ or "tasks"
BUG = 2
STOCK_DOORS = ("doit", "__main__.py")


def report(error: DoitOciError) -> int:
    """Print an error for people and return the exit status it means."""
    sys.stderr.write(f"error: {error}\n")
    return error.exit_status


class Act:
    """A doit action that turns our exceptions into doit's failures, so that no traceback shows."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self.work = work

    def __call__(self) -> TaskFailed | None:
        try:
            self.work()
        except DoitOciError as error:
            return TaskFailed(str(error))
        return None


class UpToDate:
    """A doit up-to-date check of a step; an object that cannot be read is simply not current."""

    def __init__(self, check: Callable[[], bool]) -> None:
        self.check = check

    def __call__(self, task: Task, values: dict[str, Any]) -> bool:
        try:
            return self.check()
        except (DoitOciError, OSError):
            return False


class StateDB(JsonDB):  # type: ignore[misc]
    """doit's database as one JSON file that never stops a run: it is advisory here.

    A damaged file counts as empty, and a new one replaces the old as a whole, because several
    processes may come and go.
    """

    desc = "advisory JSON, safe for several processes"

    def _load(self) -> dict[str, Any]:
        try:
            with open(self.name, encoding="utf-8") as file:
                found = json.load(file)
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def dump(self) -> None:
        from pathlib import Path

        path = Path(self.name)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(path, self.codec.encode(self._db).encode())
        except (OSError, DoitOciError):
            # A read-only state directory may still be run from.
            return


class Reporter(ZeroReporter):  # type: ignore[misc]
    """Says on standard error what is done and what failed; standard output is the container's."""

    desc = "doit-oci: steps and failures on standard error"

    def __init__(self, outstream: Any, options: dict[str, Any]) -> None:
        super().__init__(outstream, options)
        self.quiet = False
        self.unexpected = False

    def execute_task(self, task: Task) -> None:
        if task.actions and not self.quiet and not task.name.startswith("run:"):
            sys.stderr.write(f".  {task.title()}\n")

    def add_failure(self, task: Task, fail: BaseFail) -> None:
        if isinstance(fail, TaskFailed):
            sys.stderr.write(f"error: {task.name}: {fail.message.strip()}\n")
        elif fail.traceback:
            self.unexpected = True
            sys.stderr.write(f"error: {task.name}: this is a bug in doit-oci\n{fail.get_msg()}\n")
        elif fail.report:
            sys.stderr.write(f"error: {task.name}: {fail.message.strip()}\n")

    def runtime_error(self, msg: str) -> None:
        sys.stderr.write(f"error: {msg}\n")


class Loader(TaskLoader2):  # type: ignore[misc]
    """Makes the tasks that the selection needs, and resolves images only for those.

    doit makes one without arguments where ``[tool.doit]`` names it; then the command line is
    taken up anew by our own door, which knows what stands behind ``--``.
    """

    cmd_options = ()

    def __init__(self, options: Options | None = None) -> None:
        super().__init__()
        if options is None:
            if os.path.basename(sys.argv[0]) in STOCK_DOORS:
                from .cli import main

                raise SystemExit(main(sys.argv[1:]))
            options = Options()
        self.options = options
        self._plan: Plan | None = None

    @property
    def plan(self) -> Plan:
        if self._plan is None:
            from .graph import open_plan

            self._plan = open_plan(self.options)
        return self._plan

    def setup(self, opt_values: dict[str, Any]) -> None:
        pass

    def load_doit_config(self) -> dict[str, Any]:
        return {
            "dep_file": str(self.plan.workspace.database),
            "backend": "oci",
            "reporter": "oci",
            "par_type": "thread",
            "verbosity": 2,
        }

    def load_tasks(self, cmd: Command, pos_args: list[str]) -> list[Task]:
        from .graph import make_tasks

        return make_tasks(self.plan, pos_args, resolve=cmd.execute_tasks)


def permute(words: list[str], options: list[Any]) -> list[str]:
    """Options first, then the rest: people write them behind the target as well."""
    short = "".join(o.short + ("" if o.type is bool else ":") for o in options if o.short)
    long = [o.long + ("" if o.type is bool else "=") for o in options if o.long]
    long += [o.inverse for o in options if o.inverse]
    try:
        found, rest = getopt.gnu_getopt(words, short, long)
    except getopt.GetoptError:
        return words
    flat: list[str] = []
    for name, value in found:
        takes = (name[2:] + "=" in long) if name.startswith("--") else (name[1:] + ":" in short)
        flat += [name, value] if takes else [name]
    return flat + rest


class Ours:
    """What our commands share: options anywhere, and errors without a traceback."""

    cmdparser: Any

    def parse_execute(self, in_args: list[str]) -> int:
        words = permute(list(in_args), list(self.cmdparser.options))
        try:
            return super().parse_execute(words) or 0  # type: ignore[misc]
        except DoitOciError as error:
            return report(error)


class Run(Ours, StockRun):  # type: ignore[misc]
    """doit's own ``run``, with failures that a user can cause told by exit status 1."""

    name = "run"

    def _execute(self, outfile: Any, **rest: Any) -> int:
        if rest.get("reporter") == "oci":
            reporter = Reporter(sys.stderr, {})
            reporter.quiet = self.loader.options.quiet
            rest["reporter"] = reporter
            status = self._run(outfile, **rest)
            return 1 if status == BUG and not reporter.unexpected else status
        return self._run(outfile, **rest)

    def _run(self, outfile: Any, **rest: Any) -> int:
        return int(super()._execute(outfile, **rest) or 0)

    _execute.__signature__ = __import__("inspect").signature(StockRun._execute)  # type: ignore[attr-defined]


class ProjectCommand(Ours, Command):  # type: ignore[misc]
    """A command that works from the plan and not through tasks."""

    def __init__(self, task_loader: Loader, **rest: Any) -> None:
        super().__init__(**rest)
        self.loader = task_loader
        self.options = task_loader.options

    @property
    def plan(self) -> Plan:
        return self.loader.plan

    def execute(self, opt_values: dict[str, Any], pos_args: list[str]) -> int:
        return self.perform(opt_values, pos_args) or 0

    def perform(self, given: dict[str, Any], names: list[str]) -> int | None:
        """Do the command's work and return its exit status (None is 0)."""
        raise NotImplementedError


def run_doit(words: list[str], options: Options) -> int:
    """Hand a command line to doit, with our loader, commands, reporter and database."""
    from .commands import COMMANDS

    config = {
        "COMMAND": {name: f"{PACKAGE}.{place}" for name, place in COMMANDS.items()},
        "BACKEND": {"oci": f"{PACKAGE}.doit_bridge:StateDB"},
        "REPORTER": {"oci": f"{PACKAGE}.doit_bridge:Reporter"},
    }
    main = DoitMain(task_loader=Loader(options), config_filenames=(), extra_config=config)
    main.BIN_NAME = os.path.basename(sys.argv[0]) or "doit-oci"
    if any(not word for word in words):
        sys.stderr.write("error: an empty word is no target; arguments go behind --\n")
        return 3
    return int(main.run(words) or 0)
