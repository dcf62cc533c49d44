"""doit-oci from Python: load a project, plan, build a bundle, run it.

    from doit_oci.tasks.api import open_project

    project = open_project("path/of/the/project")
    for step in project.plan("hello-world"):
        print(step.step, "is current" if step.is_current else "would run")
    bundle = project.build("hello-world")
    print(bundle.digest, bundle.path)
    status = project.run("hello-world", args=["--loud"])

    with open_project() as project:
        project.lock()
        for name in project.bundles:
            project.build(name)

images.lock is right when a call returns, and inside ``with`` when ``lock`` returns and when the
block ends: to write all of it for each of thousands of bundles takes longer than to build them.

These are the functions that doit's tasks call; doit itself takes no part. What a user, a network,
a registry or an image did is raised as an error of :mod:`doit_oci.tasks.errors`. Several threads
and processes may build in one state directory at once.
"""

from __future__ import annotations

from _thread import allocate_lock
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import DoitOciError
from .progress import Progress, Silent
from .project.plan import Options, Plan
from .project_folder import open_plan
from .run import run_bundle
from .steps import Steps
from .value import Value

if TYPE_CHECKING:
    from typing import Self

__all__ = ["Bundle", "DoitOciError", "PlannedStep", "Project", "open_project"]


class PlannedStep(Value):
    """One step of a bundle. ``key`` is None where an input is not known yet."""

    step: str
    name: str
    key: str | None
    is_current: bool


class Bundle(Value):
    """A finished bundle: ``path`` holds config.json and rootfs; ``digest`` is the same anywhere."""

    name: str
    path: Path
    digest: str


class Project:
    """A folder with an images.toml. Make one with :func:`open_project`.

    In a ``with`` block images.lock is written for a tenth of the time at most, and when the block
    ends, whatever ends it. What a kill loses of it is found out again: a bundle that was built
    stands, and an image that :meth:`lock` had not locked is resolved once more.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._steps = Steps(plan)
        self._builds = 0
        self._mutex = allocate_lock()

    def __enter__(self) -> Self:
        self._steps.locking.hold()
        return self

    def __exit__(self, *_: object) -> None:
        """Raises: StoreError where images.lock cannot be written."""
        self._steps.locking.release()

    @property
    def folder(self) -> Path:
        """Where images.toml and images.lock are."""
        return self._plan.workspace.project

    @property
    def state(self) -> Path:
        """The state directory."""
        return self._plan.workspace.state

    @property
    def images(self) -> tuple[str, ...]:
        """The names of the declared images."""
        return tuple(self._plan.images.images)

    @property
    def bundles(self) -> tuple[str, ...]:
        """What can be built and run; an image without a bundle has one of its own name."""
        return self._plan.bundle_names()

    def lock(self, *images: str) -> None:
        """Resolve images (all of them, without names) that images.lock does not hold; when this
        returns, it does.

        Raises: RegistryError, UnknownTarget, and OfflineError or StaleLock where that is refused.
        """
        names = [self._plan.images.image(name).name for name in images] or list(self.images)
        try:
            self._steps.locking.resolve(names)
        finally:
            self._steps.locking.flush()

    def plan(self, bundle: str) -> tuple[PlannedStep, ...]:
        """The steps of a bundle and whether each would run; nothing is done, no one is asked.

        Raises: UnknownTarget.
        """
        return tuple(self._planned(self._plan.bundle(bundle).name))

    def _planned(self, name: str) -> Iterator[PlannedStep]:
        for step in self._steps.chain(name):
            try:
                key, current = step.key(), step.is_current()
            except DoitOciError:
                # The image is not in the lock, or a step before this one has not been done.
                key, current = None, False
            yield PlannedStep(step=step.step, name=step.name, key=key, is_current=current)

    def build(self, bundle: str) -> Bundle:
        """Do what a bundle lacks, and return it. Raises: DoitOciError."""
        name = self._plan.bundle(bundle).name
        with self._building():
            try:
                facts = self._steps.build(name)
            finally:
                self._steps.locking.settle()
        path = self._plan.workspace.bundle(name)
        return Bundle(name=name, path=path, digest=str(facts["digest"]))

    @contextmanager
    def _building(self) -> Iterator[None]:
        """``clean`` waits while a build goes on, and not for as long as this program lives."""
        with self._mutex:
            self._builds += 1
        try:
            yield
        finally:
            with self._mutex:
                self._builds -= 1
                if not self._builds:
                    self._steps.shared.building.release()

    def run(self, bundle: str, *, args: Sequence[str] | None = None) -> int:
        """Build what is out of date, run, and return the container's exit status.

        ``args`` replace the image's Cmd. The container has this process's standard input, output
        and error. Raises: DoitOciError.
        """
        found = self.build(bundle)
        arguments: dict[str, Any] = self._steps.run_arguments(found.name)
        chosen = None if args is None else list(args)
        return run_bundle(**arguments, args=chosen, progress=self._plan.progress)


def open_project(
    folder: str | PathLike[str] = ".",
    *,
    state: str | PathLike[str] = "",
    locked: bool = False,
    offline: bool = False,
    progress: Progress | None = None,
) -> Project:
    """The project that ``folder`` lies in.

    ``state`` is the state directory, relative to ``folder``; ``build`` beside images.toml if it
    is empty. ``locked`` refuses to change images.lock, ``offline`` refuses the network.
    Raises: DeclarationError.
    """
    options = Options(state=str(state), locked=locked, offline=offline)
    plan = open_plan(options, Path(folder))
    plan.progress = progress or Silent()
    return Project(plan)
