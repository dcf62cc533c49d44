"""The steps of a bundle: its root file system, its config.json, and the bundle that they make.

Wiring: what rootfs.py, config_json.py, bundle.py and provenance.py take is taken from the plan
here. Everything that reads a file, a store or the network happens inside what is returned.
"""

from __future__ import annotations

from .boot import READ_BACK, boot_id, is_sure
from .errors import DoitOciError, StoreError
from .step import Step
from .warm import bundle as warm

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import Any

    from .image_steps import ImageSteps
    from .step import Facts


class BundleSteps:
    """Root file systems, configurations and bundles of one invocation."""

    def __init__(self, images: ImageSteps) -> None:
        self.images, self.shared = images, images.shared
        self.plan, self.space = images.plan, images.space

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

        return self.shared.step(
            "rootfs",
            name,
            parts,
            stands,
            work,
            recover=recover,
            mend=lambda: self._mend(name),
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

        return self.shared.step("config", name, parts, stands, work, mend=lambda: self._mend(name))

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
            return (
                self.plan.locked_bundle(name, platform) == (facts.get("key"), facts["digest"])
                and config.is_file()
                and entries.is_file()
                and _is_file_of(self.space.provenance(name), facts.get("provenance"))
            )

        def recover(facts: Facts) -> bool:
            """Where another process finished the bundle since our lock was read, or a kill lost
            its line in the lock, the digest is known all the same."""
            key, locked = self.bundle(name).key(), self.plan.locked_bundle(name, platform)
            if locked is None or locked[0] != key:
                self.shared.locking.lock_bundle(name, platform, key, facts["digest"])
            return stands(facts)

        def work() -> Facts:
            digest = bundle_step.bundle_digest(entries=entries, config_json=config)
            key = self.bundle(name).key()
            self.shared.locking.lock_bundle(name, platform, key, digest)
            provenance = self._write_provenance(name, digest)
            if self.plan.images.cache:
                self.shared.caching.try_push(name)
            return {"digest": digest, "key": key, "provenance": provenance}

        return self.shared.step("bundle", name, parts, stands, work, recover=recover)

    def _write_provenance(self, name: str, digest: str) -> str:
        from .config_json import kept_overrides
        from .provenance import write_provenance

        bundle = self.plan.bundle(name)
        image = self.plan.locked_image(bundle.image)
        assert image is not None, "a finished bundle's image is in the lock"
        chain = (
            self.images.layout(bundle.image),
            self.rootfs(name),
            self.config(name),
            self.bundle(name),
        )
        return write_provenance(
            destination=self.space.provenance(name),
            bundle=name,
            digest=digest,
            platform=str(self.plan.platform(bundle)),
            image=image,
            parameters=kept_overrides(bundle),
            steps={step.step: step.identity() for step in chain},
            entries=self.space.entries(name),
            config_json=self.space.config_json(name),
        )

    def _mend(self, name: str) -> bool:
        """As an image's, with its layout."""
        image = self.plan.bundle(name).image
        found = self.images.mend(image, name)
        if found:
            self.images.layout(image).perform()
        return found


def _is_file_of(path: Path, digest: object) -> bool:
    """Whether a file is there and has that digest."""
    from .bundle import file_digest

    try:
        return file_digest(path) == digest
    except StoreError:
        return False
