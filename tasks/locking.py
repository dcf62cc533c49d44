"""The lock kept in step with the declaration: resolving images, and what is locked of each."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator

from .errors import ContentError, StaleLock
from .oci.descriptor import Descriptor
from .oci.locked_image import LockedImage, LockedPlatform
from .oci.reference import ImageReference, parse_image
from .oci.registry_settings import Registry, parse_registry
from .project.lock import Lock, load_lock
from .project.named_lines import FEW
from .project.plan import Plan, blobs_of
from .store.guard import guard
from .store.replacement import replacement

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .store.transports.sources import Sources


class Locking:
    """What the plan's lock says of images and bundles, and how it comes to say it."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.space = plan.workspace
        self._sources: Sources | None = None

    @property
    def sources(self) -> Sources:
        """The registries that this invocation has asked."""
        if self._sources is None:
            from .store.transports.sources import Sources

            self._sources = Sources()
        return self._sources

    def source(self, name: str) -> str:
        """The reference of a bundle's image, as it was written."""
        return self.plan.images.image(self.plan.bundle(name).image).image

    def reference(self, image: str) -> ImageReference:
        text = self.plan.images.image(image).image
        return parse_image(text, folder=self.space.project)

    def registries(self) -> tuple[Registry, ...]:
        tables = self.plan.images.registries
        return tuple(parse_registry(table, folder=self.space.project) for table in tables)

    def locked(self, name: str) -> LockedPlatform | None:
        bundle = self.plan.bundle(name)
        return self.plan.locked(bundle.image, self.plan.platform(bundle))

    def platforms(self, image: str) -> dict[str, LockedPlatform]:
        """The locked platforms of an image that are wanted here."""
        found = self.plan.locked_image(image)
        wanted = [str(platform) for platform in self.plan.platforms(image)]
        return (
            {text: found.platforms[text] for text in wanted if text in found.platforms}
            if found
            else {}
        )

    def image_blobs(self, image: str) -> tuple[Descriptor, ...]:
        """Every blob of an image's wanted platforms, each once."""
        found = {
            descriptor.digest: descriptor
            for platform in self.platforms(image).values()
            for descriptor in blobs_of(platform)
        }
        return tuple(found.values())

    def resolve(self, images: Iterable[str]) -> None:
        """Lock every one of the images that the lock does not hold for the wanted platforms.

        Raises: StaleLock with --locked, OfflineError with --offline, RegistryError.
        """
        wanted = dict.fromkeys(images)
        always = {image for image in wanted if self._is_pulled_always(image)}
        due = always | self.unfit(wanted).keys()
        try:
            for image in wanted:
                if image in due:
                    self._resolve(image)
        finally:
            if self.plan.unsaved.images:
                self.settle()

    def unfit(self, images: Collection[str]) -> dict[str, list[str]]:
        """Those of some declared images that the lock does not hold as they are declared, each
        with what is to be said of it."""
        found = {
            image: said
            for image, locked in self._each(images)
            if (said := self._unfit(image, locked))
        }
        return {image: found[image] for image in images if image in found}

    def _each(self, images: Collection[str]) -> Iterator[tuple[str, LockedImage | None]]:
        """Images as they are locked; of many, one at a time is in memory."""
        if len(images) <= FEW:
            for image in images:
                yield image, self.plan.locked_image(image)
            return
        left = dict.fromkeys(images)
        unsaved = self.plan.unsaved.images
        for image, locked in self.plan.lock.each_image(left.copy()):
            del left[image]
            yield image, unsaved.get(image) or locked
        for image in left:
            yield image, unsaved.get(image)

    def _unfit(self, image: str, locked: LockedImage | None) -> list[str]:
        if locked is None:
            return [f"image {image} is declared and not locked"]
        wanted = str(self.reference(image))
        if locked.reference != wanted:
            return [f"image {image} is declared as {wanted}, locked as {locked.reference}"]
        lacking = [str(p) for p in self.plan.platforms(image) if str(p) not in locked.platforms]
        return [f"image {image} is not locked for {text}" for text in lacking]

    def _is_pulled_always(self, image: str) -> bool:
        return self.plan.images.image(image).pull_policy == "always"

    def _resolve(self, image: str) -> None:
        known = self.plan.locked_image(image)
        reference = self.reference(image)
        if known is not None and known.reference != str(reference):
            self._say_stale(image, known, reference)
            known = None
        if known is not None and self._has_moved(image, known, reference):
            known = None
        platforms = self.plan.platforms(image)
        wanted = [p for p in platforms if not known or str(p) not in known.platforms]
        if wanted:
            self._refuse_when_locked(image, "is not in the lock")
            self._lock_image(image, self.resolve_image(image, wanted, known))

    def _lock_image(self, image: str, locked: LockedImage) -> None:
        with self.plan.unsaved.guard:
            self.plan.unsaved.images[image] = locked
        self._save_soon()

    def update(self, images: Iterable[str]) -> None:
        """Ask what every one of the images means now, and lock that. Raises: RegistryError.

        Digests of their bundles that are not those of what is built here are given up.
        """
        wanted = tuple(images)
        try:
            for image in wanted:
                platforms = self.plan.platforms(image)
                self._lock_image(image, self.resolve_image(image, platforms, None))
        finally:
            self.flush()
        contradicted = {name for name in self.plan.bundle_names() if self._differs(name, wanted)}
        if contradicted:
            kept = [name for name in self.plan.lock.bundles if name not in contradicted]
            self._save(lambda lock: lock.pruned(lock.images, kept))
        for name in sorted(contradicted):
            self.plan.progress.note(f"{name}: the next build locks its digest anew")

    def _differs(self, name: str, images: Iterable[str]) -> bool:
        """Whether a bundle of one of the images is built here with another digest than locked."""
        from .store.bundle_digest import bundle_digest

        bundle = self.plan.bundle(name)
        locked = self.plan.locked_bundle(name, str(self.plan.platform(bundle)))
        entries, config = self.space.entries(name), self.space.config_json(name)
        if bundle.image not in images or locked is None:
            return False
        if not entries.is_file() or not config.is_file():
            return False
        return bundle_digest(entries=entries, config_json=config) != locked[1]

    def _say_stale(self, image: str, known: LockedImage, reference: ImageReference) -> None:
        self._refuse_when_locked(image, f"is locked as {known.reference}, declared as {reference}")
        self.plan.progress.note(
            f"{image}: now {reference} instead of {known.reference}; locking it anew"
        )

    def _has_moved(self, image: str, known: LockedImage, reference: ImageReference) -> bool:
        """Whether the tag of an image with ``pull_policy = "always"`` means something else now."""
        options = self.plan.options
        if not self._is_pulled_always(image) or options.locked or options.offline:
            return False
        from .resolve import tag_digest

        now = tag_digest(
            reference=reference,
            registries=self.registries(),
            progress=self.plan.progress,
            sources=self.sources,
        )
        pinned = {known.index, *(found.manifest.digest for found in known.platforms.values())}
        if now is None or now in pinned:
            return False
        self.plan.progress.note(f"{image}: {reference} is {now} now; locking it anew")
        return True

    def offline(self, image: str) -> bool:
        """Whether the network is refused for an image."""
        never = self.plan.images.image(image).pull_policy == "never"
        return never or self.plan.options.offline

    def _refuse_when_locked(self, image: str, why: str) -> None:
        if self.plan.options.locked:
            raise StaleLock(
                f"image {image} {why}",
                subject=self.space.lock.name,
                hint=f"run `doit lock {image}` without --locked and commit the result",
            )

    def resolve_image(
        self, image: str, platforms: Iterable[Any], known: LockedImage | None
    ) -> LockedImage:
        from .resolve import resolve_image

        return resolve_image(
            name=image,
            reference=self.reference(image),
            platforms=tuple(platforms),
            known=known,
            blobs=self.space.blobs,
            registries=self.registries(),
            offline=self.offline(image),
            progress=self.plan.progress,
            sources=self.sources,
        )

    def _save(self, change: Callable[[Lock], Lock] = lambda lock: lock) -> None:
        """Change the lock on disk as it is now, so that no other process's entry is lost."""
        started = time.monotonic()
        unsaved = self.plan.unsaved
        with (
            unsaved.guard,
            guard(self.space.guard("lock")),
            replacement(self.space.lock) as write,
        ):
            now = load_lock(self.space.lock)
            now = change(now.with_images(unsaved.images).with_bundles(unsaved.bundles))
            content = now.to_bytes()
            if not self.space.lock.exists() or self.space.lock.read_bytes() != content:
                write(content)
            # In this order: another thread looks among what is unsaved first.
            self.plan.lock = now
            unsaved.images.clear()
            unsaved.bundles.clear()
        unsaved.saved(started, time.monotonic())

    def _save_soon(self) -> None:
        """Write what waits, but not for each of thousands: writing the lock is to take a tenth of
        the time at most. What a kill loses of it is resolved again, or is a hash."""
        if self.plan.unsaved.is_due(time.monotonic()):
            self.flush()

    def flush(self) -> None:
        """Write what waits. Raises: StoreError."""
        if self.plan.unsaved:
            self._save()

    def settle(self) -> None:
        """Write what waits, at the latest when whoever holds it does so. Raises: StoreError."""
        if self.plan.unsaved.holders:
            self._save_soon()
        else:
            self.flush()

    def hold(self) -> None:
        """What is found out may wait from now on; :meth:`release` writes it."""
        with self.plan.unsaved.guard:
            self.plan.unsaved.holders += 1

    def release(self) -> None:
        """The end of a :meth:`hold`. Raises: StoreError."""
        with self.plan.unsaved.guard:
            self.plan.unsaved.holders -= 1
        self.flush()

    def prune(self) -> None:
        """Take out what images.toml no longer declares."""
        images, bundles = set(self.plan.images.images), set(self.plan.bundle_names())
        lock = self.plan.lock
        if images.issuperset(lock.images) and bundles.issuperset(lock.bundles):
            return
        self._save(lambda lock: lock.pruned(images, bundles))

    def describe(self, image: str) -> dict[str, Any]:
        """What tasks/inspect.py takes to describe an image: a declared one, or any by reference,
        whose path is then relative to where we are."""
        if image not in self.plan.images.images and any(mark in image for mark in "/:@"):
            from pathlib import Path

            reference, locked = parse_image(image, folder=Path.cwd()), None
            platform = self.plan.host
        else:
            reference, locked = self.reference(image), self.plan.locked_image(image)
            platform = (self.plan.platforms(image) or (self.plan.host,))[0]
        return {
            "reference": reference,
            "platform": platform,
            "locked": locked,
            "blobs": self.space.blobs,
            "registries": self.registries(),
            "offline": self.plan.options.offline,
            "progress": self.plan.progress,
        }

    def lock_bundle(self, name: str, platform: str, key: str, digest: str) -> None:
        """Put a bundle's digest into the lock; equal keys with another digest are an error.

        Raises: ContentError, StaleLock.
        """
        known = self.plan.locked_bundle(name, platform)
        if known == (key, digest):
            return
        if known is not None and known[0] == key:
            raise ContentError(
                f"expected bundle digest {known[1]} as locked, got {digest}",
                subject=f"{name} for {platform}",
                hint="equal inputs gave another bundle; `doit verify` says where, "
                "`doit lock --update` accepts it",
            )
        if self.plan.options.locked:
            why = "has changed" if known else "has no digest"
            raise StaleLock(
                f"bundle {name} {why} in the lock",
                subject=self.space.lock.name,
                hint=f"run `doit bundle:{name}` without --locked and commit the result",
            )
        with self.plan.unsaved.guard:
            self.plan.unsaved.bundles[name, platform] = (key, digest)
        self._save_soon()
