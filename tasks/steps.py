"""Steps: what a target needs, in order; creators.py hands it to doit, direct.py does it without.

    blob → layout             image_steps.py
    rootfs → config → bundle  bundle_steps.py
    run, check, reset         here: what is done with a finished bundle

The step modules (blob.py, layout.py, …) know nothing of the plan.
"""

from __future__ import annotations

import json

from .bundle_steps import BundleSteps
from .image_steps import ImageSteps
from .invocation import Invocation
from .step import Command, Step, Work

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from .project.plan import Plan
    from .step import Facts


class Steps:
    """The steps of one invocation."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.shared = Invocation(plan)
        self.locking = self.shared.locking
        self.images = ImageSteps(self.shared)
        self.bundles = BundleSteps(self.images)

    def chain(self, name: str) -> tuple[Step, ...]:
        """The steps of a bundle in the order in which they are done."""
        return tuple(self._one_by_one(name))

    def _one_by_one(self, name: str) -> Iterator[Step]:
        """Each step made, and its module loaded, when the one before has been taken."""
        yield self.images.layout(self.plan.bundle(name).image)
        yield self.bundles.rootfs(name)
        yield self.bundles.config(name)
        yield self.bundles.bundle(name)

    def works(self, step: str, name: str) -> Iterator[Work]:
        """All that ``step:name`` needs and itself, in order. Raises: UnknownTarget."""
        if step == "layout":
            yield from self.images.blobs(name, name)
            yield self.images.layout(name)
            return
        image = self.plan.bundle(name).image
        yield from self.images.blobs(image, name)
        for each in self._one_by_one(name):
            yield each
            if each.step == step:
                return
        if step == "run":
            yield self.run(name)

    def fetch_all(self, name: str) -> None:
        """Resolve a bundle's image and fetch what the store lacks of it, in this process."""
        image = self.plan.bundle(name).image
        self.locking.resolve([image])
        if self.images.missing(image):
            self.images.fetch(image, name)

    def build(self, name: str) -> Facts:
        """Do whatever a bundle lacks, in this process, and return the last step's facts."""
        self.fetch_all(name)
        facts: Facts = {}
        for step in self.chain(name):
            current = step.current()
            facts = step.perform() if current is None else current
        return facts

    def run(self, name: str) -> Work:
        """Run a bundle; a status other than 0 ends the process with it."""
        return Command(f"run:{name}", lambda: self._run(name))

    def _run(self, name: str) -> None:
        from .run import run_bundle
        from .warm.recording import write_ready

        arguments = self.run_arguments(name)
        self.locking.flush()
        write_ready(self.plan, name, arguments)
        if self.plan.turns is None:
            # From here on the container keeps its tree, for as long as it runs.
            self.shared.building.release()
        status = run_bundle(
            **arguments,
            args=None if self.plan.options.args is None else list(self.plan.options.args),
            detach=self.plan.options.detach,
            wait=self.plan.options.wait,
            progress=self.plan.progress,
        )
        if status:
            raise SystemExit(status)

    def reset(self, name: str) -> Work:
        """Empty a persistent bundle's writable layer."""
        from .run import reset_bundle

        run_dir = self.plan.workspace.run
        return Command(f"reset:{name}", lambda: reset_bundle(name=name, run_dir=run_dir))

    def run_arguments(self, name: str) -> dict[str, Any]:
        """What run_bundle takes beside the command line, as plain JSON. Raises: RuntimeFailed."""
        from .run_keys import run_arguments

        facts = (self.bundles.config(name).recorded() or {"facts": {}})["facts"]
        return run_arguments(self.plan, name, entrypoint=facts.get("entrypoint", []))

    def check(self, name: str) -> Step:
        """Run and compare; the key is the bundle digest and what is asked of it."""
        from .check import check_bundle
        from .oci.canonical_json import canonical

        bundle = self.plan.bundle(name)

        def parts() -> Mapping[str, Any]:
            facts = (self.bundles.bundle(name).recorded() or {"facts": {}})["facts"]
            return {
                "step": "check",
                "epoch": 1,
                "inputs": {"bundle": facts.get("digest", "")},
                "params": json.loads(canonical(bundle.check or {})),
                "platform": str(self.plan.platform(bundle)),
            }

        def work() -> Facts:
            arguments = self.run_arguments(name)
            del arguments["log"]
            return check_bundle(check=bundle.check or {}, **arguments)

        return self.shared.step("check", name, parts, lambda _: True, work)
