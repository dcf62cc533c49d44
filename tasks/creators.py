"""Creators: declaration and lock → tasks, one per object and step, keyed by digest.

    blob:DIGEST → layout:IMAGE ─┐
                └→ rootfs:BUNDLE → config:BUNDLE → bundle:BUNDLE → run:BUNDLE, check:BUNDLE

Creators are pure: they read the declaration and the lock and nothing else. They are what our own
loader (doit_bridge.py) and a dodo.py of someone's own (graph.py) ask for tasks.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypedDict

from .errors import DeclarationError, UnknownTarget
from .project.plan import Plan, blobs_of
from .step import Work, is_current
from .steps import Steps

if TYPE_CHECKING:
    from doit.task import Task

    from .view.events import Events

STEPS = ("layout", "rootfs", "config", "bundle", "run", "check", "reset")
ALL_BUNDLES: tuple[list[str], ...] = ([], ["bundle"])
"""Words that ask for every bundle."""
GROUPS = ("blob", "layout", "rootfs", "config", "bundle", "check")


class TaskDict(TypedDict, total=False):
    """The keys of doit's task dictionaries that are used here."""

    basename: str
    name: str
    doc: str
    actions: list[Any]
    uptodate: list[Any]
    task_dep: list[str]
    verbosity: int
    title: Callable[[Any], str]
    clean: list[Any]
    pos_arg: str
    params: list[Mapping[str, Any]]
    meta: Mapping[str, Any]


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
            bundle = plan.bundle(name)
            if step == "check" and bundle.check is None:
                raise UnknownTarget(
                    "has nothing to be checked against",
                    subject=word,
                    hint=f"say what is expected in [bundles.{name}.check]",
                )
            if step == "reset" and not bundle.overrides.get("persistent"):
                raise UnknownTarget(
                    "keeps nothing from one run to the next",
                    subject=word,
                    hint="only a bundle with persistent = true has something to empty",
                )
            names.append(bundle.name)
    return list(dict.fromkeys(names)) if words else None


def _meant(plan: Plan, words: Sequence[str]) -> list[str]:
    """The bundles that words may mean which name no single one; nobody asks for others' images."""
    names = plan.bundle_names()
    if not words:
        return list(names)
    return [name for name in names if any(_may_mean(plan, word, name) for word in words)]


def _may_mean(plan: Plan, word: str, name: str) -> bool:
    from fnmatch import fnmatchcase

    step, colon, wanted = word.partition(":")
    bundle = plan.bundle(name)
    if word == "check":
        return bundle.check is not None
    if not colon or "*" in step:
        return True
    if step != "blob":
        return fnmatchcase(bundle.image if step == "layout" else name, wanted)
    locked = plan.locked_image(bundle.image)
    platforms = locked.platforms.values() if locked else ()
    return any(fnmatchcase(str(b.digest), wanted) for each in platforms for b in blobs_of(each))


def _unknown_word(plan: Plan, word: str) -> UnknownTarget:
    from .project.suggestion import did_you_mean

    known = [f"{step}:{name}" for step in STEPS for name in plan.bundle_names()[:1000]]
    from .commands import COMMANDS

    if word in COMMANDS:
        return UnknownTarget(
            "is a command, and stands before everything else",
            subject=word,
            hint=f"call `{word}` by itself, not beside targets",
        )
    guess = did_you_mean(word, [*known, *GROUPS, *COMMANDS])
    return UnknownTarget(
        f"no command, task or target of that name{guess}",
        subject=word,
        hint="`list` shows what can be run, `help` the commands",
    )


def make_tasks(
    plan: Plan, words: Sequence[str], *, resolve: bool, told: Events | None = None
) -> list[Task]:
    """The tasks that a command line needs, as doit's objects.

    With ``resolve`` (a command that executes tasks), images that the selection needs and the lock
    does not hold are resolved first. With ``told``, where all bundles are asked for, there are no
    tasks for those that stand: that is told instead. Raises: DeclarationError, RegistryError.
    """
    from doit.loader import generate_tasks
    from doit.task import Task

    names = select(plan, words)
    chosen = _meant(plan, words) if names is None else names
    steps = Steps(plan)
    if plan.options.shard is not None:
        chosen = in_shard(steps, chosen, named=names or ())
        if not chosen:
            # Another machine's part: the words are known, and there is nothing to do for them.
            return [Task(word, None, has_subtask=True) for word in words]
    if resolve:
        steps.locking.resolve(dict.fromkeys(plan.bundle(name).image for name in chosen))
        if told is not None and list(words) in ALL_BUNDLES:
            chosen = without_standing(steps, chosen, told)
        if names is None and not words:
            return list(generate_tasks("bundle", _default(steps, chosen)))
    made = [
        task
        for creator in CREATORS
        for task in generate_tasks(creator.__name__, creator(steps, chosen), creator.__doc__)
    ]
    known = {task.name for task in made}
    made += [Task(word, None, has_subtask=True) for word in words if word in {*GROUPS} - known]
    blobs = {name for name in known if name.startswith("blob:")}
    for word in words:
        if word.startswith("blob:") and "*" not in word and word not in blobs:
            raise _unknown_word(plan, word)
    return made


