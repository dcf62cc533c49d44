"""The steps of an image: its blobs, and the layout that they are put together to.

Wiring: what blob.py and layout.py take is taken from the plan here. Everything that reads a file, a
store or the network happens inside what is returned.
"""

from __future__ import annotations

import os

from .errors import StaleLock
from .project.reason import ABSENT
from .step import Step, Work

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .invocation import Invocation
    from .oci.descriptor import Descriptor
    from .step import Facts


class Blob(Work):
    """A blob of an image; whoever fetches one fetches over the same connections all that lack."""

    __slots__ = ("descriptor", "image", "images", "name")

    fetches = True

    def __init__(self, images: ImageSteps, image: str, name: str, descriptor: Descriptor) -> None:
        super().__init__(f"blob:{descriptor.digest}", descriptor.size)
        self.images, self.image, self.name, self.descriptor = images, image, name, descriptor

    def is_current(self) -> bool:
        return self.images.has_blob(self.descriptor)

    def why(self) -> str:
        return ABSENT

    def perform(self) -> Facts:
        self.images.fetch(self.image, self.name)
        return {}


class ImageSteps:
    """Blobs and layouts of one invocation. Where blobs come from may depend on which bundle wants
    them: ``name`` is always one of the image's."""

    def __init__(self, shared: Invocation) -> None:
        self.shared, self.plan, self.space = shared, shared.plan, shared.space
        self.locking = shared.locking

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

        self.shared.begin()
        if self.plan.images.cache and self.missing(image):
            self.shared.caching.try_pull(name)
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

    def mend(self, image: str, name: str) -> bool:
        """Fetch anew what is damaged in the store of an image, of which ``name`` is a bundle;
        whether anything was."""
        from .store.blob_store import BlobStore

        BlobStore(self.space.blobs).discard_damaged(self.locking.image_blobs(image))
        lost = self.missing(image)
        for each in lost:
            self.plan.progress.note(f"stored blob {each.digest} was damaged; fetching it anew")
        self.fetch(image, name)
        return bool(lost)

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

        return self.shared.step(
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
            mend=lambda: self.mend(image, image),
        )
