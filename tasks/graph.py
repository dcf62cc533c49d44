"""The graph for a dodo.py of someone's own: what ``from doit_oci.tasks.graph import *`` brings.

Stock doit reads the command line there, and knows nothing of our commands and of what images have
to be resolved for the targets. Both are seen to when it asks for the tasks: a command of ours is
handed to our own door, unless the dodo.py has a task of that name.
"""

from __future__ import annotations

import atexit
import getopt
import os
import sys
from collections.abc import Iterator
from functools import cache
from typing import Any

from doit.doit_cmd import DoitMain
from doit.exceptions import InvalidDodoFile

from .cli import STOCK_DOORS, leave, main
from .command_line import split, take_options
from .commands import COMMANDS
from .creators import (
    STEPS,
    TaskDict,
    blob_tasks,
    bundle_tasks,
    check_tasks,
    config_tasks,
    images_of,
    layout_tasks,
    reset_tasks,
    rootfs_tasks,
    run_tasks,
    select,
)
from .doit_bridge import Act, Beside
from .errors import DeclarationError, DoitOciError
from .project.plan import Options
from .project_folder import open_plan
from .step import Command
from .steps import Steps
from .view.events import Events

__all__ = [
    "DOIT_CONFIG",
    "task_blob",
    "task_bundle",
    "task_check",
    "task_config",
    "task_layout",
    "task_rootfs",
    "task_runs",
]

DOIT_CONFIG = {"reporter": Beside, "par_type": "thread"}
NOT_DOITS = COMMANDS.keys() - {command.get_name() for command in DoitMain.DOIT_CMDS}
"""The commands that stock doit has none of the same name as."""
DOITS_TOO = ("clean", "forget")
"""Stock doit's are of its database and of tasks' targets, which say nothing of our steps."""
BUILT = ("rootfs", "config", "bundle", "check", "run")
"""Steps of a bundle: what ``clean`` and ``forget`` take."""


def our_command(argv: list[str]) -> list[str] | None:
    """What our own door is to do of a command line of stock doit's; None where that does it.

    >>> our_command(["-f", "other.py", "lock", "--check"])
    ['lock', '--check']
    >>> our_command(["bundle:a"]), our_command(["list"]), our_command(["clean", "mine"])
    (None, None, None)
    >>> our_command(["clean", "bundle:a"])
    ['clean', 'bundle:a']
    """
    try:
        _, words = getopt.getopt(argv, "f:d:k", ["file=", "dir=", "seek-file"])
    except getopt.GetoptError:
        return None
    if not words:
        return None
    first, *rest = words
    if first in DOITS_TOO:
        names = [word for word in rest if word not in ("-n", "--dry-run")]
        is_ours = bool(names) and all(word.partition(":")[0] in BUILT for word in names)
    elif first == "help":
        is_ours = len(rest) == 1 and rest[0] in NOT_DOITS
    else:
        is_ours = first in NOT_DOITS
    return words if is_ours else None


def has_own_task(name: str) -> bool:
    """Whether a module that our tasks were imported into has a creator of that name."""
    wanted = f"task_{name}"
    spaces = [getattr(module, "__dict__", {}) for module in list(sys.modules.values())]
    return any(wanted in each for each in spaces if each.get("task_runs") is task_runs)


def take_over() -> None:
    """Do a command of ours and end, if that is what stock doit was called with."""
    if os.path.basename(sys.argv[0]) not in STOCK_DOORS:
        return
    words = our_command(sys.argv[1:])
    if words is None:
        return
    subject = words[1] if words[0] == "help" else words[0]
    if not has_own_task(subject):
        leave(main(words))


def end(steps: Steps) -> None:
    """Nothing of ours is told when somebody else's doit ends: the lock is written, and the events
    of an invocation closed of which only the steps are known."""
    try:
        steps.locking.flush()
    except DoitOciError as error:
        sys.stderr.write(f"error: {error}\n")
    events = steps.plan.progress
    if isinstance(events, Events):
        events.close(1 if events.totals.failed else 0)


@cache
def _mixed() -> tuple[Steps, tuple[str, ...]]:
    """The plan for a dodo.py of someone's own: doit says nothing of the selection there, so the
    command line is read for the targets that images must be resolved for."""
    head, tail = split(sys.argv[1:])
    words, found = take_options(head)
    options = Options(args=tuple(tail) if tail else None, **found)
    plan = open_plan(options)
    steps = Steps(plan)
    atexit.register(end, steps)
    targets = [word for word in words if word.partition(":")[0] in STEPS and ":" in word]
    if targets:
        chosen = select(plan, targets) or []
        steps.locking.resolve(dict.fromkeys(plan.bundle(name).image for name in chosen))
    return steps, plan.bundle_names()


def _created(creator: Any) -> Iterator[TaskDict]:
    take_over()
    try:
        steps, names = _mixed()
    except DeclarationError as error:
        raise InvalidDodoFile(str(error)) from error
    except DoitOciError as error:
        # doit shows a traceback for what a creator raises, unless it ends everything.
        sys.stderr.write(f"error: {error}\n")
        raise SystemExit(error.exit_status) from error
    yield from creator(steps, names)


def _resolve_first(task: TaskDict) -> None:
    """An image that a task of someone else's needs is not known before that task runs."""
    steps, names = _mixed()
    image = task["name"]
    if not steps.locking.platforms(image):
        bundle = images_of(steps, names)[image]
        work = Command(f"resolve:{image}", lambda: steps.fetch_all(bundle))
        task["actions"] = [Act(work, steps.plan), *task["actions"]]


def task_blob() -> Iterator[TaskDict]:
    """fetch the blobs of every image"""
    yield from _created(blob_tasks)


def task_layout() -> Iterator[TaskDict]:
    """image layouts"""
    for task in _created(layout_tasks):
        _resolve_first(task)
        yield task


def task_rootfs() -> Iterator[TaskDict]:
    """root file systems"""
    yield from _created(rootfs_tasks)


def task_config() -> Iterator[TaskDict]:
    """runtime configurations"""
    yield from _created(config_tasks)


def task_bundle() -> Iterator[TaskDict]:
    """finished bundles"""
    yield from _created(bundle_tasks)


def task_check() -> Iterator[TaskDict]:
    """checked bundles"""
    yield from _created(check_tasks)


def task_runs() -> Iterator[TaskDict]:
    """running bundles"""
    head, tail = split(sys.argv[1:])
    for task in _created(run_tasks):
        # Stock doit has to be told that what follows is no target; before it, others may be.
        yield task | {"pos_arg": "args"} if tail and head[-1:] == [task["basename"]] else task
    yield from _created(reset_tasks)