def without_standing(steps: Steps, names: Iterable[str], told: Events) -> list[str]:
    """The bundles of which something is left to do; of the others it is told that all stands.

    As doit's tasks the latter would take longer than to look at them, and 70 kB each.
    """
    known: dict[str, bool] = {}
    left = []
    for name in names:
        works = list(steps.works("bundle", name))
        for work in works:
            # Bundles of one image have some in common.
            if work.title not in known:
                known[work.title] = is_current(work)
            if not known[work.title]:
                left.append(name)
                break
        else:
            for work in works:
                told.hit(work.title, work.size)
    return left


def in_shard(steps: Steps, names: Iterable[str], *, named: Iterable[str] = ()) -> list[str]:
    """Those of the bundles that are this machine's; bundles of one image stay together.

    Raises: DeclarationError for what is no shard, and where bundles were named one by one.
    """
    from .shard import parse_shard, shard

    text = steps.plan.options.shard or ""
    number, count = parse_shard(text)
    if given := ", ".join(named):
        raise DeclarationError(
            f"splits all bundles, or those of a pattern, and {given} is named",
            subject=f"--shard {text}",
            hint="leave one of the two away",
        )
    keys = {name: str(steps.locking.reference(steps.plan.bundle(name).image)) for name in names}
    return shard(keys, number=number, count=count)


def _default(steps: Steps, names: Iterable[str]) -> Iterator[TaskDict]:
    """Without a target every bundle is built, and none is run."""
    for creator in CREATORS[:5]:
        yield from creator(steps, names)


def _task(steps: Steps, work: Work, *, doc: str, deps: Iterable[str] = ()) -> TaskDict:
    from .doit_bridge import Act, UpToDate

    basename, _, name = work.title.partition(":")
    return {
        "basename": basename,
        "name": name,
        "doc": doc,
        "actions": [Act(work, steps.plan)],
        "uptodate": [UpToDate(work)],
        "task_dep": list(deps),
        "meta": {"bytes": work.size},
        "verbosity": 2,
    }


def blob_tasks(steps: Steps, names: Iterable[str]) -> Iterator[TaskDict]:
    """fetch one blob (and, over the same connections, what else its image lacks)"""
    seen = set()
    for image, name in images_of(steps, names).items():
        found = [each for each in steps.images.blobs(image, name) if each.title not in seen]
        for work in found:
            seen.add(work.title)
            # One task fetches all that its image lacks: side by side there are other images'.
            deps = [] if work is found[0] else [found[0].title]
            yield _task(steps, work, doc=f"{work.size} bytes of {image}", deps=deps)


def images_of(steps: Steps, names: Iterable[str]) -> dict[str, str]:
    """The images of bundles, each with the first bundle that is made of it."""
    found: dict[str, str] = {}
    for name in names:
        found.setdefault(steps.plan.bundle(name).image, name)
    return found


def layout_tasks(steps: Steps, names: Iterable[str]) -> Iterator[TaskDict]:
    """put an image's blobs together as an image layout"""
    for image, name in images_of(steps, names).items():
        blobs = [work.title for work in steps.images.blobs(image, name)]
        yield _task(steps, steps.images.layout(image), doc=f"image layout of {image}", deps=blobs)


def rootfs_tasks(steps: Steps, names: Iterable[str]) -> Iterator[TaskDict]:
    """apply the layers of a bundle's image in order"""
    for name in names:
        image = steps.plan.bundle(name).image
        yield _task(
            steps,
            steps.bundles.rootfs(name),
            doc=f"root file system of {name}",
            deps=[f"layout:{image}"],
        )


def config_tasks(steps: Steps, names: Iterable[str]) -> Iterator[TaskDict]:
    """turn the image configuration and the overrides into config.json"""
    for name in names:
        yield _task(
            steps, steps.bundles.config(name), doc=f"config.json of {name}", deps=[f"rootfs:{name}"]
        )


def bundle_tasks(steps: Steps, names: Iterable[str]) -> Iterator[TaskDict]:
    """finish a bundle: its digest goes into the lock"""
    for name in names:
        yield _task(
            steps, steps.bundles.bundle(name), doc=f"bundle {name}", deps=[f"config:{name}"]
        )


def check_tasks(steps: Steps, names: Iterable[str]) -> Iterator[TaskDict]:
    """run a bundle and compare with its check table; passes are remembered"""
    for name in names:
        if steps.plan.bundle(name).check is not None:
            yield _task(steps, steps.check(name), doc=f"check of {name}", deps=[f"bundle:{name}"])


def run_tasks(steps: Steps, names: Iterable[str]) -> Iterator[TaskDict]:
    """run a bundle"""
    for name in names:
        doc = f"run {name} ({steps.locking.source(name)})"
        yield _command(_task(steps, steps.run(name), doc=doc, deps=[f"bundle:{name}"]))


def reset_tasks(steps: Steps, names: Iterable[str]) -> Iterator[TaskDict]:
    """empty the kept writable layer of a persistent bundle"""
    for name in names:
        if steps.plan.bundle(name).overrides.get("persistent"):
            yield _command(
                _task(steps, steps.reset(name), doc=f"empty the writable layer of {name}")
            )


def _command(task: TaskDict) -> TaskDict:
    """A task that stands for itself: doit refuses a ``task_run`` with subtasks."""
    name = task.pop("name")
    task["basename"] += f":{name}"
    return task


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
