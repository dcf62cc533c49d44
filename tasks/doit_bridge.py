"""Between this project and doit: loader, run command, reporter, database and our exceptions.

With creators.py, graph.py and the commands the only importer of doit. doit is used through its
plugin points (task loader, commands, reporter, database), neither forked nor patched.
"""

from __future__ import annotations

import getopt
import json
import os
import sys
from contextlib import nullcontext
from typing import Any

from doit.cmd_base import Command, TaskLoader2
from doit.cmd_run import Run as StockRun
from doit.cmdparse import CmdParseError
from doit.dependency import JsonDB
from doit.doit_cmd import DoitMain
from doit.exceptions import BaseFail, TaskFailed, UnmetDependency
from doit.reporter import ConsoleReporter, ZeroReporter
from doit.task import Task

from .errors import DeclarationError, DoitOciError
from .interrupt import status_of
from .project.plan import Options, Plan
from .step import Work, is_current, perform, refusal
from .store.atomic import write_atomic
from .turns import Turns
from .view.console import Console, open_events
from .view.events import Events

PACKAGE = __package__ or "tasks"
BUG = 2
ALL_BUNDLES = (None, ["bundle"])
"""Selections that build every bundle."""
ALL_CHECKS = "check"
"""The word that runs every check, also after one that fails; they wait more than they work, so they
run side by side."""
WRONG_WORDS = 3
MOST_THREADS = 500
"""doit starts as many as were asked for, whether or not there is work for them."""


class Act:
    """A doit action that turns our exceptions into doit's failures, so that no traceback shows."""

    def __init__(self, work: Work, plan: Plan) -> None:
        self.work, self.plan = work, plan

    def __call__(self) -> TaskFailed | None:
        turns = self.plan.turns
        try:
            with turns.turn(fetches=self.work.fetches) if turns else nullcontext():
                perform(self.work, self.plan.progress)
        except DoitOciError as error:
            return Failed(error)
        return None


class Failed(TaskFailed):  # type: ignore[misc]
    """A failure that remembers what exit status its cause means."""

    def __init__(self, error: DoitOciError) -> None:
        super().__init__(str(error))
        self.exit_status = error.exit_status


class UpToDate:
    """A doit up-to-date check of a piece of work."""

    def __init__(self, work: Work) -> None:
        self.work = work

    def __call__(self, task: Task, values: dict[str, Any]) -> bool:
        return is_current(self.work)


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
            write_atomic(path, self.codec.encode(self._db).encode(), sync=False)
        except (OSError, DoitOciError):
            # A read-only state directory may still be run from.
            return


class Reporter(ZeroReporter):  # type: ignore[misc]
    """Tells the events what was up to date and what failed; the actions tell what they do."""

    desc = "doit-oci: steps and failures on standard error"

    def __init__(self, outstream: Any, options: dict[str, Any]) -> None:
        super().__init__(outstream, options)
        self.events = Events([Console(sys.stderr)])
        self.unexpected = False
        self.exit_status = 1

    def skip_uptodate(self, task: Task) -> None:
        self.events.hit(task.name, (task.meta or {}).get("bytes", 0))

    def add_failure(self, task: Task, fail: BaseFail) -> None:
        if isinstance(fail, Failed):
            self.exit_status = max(self.exit_status, fail.exit_status)
        if fail.traceback and not isinstance(fail, TaskFailed):
            self.unexpected = True
            self.events.error(task.name, f"this is a bug in doit-oci\n{fail.get_msg()}", bug=True)
        elif isinstance(fail, UnmetDependency):
            if task.actions:
                self.events.error(task.name, f"not done, because {fail.message.strip()} failed")
        elif fail.report or isinstance(fail, TaskFailed):
            self.events.failure(task.name, fail.message)

    def runtime_error(self, msg: str) -> None:
        self.events.error("", msg)


