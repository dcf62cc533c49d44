"""What the steps of one invocation share: the plan, the lock that is kept in step with it, the
remote cache, and the mark by which others see that something is being built."""

from __future__ import annotations

from .locking import Locking
from .project.workspace import BUILDING
from .step import Step
from .store.guard import SharedGuard

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from .caching import Caching
    from .project.plan import Plan
    from .step import Facts


class Invocation:
    """The plan and what is done with it, once for all steps."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.space = plan.workspace
        self.locking = Locking(plan)
        self.building = SharedGuard(self.space.guard(BUILDING))
        self._is_remembered = False
        self._caching: Caching | None = None

    @property
    def caching(self) -> Caching:
        """The remote cache, which most projects have none of; it remembers what failed."""
        if self._caching is None:
            from .caching import Caching

            self._caching = Caching(self.plan, self.locking)
        return self._caching

    def begin(self) -> None:
        """Be seen to build: by ``clean`` for as long as it goes on, by every later ``gc``."""
        self.building.take()
        if not self._is_remembered:
            from .sharing import remember_project

            self._is_remembered = True
            remember_project(self.space)

    def step(
        self,
        step: str,
        name: str,
        parts: Callable[[], Mapping[str, Any]],
        stands: Callable[[Facts], bool],
        work: Callable[[], Facts],
        *,
        recover: Callable[[Facts], bool] | None = None,
        mend: Callable[[], bool] | None = None,
    ) -> Step:
        """A step of one object, with its place in the state directory."""

        def begun() -> Facts:
            self.begin()
            return work()

        return Step(
            step=step,
            name=name,
            stamp=self.space.stamp(step, name),
            guarded=self.space.guard(f"{step}-{name}"),
            parts=parts,
            stands=stands,
            work=begun,
            recover=recover,
            mend=mend,
        )
