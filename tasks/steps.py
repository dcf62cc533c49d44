"""Steps: each step of each object, wired to the plan; what graph.py hands to doit.

The step modules know nothing of the plan: here their arguments are taken from it. Everything that
reads a file, a store or the network happens inside the functions that are returned.
"""

from __future__ import annotations

import json
import os

from .boot import READ_BACK, boot_id, is_sure
from .errors import DoitOciError, StaleLock, StoreError
from .locking import Locking
from .project.reason import ABSENT
from .project.workspace import BUILDING
from .step import Step, Work
from .store.guard import SharedGuard
from .warm import bundle as warm

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path
    from typing import Any

    from .caching import Caching
    from .oci.descriptor import Descriptor
    from .project.plan import Plan
    from .step import Facts


class Blob(Work):
    """A blob of an image; whoever fetches one fetches over the same connections all that lack."""

    __slots__ = ("descriptor", "image", "name", "steps")

    fetches = True

    def __init__(self, steps: Steps, image: str, name: str, descriptor: Descriptor) -> None:
        super().__init__(f"blob:{descriptor.digest}", descriptor.size)
        self.steps, self.image, self.name, self.descriptor = steps, image, name, descriptor

    def is_current(self) -> bool:
        return self.steps.has_blob(self.descriptor)

    def why(self) -> str:
        return ABSENT

    def perform(self) -> Facts:
        self.steps.fetch(self.image, self.name)
        return {}


class Command(Work):
    """What is done each time it is asked for."""

    __slots__ = ("act",)

    def __init__(self, title: str, act: Callable[[], None]) -> None:
        super().__init__(title)
        self.act = act

    def perform(self) -> Facts:
        self.act()
        return {}


