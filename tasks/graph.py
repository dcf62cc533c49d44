"""The graph: declaration and lock → tasks, one per object and step, keyed by digest.

    blob:DIGEST → layout:IMAGE ─┐
                └→ rootfs:BUNDLE → config:BUNDLE → bundle:BUNDLE → run:BUNDLE, check:BUNDLE

Creators are pure: they read the declaration and the lock and nothing else. A project of its own
mixes the tasks with its own by ``from doit_oci.tasks.graph import *`` in its dodo.py.
"""

from __future__ import annotations

import atexit
import os
import platform as host
import sys
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .cli import split, take_options
from .declaration_cache import load_declaration
from .errors import DeclarationError, UnknownTarget
from .lock_index import open_lock
from .oci.platform import Platform, normalise
from .project.plan import Options, Plan, TaskDict, blobs_of
from .project.reason import ABSENT
from .project.workspace import DECLARATION, STATE_DIRECTORY, Workspace
from .step import Step
from .steps import Steps
from .view.console import open_events
from .view.events import Events

if TYPE_CHECKING:
    from doit.task import Task

__all__ = [
    "task_blob",
    "task_layout",
    "task_rootfs",
    "task_config",
    "task_bundle",
    "task_check",
    "task_runs",
]

STEPS = ("layout", "rootfs", "config", "bundle", "run", "check", "reset")
GROUPS = ("blob", "layout", "rootfs", "config", "bundle", "check")


def host_platform() -> Platform:
    """What this machine runs."""
    return normalise(Platform("linux", host.machine()))


def find_project(start: Path) -> Path:
    """The nearest folder upwards that holds images.toml. Raises: DeclarationError."""
    for folder in (start, *start.parents):
        if (folder / DECLARATION).is_file():
            return folder
    raise DeclarationError(
        f"no {DECLARATION} here or in any folder above",
        subject=str(start),
        hint="`doit-oci init` writes one",
    )


def open_plan(options: Options, start: Path | None = None) -> Plan:
    """Read the declaration and the lock. Raises: DeclarationError."""
    here = (start or Path.cwd()).absolute()
    project = find_project(here)
    state = here / options.state if options.state else project / STATE_DIRECTORY
    workspace = Workspace(project=project, state=state)
    events = open_events(options, workspace.record)
    return Plan(
        workspace=workspace,
        images=load_declaration(workspace),
        lock=open_lock(workspace),
        host=host_platform(),
        options=options,
        progress=events,
    )


def select(plan: Plan, words: Sequence[str]) -> list[str] | None:
    """The bundles that target words ask for, or None for all.

    Raises: UnknownTarget for a name or a step that there is not.
    """
    names: list[str] = []
    for word in words:
        step, colon, name = word.partition(":")
        if not colon or step == "blob" or "*" in word:
            if not colon and step not in GROUPS and "*" not in word and not os.path.exists(word):
                raise _unknown_word(plan, word)
            return None
        if step not in STEPS:
            raise _unknown_word(plan, word)
        if step == "layout":
            plan.images.image(name)
            names += plan.images.users(name)
        else:
            names.append(plan.bundle(name).name)
    return list(dict.fromkeys(names)) if words else None


def _unknown_word(plan: Plan, word: str) -> UnknownTarget:
    from .project.suggestion import did_you_mean

    known = [f"{step}:{name}" for step in STEPS for name in plan.bundle_names()[:1000]]
    from .commands import COMMANDS

    guess = did_you_mean(word, [*known, *GROUPS, *COMMANDS])
    return UnknownTarget(
        f"no command, task or target of that name{guess}",
        subject=word,
        hint="`list` shows what can be run, `help` the commands",
    )


def make_tasks(plan: Plan, words: Sequence[str], *, resolve: bool) -> list[Task]:
    """The tasks that a command line needs, as doit's objects.

    With ``resolve`` (a command that executes tasks), images that the selection needs and the lock
    does not hold are resolved first. Raises: DeclarationError, RegistryError.
    """
    from doit.loader import generate_tasks
    from doit.task import Task

    names = select(plan, words)
    chosen = list(plan.bundle_names()) if names is None else names
    steps = Steps(plan)
    if plan.options.shard is not None and names is None:
        chosen = in_shard(steps, chosen)
        if not chosen:
            # Another machine's part: the words are known, and there is nothing to do for them.
            return [Task(word, None, has_subtask=True) for word in words]
    if resolve:
        steps.locking.resolve(dict.fromkeys(plan.bundle(name).image for name in chosen))
        if names is None and not words:
            return list(generate_tasks("bundle", _default(steps, chosen)))
    return [
        task
        for creator in CREATORS
        for task in generate_tasks(creator.__name__, creator(steps, chosen), creator.__doc__)
    ]


def in_shard(steps: Steps, names: Iterable[str]) -> list[str]:
    """Those of the bundles that are this machine's; bundles of one image stay together.

    Raises: DeclarationError for what is no shard.
    """
    from .shard import parse_shard, shard

    number, count = parse_shard(steps.plan.options.shard or "")
    keys = {name: str(steps.locking.reference(steps.plan.bundle(name).image)) for name in names}
    return shard(keys, number=number, count=count)


def _default(steps: Steps, names: Iterable[str]) -> Iterator[TaskDict]:
    """Without a target every bundle is built, and none is run."""
    for creator in CREATORS[:5]:
        yield from creator(steps, names)


def _task(steps: Steps, step: Step, *, doc: str, deps: list[str]) -> TaskDict:
    from .doit_bridge import Act, UpToDate

    return {
        "basename": step.step,
        "name": step.name,
        "doc": doc,
        "actions": [Act(step.outcome, steps.plan.progress, step.title, step.why)],
        "uptodate": [UpToDate(step.is_current)],
        "task_dep": deps,
        "verbosity": 2,
    }