class Beside(ConsoleReporter):  # type: ignore[misc]
    """For a dodo.py of someone's own: doit's words for its tasks; ours tell of themselves.

    Standard output, which is where doit writes, belongs to a container among them.
    """

    desc = "console, but for the tasks of doit-oci, which write to standard error"

    def execute_task(self, task: Task) -> None:
        if not is_ours(task):
            super().execute_task(task)

    def skip_uptodate(self, task: Task) -> None:
        if not is_ours(task):
            super().skip_uptodate(task)

    def add_failure(self, task: Task, fail: BaseFail) -> None:
        if not is_ours(task):
            super().add_failure(task, fail)
        elif isinstance(fail, TaskFailed):
            said = fail.message.removeprefix(f"{task.name}: ")
            sys.stderr.write(f"error: {task.name}: {said}\n")
        elif isinstance(fail, UnmetDependency):
            sys.stderr.write(
                f"error: {task.name}: not done, because {fail.message.strip()} failed\n"
            )
        else:
            sys.stderr.write(f"error: {task.name}: this is a bug in doit-oci\n{fail.get_msg()}\n")


def is_ours(task: Task) -> bool:
    return any(isinstance(getattr(each, "py_callable", None), Act) for each in task.actions)


class Loader(TaskLoader2):  # type: ignore[misc]
    """Makes the tasks that the selection needs, and resolves images only for those."""

    cmd_options = ()

    def __init__(self, options: Options | None = None) -> None:
        super().__init__()
        self.options = options or Options()
        self._plan: Plan | None = None
        self._events: Events | None = None
        self._given: dict[str, Any] = {}

    @property
    def events(self) -> Events:
        """What this invocation tells; also before there is a plan, to say why there is none."""
        if self._events is None:
            told = self._plan.progress if self._plan else None
            self._events = told if isinstance(told, Events) else open_events(self.options, None)
        return self._events

    @property
    def plan(self) -> Plan:
        if self._plan is None:
            from .project_folder import open_plan

            self._plan = open_plan(self.options)
        return self._plan

    def flush(self) -> int:
        """Write what the lock still waits for; the exit status of a failure, else 0."""
        if self._plan is None:
            return 0
        from .locking import Locking

        try:
            Locking(self._plan).flush()
        except DoitOciError as error:
            self.events.error(error.subject, error.message, hint=error.hint or "")
            return error.exit_status
        return 0

    def setup(self, opt_values: dict[str, Any]) -> None:
        self._given = opt_values

    def load_doit_config(self) -> dict[str, Any]:
        return {
            "dep_file": str(self.plan.workspace.database),
            "backend": "oci",
            "reporter": "oci",
            "par_type": "thread",
            "verbosity": 2,
        }

    def load_tasks(self, cmd: Command, pos_args: list[str]) -> list[Task]:
        from .creators import make_tasks

        given = self._given
        tells = given.get("reporter") == "oci" and not given.get("always")
        told = self.events if cmd.execute_tasks and tells else None
        return make_tasks(self.plan, pos_args, resolve=cmd.execute_tasks, told=told)


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
    loader: Loader

    def parse_execute(self, in_args: list[str]) -> int:
        words = permute(list(in_args), list(self.cmdparser.options))
        status = BUG
        try:
            status = super().parse_execute(words) or 0  # type: ignore[misc]
        except DoitOciError as error:
            status = self._say(error)
        except OSError as error:
            status = self._say(refusal(error))
        except CmdParseError as error:
            # doit's words hold a dump of every option that there is.
            said = str(error).removeprefix("Error parsing Command: ").partition(" (parsing ")[0]
            _, is_number, given = said.strip().partition("invalid literal for int() with base 10: ")
            if is_number:
                said = f"expected a whole number, got {given}"
            name = self.name  # type: ignore[attr-defined]
            status = WRONG_WORDS
            hint = f"`doit-oci help {name}` shows its options"
            self.loader.events.error(name, said.strip(), hint=hint)
        except SystemExit as ended:
            status = ended.code if isinstance(ended.code, int) else BUG
            raise
        except KeyboardInterrupt as interrupt:
            status = status_of(interrupt)
            raise
        finally:
            status = self.loader.flush() or status
            self.loader.events.close(status)
        return status

    def _say(self, error: DoitOciError) -> int:
        name = self.name  # type: ignore[attr-defined]
        usage = f"`doit-oci help {name}` shows its words" if error.subject == name else ""
        self.loader.events.error(error.subject, error.message, hint=error.hint or usage)
        return error.exit_status