class Steps:
    """The steps of one invocation."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.space = plan.workspace
        self.locking = Locking(plan)
        self._caching: Caching | None = None
        self.building = SharedGuard(self.space.guard(BUILDING))

    @property
    def caching(self) -> Caching:
        """The remote cache, which most projects have none of; it remembers what failed."""
        if self._caching is None:
            from .caching import Caching

            self._caching = Caching(self.plan, self.locking)
        return self._caching

    def has_blob(self, descriptor: Descriptor) -> bool:
        """Whether the store has a file of that name and size."""
        try:
            return os.stat(self.space.blob(descriptor.digest)).st_size == descriptor.size
        except OSError:
            return False

    def missing(self, image: str) -> list[Descriptor]:
        """The blobs that the store lacks of an image."""
        return [each for each in self.locking.image_blobs(image) if not self.has_blob(each)]

    def blobs(self, image: str, name: str) -> list[Work]:
        """The blobs of an image, of which ``name`` is a bundle, the largest first."""
        found = [Blob(self, image, name, each) for each in self.locking.image_blobs(image)]
        return sorted(found, key=lambda work: -work.size)

    def fetch(self, image: str, name: str) -> None:
        """Fetch whatever an image still lacks in the store: for a bundle that is in the remote
        cache from there."""
        from .blob import fetch_blobs

        self.building.take()
        if self.plan.images.cache and self.missing(image):
            self.caching.try_pull(name)
        fetch_blobs(
            image=image,
            reference=self.locking.reference(image),
            descriptors=self.missing(image),
            blobs=self.space.blobs,
            tmp=self.space.tmp,
            registries=self.locking.registries(),
            offline=self.locking.offline(image),
            progress=self.plan.progress,
            sources=self.locking.sources,
        )

    def _step(
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
        def begun() -> Facts:
            self.building.take()
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

    def _mend(self, image: str, name: str) -> bool:
        """Fetch anew what is damaged in the store of an image, of which ``name`` is a bundle;
        whether anything was."""
        from .store.blob_store import BlobStore

        BlobStore(self.space.blobs).discard_damaged(self.locking.image_blobs(image))
        lost = self.missing(image)
        for each in lost:
            self.plan.progress.note(f"stored blob {each.digest} was damaged; fetching it anew")
        self.fetch(image, name)
        return bool(lost)

    def _mend_bundle(self, name: str) -> bool:
        """As :meth:`_mend`, the layout too."""
        image = self.plan.bundle(name).image
        found = self._mend(image, name)
        if found:
            self.layout(image).perform()
        return found

    def layout(self, image: str) -> Step:
        from . import layout as layout_step

        destination = self.space.layout(image)

        def manifests() -> dict[str, Descriptor]:
            locked = self.locking.platforms(image)
            if not locked:
                raise StaleLock(
                    f"image {image} is not in the lock",
                    subject=self.space.lock.name,
                    hint=f"run `doit lock {image}`",
                )
            return {text: found.manifest for text, found in locked.items()}

        def contents() -> list[Any]:
            return [descriptor.digest for descriptor in self.locking.image_blobs(image)]

        def stands(_: Facts) -> bool:
            index = layout_step.index_json(manifests(), tag())
            return layout_step.is_layout(
                destination, contents(), blobs=self.space.blobs, index=index
            )

        def tag() -> str:
            return getattr(self.locking.reference(image), "tag", "") or "latest"

        return self._step(
            "layout",
            image,
            lambda: layout_step.layout_key(manifests=manifests(), tag=tag()),
            stands,
            lambda: layout_step.write_layout(
                destination=destination,
                manifests=manifests(),
                contents=contents(),
                tag=tag(),
                blobs=self.space.blobs,
            ),
            mend=lambda: self._mend(image, image),
        )

    def rootfs(self, name: str) -> Step:
        from . import rootfs as rootfs_step

        bundle = self.plan.bundle(name)
        limits = rootfs_step.UnpackLimits(**self.plan.images.limits)
        destination, entries = self.space.rootfs(name), self.space.entries(name)

        def parts() -> Mapping[str, Any]:
            locked = self.plan.required(bundle)
            return rootfs_step.rootfs_key(
                diff_ids=[layer.diff_id for layer in locked.layers],
                platform=str(self.plan.platform(bundle)),
            )

        def is_there(facts: Facts) -> bool:
            return bool(warm.place(str(destination)) == facts["place"] and entries.is_file())

        def stands(facts: Facts) -> bool:
            return is_there(facts) and is_sure(facts.get("boot"))

        def recover(facts: Facts) -> bool:
            """A tree that was made before a restart is read back, and said to be on the disk."""
            if not is_there(facts) or not self._is_as_recorded(name):
                return False
            step = self.rootfs(name)
            step.write_stamp(step.key(), parts(), {**facts, "boot": READ_BACK})
            return True

        def work() -> Facts:
            layers = [
                rootfs_step.LayerSource(
                    descriptor=layer.descriptor,
                    diff_id=layer.diff_id,
                    path=self.space.blob(layer.descriptor.digest),
                )
                for layer in self.plan.required(bundle).layers
            ]
            facts = rootfs_step.build_rootfs(
                layers=layers,
                layers_dir=self.space.layers,
                destination=destination,
                entries=entries,
                unrepresented=self.space.unrepresented(name),
                tmp=self.space.tmp,
                containers=self.space.run / "containers",
                limits=limits,
                progress=self.plan.progress,
                call=self.plan.turns.call if self.plan.turns else None,
            )
            return {**facts, "place": warm.place(str(destination)), "boot": boot_id()}

        return self._step(
            "rootfs",
            name,
            parts,
            stands,
            work,
            recover=recover,
            mend=lambda: self._mend_bundle(name),
        )

    def _is_as_recorded(self, name: str) -> bool:
        """Whether a tree is what its entries say, with all of its content; it is said if not."""
        from .store.tree_check import first_difference

        space, note = self.space, self.plan.progress.note
        note(f"{name}: its rootfs was made before a restart; reading it back")
        try:
            difference = first_difference(
                space.rootfs(name), space.entries(name), space.unrepresented(name)
            )
        except (DoitOciError, OSError) as error:
            note(f"{name}: it cannot be read back ({error}), so it is made anew")
            return False
        if difference:
            note(f"{name}: {difference.path} {difference.message}; it is made anew")
        return difference is None

    def config(self, name: str) -> Step:
        from . import bundle as bundle_step
        from . import config_json as config_step

        bundle = self.plan.bundle(name)
        destination = self.space.config_json(name)

        def image_config() -> Path:
            return self.space.blob(self.plan.required(bundle).config.digest)

        def arguments() -> dict[str, Any]:
            return {
                "image_config": image_config(),
                "bundle": bundle,
                "rootfs": self.space.rootfs(name),
                "entries": self.space.entries(name),
                "platform": str(self.plan.platform(bundle)),
            }

        def stands(facts: Facts) -> bool:
            return _is_file_of(destination, facts["digest"])

        def work() -> Facts:
            facts = config_step.write_config(**arguments(), destination=destination)
            for note in facts["notes"]:
                self.plan.progress.note(f"{name}: {note}")
            return {**facts, "digest": bundle_step.file_digest(destination)}

        def parts() -> Mapping[str, Any]:
            return config_step.config_key(**arguments())

        return self._step("config", name, parts, stands, work, mend=lambda: self._mend_bundle(name))

    def bundle(self, name: str) -> Step:
        from . import bundle as bundle_step

        bundle = self.plan.bundle(name)
        platform = str(self.plan.platform(bundle))
        entries, config = self.space.entries(name), self.space.config_json(name)

        def parts() -> Mapping[str, Any]:
            inputs = {"rootfs": self.rootfs(name).key(), "config": self.config(name).key()}
            return {
                "step": "bundle",
                "epoch": 1,
                "inputs": inputs,
                "params": {},
                "platform": platform,
            }

        def stands(facts: Facts) -> bool:
            locked = self.plan.locked_bundle(name, platform)
            return (
                locked is not None
                and locked[1] == facts["digest"]
                and config.is_file()
                and entries.is_file()
                and _is_file_of(self.space.provenance(name), facts.get("provenance"))
            )

        def recover(facts: Facts) -> bool:
            """Where another process finished the bundle since our lock was read, or a kill lost
            its line in the lock, the digest is known all the same."""
            key, locked = self.bundle(name).key(), self.plan.locked_bundle(name, platform)
            if locked is None or locked[0] != key:
                self.locking.lock_bundle(name, platform, key, facts["digest"])
            return stands(facts)

        def work() -> Facts:
            digest = bundle_step.bundle_digest(entries=entries, config_json=config)
            step = self.bundle(name)
            self.locking.lock_bundle(name, platform, step.key(), digest)
            provenance = self._write_provenance(name, digest)
            if self.plan.images.cache:
                self.caching.try_push(name)
            return {"digest": digest, "provenance": provenance}

        return self._step("bundle", name, parts, stands, work, recover=recover)

    def _write_provenance(self, name: str, digest: str) -> str:
        from .config_json import kept_overrides
        from .provenance import write_provenance

        bundle = self.plan.bundle(name)
        image = self.plan.locked_image(bundle.image)
        assert image is not None, "a finished bundle's image is in the lock"
        done = {step.step: step.recorded() or {} for step in self.chain(name)[:-1]}
        destination = self.space.provenance(name)
        destination.parent.mkdir(parents=True, exist_ok=True)
        return write_provenance(
            destination=destination,
            bundle=name,
            digest=digest,
            platform=str(self.plan.platform(bundle)),
            image=image,
            parameters=kept_overrides(bundle),
            steps={
                step: {"key": found["key"], "epoch": found["parts"]["epoch"]}
                for step, found in done.items()
                if found
            },
            entries=self.space.entries(name),
            config_json=self.space.config_json(name),
        )

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
            self.building.release()
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

        return Command(f"reset:{name}", lambda: reset_bundle(name=name, run_dir=self.space.run))

    def run_arguments(self, name: str) -> dict[str, Any]:
        """What run_bundle takes beside the command line, as plain JSON. Raises: RuntimeFailed."""
        from .run_keys import run_arguments

        facts = (self.config(name).recorded() or {"facts": {}})["facts"]
        return run_arguments(self.plan, name, entrypoint=facts.get("entrypoint", []))

    def check(self, name: str) -> Step:
        """Run and compare; the key is the bundle digest and what is asked of it."""
        from .check import check_bundle
        from .oci.canonical_json import canonical

        bundle = self.plan.bundle(name)

        def parts() -> Mapping[str, Any]:
            facts = (self.bundle(name).recorded() or {"facts": {}})["facts"]
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

        return self._step("check", name, parts, lambda _: True, work)

    def chain(self, name: str) -> tuple[Step, ...]:
        """The steps of a bundle in the order in which they are done."""
        return tuple(self._one_by_one(name))

    def _one_by_one(self, name: str) -> Iterator[Step]:
        """Each step made, and its module loaded, when the one before has been taken."""
        yield self.layout(self.plan.bundle(name).image)
        yield self.rootfs(name)
        yield self.config(name)
        yield self.bundle(name)

    def works(self, step: str, name: str) -> Iterator[Work]:
        """All that ``step:name`` needs and itself, in order. Raises: UnknownTarget."""
        if step == "layout":
            yield from self.blobs(name, name)
            yield self.layout(name)
            return
        image = self.plan.bundle(name).image
        yield from self.blobs(image, name)
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
        if self.missing(image):
            self.fetch(image, name)

    def build(self, name: str) -> Facts:
        """Do whatever a bundle lacks, in this process, and return the last step's facts."""
        self.fetch_all(name)
        facts: Facts = {}
        for step in self.chain(name):
            current = step.current()
            facts = step.perform() if current is None else current
        return facts


def _is_file_of(path: Path, digest: object) -> bool:
    """Whether a file is there and has that digest."""
    from .bundle import file_digest

    try:
        return file_digest(path) == digest
    except StoreError:
        return False
