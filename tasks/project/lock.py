"""Lock: what images.toml says, resolved to digests; images.lock in and out.

Per image the requested reference, the index digest and per platform the manifest, configuration
and layers; per bundle and platform the key and the digest of the bundle. No times, hosts, mirrors
or secrets. An entry is never changed silently: only ``lock --update`` asks a tag again.
"""

from __future__ import annotations

import json
from collections.abc import Container, Iterable, Iterator, Mapping
from pathlib import Path

from ..errors import ContentError, DeclarationError
from ..oci.canonical_json import pretty
from ..oci.locked_image import LockedImage
from .named_lines import each_entry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

VERSION = 1


class Lock:
    """images.lock as JSON; an image becomes a value only when it is asked for.

    The mappings are not changed and not copied: they may be read from a file one by one.
    """

    __slots__ = ("_bundles", "_images", "_last", "path")

    def __init__(
        self, path: Path, images: Mapping[str, Any] = {}, bundles: Mapping[str, Any] = {}
    ) -> None:
        self.path = path
        self._images = images
        self._bundles = bundles
        self._last: tuple[str, LockedImage] | None = None

    def __contains__(self, image: str) -> bool:
        return image in self._images

    @property
    def images(self) -> tuple[str, ...]:
        return tuple(self._images)

    @property
    def bundles(self) -> tuple[str, ...]:
        return tuple(self._bundles)

    def image(self, name: str) -> LockedImage | None:
        """The locked image. Raises: DeclarationError where the lock is damaged."""
        # One bundle's steps ask for its image a dozen times.
        last = self._last
        if last is not None and last[0] == name:
            return last[1]
        found = self._images.get(name)
        if found is None:
            return None
        image = self._parsed(name, found)
        self._last = (name, image)
        return image

    def each_image(self, names: Container[str] | None = None) -> Iterator[tuple[str, LockedImage]]:
        """Every name and image, or those of some names; whoever keeps none has one in memory.

        Raises: DeclarationError.
        """
        for name, found in each_entry(self._images):
            if names is None or name in names:
                yield name, self._parsed(name, found)

    def _parsed(self, name: str, found: Any) -> LockedImage:
        try:
            return LockedImage.from_json(found, subject=f"image {name}")
        except (KeyError, TypeError, ValueError, AttributeError, ContentError) as cause:
            raise DeclarationError(
                f"the entry of image {name} cannot be read: {cause}",
                subject=self.path.name,
                hint=f"`doit lock --update {name}` writes it anew",
            ) from cause

    def bundle(self, name: str, platform: str) -> tuple[str, str] | None:
        """Key and digest of a bundle that was built before."""
        found = self._bundles.get(name, {}).get(platform)
        return (found["key"], found["digest"]) if found else None

    def with_images(self, images: Mapping[str, LockedImage]) -> Lock:
        added = {name: image.to_json() for name, image in images.items()}
        return Lock(self.path, {**self._images, **added}, self._bundles)

    def with_bundle(self, name: str, platform: str, key: str, digest: str) -> Lock:
        return self.with_bundles({(name, platform): (key, digest)})

    def with_bundles(self, bundles: Mapping[tuple[str, str], tuple[str, str]]) -> Lock:
        """Key and digest by name and platform."""
        added: dict[str, Any] = {}
        for (name, platform), (key, digest) in bundles.items():
            known = added.get(name) or dict(self._bundles.get(name, {}))
            added[name] = known | {platform: {"key": key, "digest": digest}}
        return Lock(self.path, self._images, {**self._bundles, **added})

    def pruned(self, images: Iterable[str], bundles: Iterable[str]) -> Lock:
        """Only what images.toml still declares."""
        keep_images, keep_bundles = set(images), set(bundles)
        return Lock(
            self.path,
            {name: found for name, found in self._images.items() if name in keep_images},
            {name: found for name, found in self._bundles.items() if name in keep_bundles},
        )

    def part(self, image: str, bundle: str) -> dict[str, dict[str, Any]]:
        """As :meth:`sections`, of one image and one bundle."""
        images, bundles = self._images, self._bundles
        return {
            "images": {image: images[image]} if image in images else {},
            "bundles": {bundle: bundles[bundle]} if bundle in bundles else {},
        }

    def sections(self) -> dict[str, dict[str, Any]]:
        return {"images": dict(self._images), "bundles": dict(self._bundles)}

    def to_json(self) -> dict[str, Any]:
        return {"version": VERSION, **self.sections()}

    def to_bytes(self) -> bytes:
        """Sorted, indented, LF: the file as it is committed."""
        return pretty(self.to_json())


def load_lock(path: Path) -> Lock:
    """Read images.lock; a missing file is an empty lock. Raises: DeclarationError."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return Lock(path)
    except OSError as cause:
        raise DeclarationError(f"cannot be read: {cause.strerror}", subject=path.name) from cause
    try:
        value = json.loads(content)
    except ValueError as cause:
        raise DeclarationError(
            f"is not JSON: {cause}",
            subject=path.name,
            hint="take it back from version control, or delete it and run `doit lock`",
        ) from cause
    if not isinstance(value, dict) or value.get("version") != VERSION:
        found = value.get("version") if isinstance(value, dict) else None
        raise DeclarationError(
            f"has version {found!r}; this doit-oci reads version {VERSION}",
            subject=path.name,
            hint="use the doit-oci that wrote it, or delete it and run `doit lock`",
        )
    images, bundles = value.get("images", {}), value.get("bundles", {})
    if not isinstance(images, dict) or not isinstance(bundles, dict):
        raise DeclarationError("images and bundles must be objects", subject=path.name)
    return Lock(path, images, bundles)