class Run(Ours, StockRun):  # type: ignore[misc]
    """doit's own ``run``, with failures that a user can cause told by exit status 1."""

    name = "run"
    doc_purpose = "build targets, and run the bundles among them (the word may be left out)"
    doc_usage = "[TARGET...] [-- ARG...]"

    sel_tasks: Any

    def _execute(self, outfile: Any, **rest: Any) -> int:
        if rest.get("reporter") == "oci":
            reporter = Reporter(sys.stderr, {})
            reporter.events = self.loader.events
            rest["reporter"] = reporter
            if self.sel_tasks == [ALL_CHECKS]:
                rest["num_process"] = rest.get("num_process") or os.cpu_count() or 1
                rest["continue_"] = True
            everything = self.sel_tasks in ALL_BUNDLES
            if everything:
                self.sel_tasks = self._one_by_one()
            status = self._run(outfile, **rest)
            if status == 0 and everything and not self.loader.options.shard:
                self.loader.flush()
                from .warm.recording import write_all_ready

                write_all_ready(self.loader.plan, self.loader.plan.bundle_names())
            return status if status == 0 or reporter.unexpected else reporter.exit_status
        return self._run(outfile, **rest)

    def _one_by_one(self) -> list[str]:
        """The bundles by name: of a group doit would do the first step of every member first, and
        with ``-n`` nothing would be unpacked while the next image is fetched."""
        names = [task.name for task in self.task_list if task.subtask_of == "bundle"]
        return names or list(self.sel_tasks or ())

    def _run(self, outfile: Any, **rest: Any) -> int:
        count = int(rest.get("num_process") or 0)
        if count < 0:
            raise DeclarationError("expected a whole number from 1", subject=f"-n {count}")
        count = rest["num_process"] = min(count, MOST_THREADS)
        if count < 2 or rest.get("par_type") != "thread":
            return int(super()._execute(outfile, **rest) or 0)
        from .store.layers.forks import Forks

        forks = Forks(count, self.loader.plan.progress)
        self.loader.plan.turns = turns = Turns(count, forks.call)
        rest["num_process"] = turns.workers
        try:
            return int(super()._execute(outfile, **rest) or 0)
        finally:
            turns.end()
            forks.close()

    _execute.__signature__ = __import__("inspect").signature(StockRun._execute)  # type: ignore[attr-defined]


class ProjectCommand(Ours, Command):  # type: ignore[misc]
    """A command that works from the plan and not through tasks; ``splits`` is whether it takes
    ``--shard``."""

    splits = False

    def __init__(self, task_loader: Loader, **rest: Any) -> None:
        super().__init__(**rest)
        self.loader = task_loader
        self.options = task_loader.options

    @property
    def plan(self) -> Plan:
        return self.loader.plan

    def execute(self, opt_values: dict[str, Any], pos_args: list[str]) -> int:
        if self.options.shard is not None and not self.splits:
            raise DeclarationError(
                f"splits what is built or cached, and {self.name} is no part of that",
                subject=f"--shard {self.options.shard}",
                hint="leave it away",
            )
        return self.perform(opt_values, pos_args) or 0

    def perform(self, given: dict[str, Any], names: list[str]) -> int | None:
        """Do the command's work and return its exit status (None is 0)."""
        raise NotImplementedError


def run_doit(words: list[str], options: Options) -> int:
    """Hand a command line to doit, with our loader, commands, reporter and database."""
    from .commands import COMMANDS, STOCK

    config = {
        "COMMAND": {name: f"{PACKAGE}.{at}" for name, at in {**COMMANDS, **STOCK}.items()},
        "BACKEND": {"oci": f"{PACKAGE}.doit_bridge:StateDB"},
        "REPORTER": {"oci": f"{PACKAGE}.doit_bridge:Reporter"},
    }
    main = DoitMain(task_loader=Loader(options), config_filenames=(), extra_config=config)
    main.BIN_NAME = os.path.basename(sys.argv[0]) or "doit-oci"
    if any(not word for word in words):
        sys.stderr.write("error: an empty word is no target; arguments go behind --\n")
        return 3
    return int(main.run(words) or 0)