def blob_tasks(steps: Steps, names: Iterable[str]) -> Iterator[TaskDict]:
    """fetch one blob (and, over the same connections, what else its image lacks)"""
    from .doit_bridge import Act, UpToDate

    seen = set()
    for name in names:
        locked, fetch = steps.locking.locked(name), steps.fetch(name)
        found = [each for each in blobs_of(locked) if each.digest not in seen] if locked else []
        # One task fetches all that its image lacks: side by side there are other images'.
        first = max(found, key=lambda each: each.size, default=None)
        for descriptor in found:
            seen.add(descriptor.digest)
            yield {
                "basename": "blob",
                "name": str(descriptor.digest),
                "doc": f"{descriptor.size} bytes of {steps.plan.bundle(name).image}",
                "actions": [
                    Act(fetch, steps.plan.progress, f"blob:{descriptor.digest}", lambda: ABSENT)
                ],
                "uptodate": [UpToDate(steps.has_blob(descriptor))],
                "task_dep": [f"blob:{first.digest}"] if first and descriptor != first else [],
                "meta": {"bytes": descriptor.size},
                "verbosity": 2,
            }


def layout_tasks(steps: Steps, names: Iterable[str]) -> Iterator[TaskDict]:
    """put an image's blobs together as an image layout"""
    for image in dict.fromkeys(steps.plan.bundle(name).image for name in names):
        blobs = [f"blob:{found.digest}" for found in steps.locking.image_blobs(image)]
        yield _task(steps, steps.layout(image), doc=f"image layout of {image}", deps=blobs)


def rootfs_tasks(steps: Steps, names: Iterable[str]) -> Iterator[TaskDict]:
    """apply the layers of a bundle's image in order"""
    for name in names:
        image = steps.plan.bundle(name).image
        yield _task(
            steps, steps.rootfs(name), doc=f"root file system of {name}", deps=[f"layout:{image}"]
        )


def config_tasks(steps: Steps, names: Iterable[str]) -> Iterator[TaskDict]:
    """turn the image configuration and the overrides into config.json"""
    for name in names:
        yield _task(
            steps, steps.config(name), doc=f"config.json of {name}", deps=[f"rootfs:{name}"]
        )


def bundle_tasks(steps: Steps, names: Iterable[str]) -> Iterator[TaskDict]:
    """finish a bundle: its digest goes into the lock"""
    for name in names:
        yield _task(steps, steps.bundle(name), doc=f"bundle {name}", deps=[f"config:{name}"])


def check_tasks(steps: Steps, names: Iterable[str]) -> Iterator[TaskDict]:
    """run a bundle and compare with its check table; passes are remembered"""
    for name in names:
        if steps.plan.bundle(name).check:
            yield _task(steps, steps.check(name), doc=f"check of {name}", deps=[f"bundle:{name}"])


def run_tasks(steps: Steps, names: Iterable[str]) -> Iterator[TaskDict]:
    """run a bundle"""
    from .doit_bridge import Act

    for name in names:
        yield {
            "basename": f"run:{name}",
            "doc": f"run {name} ({steps.locking.source(name)})",
            "actions": [Act(steps.run(name), steps.plan.progress, f"run:{name}")],
            "uptodate": [False],
            "task_dep": [f"bundle:{name}"],
            "verbosity": 2,
            "pos_arg": "args",
        }


def reset_tasks(steps: Steps, names: Iterable[str]) -> Iterator[TaskDict]:
    """empty the kept writable layer of a persistent bundle"""
    from .doit_bridge import Act

    for name in names:
        if steps.plan.bundle(name).overrides.get("persistent"):
            yield {
                "basename": f"reset:{name}",
                "doc": f"empty the writable layer of {name}",
                "actions": [Act(steps.reset(name), steps.plan.progress, f"reset:{name}")],
                "uptodate": [False],
                "verbosity": 2,
            }


CREATORS = (
    blob_tasks,
    layout_tasks,
    rootfs_tasks,
    config_tasks,
    bundle_tasks,
    check_tasks,
    run_tasks,
    reset_tasks,
)


def close_events(events: Events) -> None:
    """The end of an invocation of which only the steps are known."""
    events.close(1 if events.totals.failed else 0)


@cache
def _mixed() -> tuple[Steps, tuple[str, ...]]:
    """The plan for a dodo.py of someone's own: doit says nothing of the selection there, so the
    command line is read for the targets that images must be resolved for."""
    head, tail = split(sys.argv[1:])
    words, found = take_options(head)
    options = Options(args=None if tail is None else tuple(tail), **found)
    plan = open_plan(options)
    if isinstance(plan.progress, Events):
        # Nothing of ours is told when somebody else's doit ends.
        atexit.register(close_events, plan.progress)
    steps = Steps(plan)
    targets = [word for word in words if word.partition(":")[0] in STEPS and ":" in word]
    if targets:
        chosen = select(plan, targets) or []
        steps.locking.resolve(dict.fromkeys(plan.bundle(name).image for name in chosen))
    return steps, plan.bundle_names()


def _created(creator: Any) -> Iterator[TaskDict]:
    from doit.exceptions import InvalidDodoFile

    try:
        steps, names = _mixed()
    except DeclarationError as error:
        raise InvalidDodoFile(str(error)) from error
    yield from creator(steps, names)


def task_blob() -> Iterator[TaskDict]:
    """fetch the blobs of every image"""
    yield from _created(blob_tasks)


def task_layout() -> Iterator[TaskDict]:
    """image layouts"""
    yield from _created(layout_tasks)


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
    yield from _created(run_tasks)
    yield from _created(reset_tasks)
