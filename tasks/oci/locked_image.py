"""LockedImage: what images.lock keeps of one image, and nothing about where it came from."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ..errors import ContentError
from ..value import Value
from .descriptor import Descriptor
from .digest import DiffID, Digest, parse_digest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class LockedLayer(Value):
    """A layer as it is stored, and the digest of its uncompressed tar stream."""

    descriptor: Descriptor
    diff_id: DiffID

    @classmethod
    def from_json(cls, value: Any, *, subject: str) -> LockedLayer:
        descriptor = Descriptor.from_json(value, subject=subject)
        diff_id = value.get("diff_id")
        if not isinstance(diff_id, str):
            raise ContentError("the layer has no diff_id", subject=subject)
        return cls(descriptor=descriptor, diff_id=DiffID(parse_digest(diff_id)))

    def to_json(self) -> dict[str, Any]:
        return self.descriptor.to_json() | {"diff_id": str(self.diff_id)}


class LockedPlatform(Value):
    """One platform's image: layers are in the order of the manifest, the base layer first."""

    manifest: Descriptor
    config: Descriptor
    layers: tuple[LockedLayer, ...]

    @classmethod
    def from_json(cls, value: Any, *, subject: str) -> LockedPlatform:
        if not isinstance(value, dict) or not isinstance(value.get("layers"), list):
            raise ContentError("expected manifest, config and layers", subject=subject)
        return cls(
            manifest=Descriptor.from_json(value.get("manifest"), subject=f"{subject}: manifest"),
            config=Descriptor.from_json(value.get("config"), subject=f"{subject}: config"),
            layers=tuple(
                LockedLayer.from_json(layer, subject=f"{subject}: layers[{number}]")
                for number, layer in enumerate(value["layers"])
            ),
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "manifest": self.manifest.to_json(),
            "config": self.config.to_json(),
            "layers": [layer.to_json() for layer in self.layers],
        }

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        """Everything the image needs, each digest once: manifest, configuration, layers."""
        every = (self.manifest, self.config, *(layer.descriptor for layer in self.layers))
        return tuple({descriptor.digest: descriptor for descriptor in every}.values())


class LockedImage(Value):
    """``index`` is None where the reference names a single manifest.

    ``platforms`` is keyed by the platform that was asked for, ``os/architecture[/variant]``.
    """

    reference: str
    index: Digest | None
    platforms: Mapping[str, LockedPlatform]

    @classmethod
    def from_json(cls, value: Any, *, subject: str) -> LockedImage:
        """Raises: ContentError, InvalidDigest."""
        if not isinstance(value, dict) or not isinstance(value.get("platforms"), dict):
            raise ContentError("expected reference, index and platforms", subject=subject)
        index = value.get("index")
        return cls(
            reference=str(value.get("reference") or ""),
            index=parse_digest(str(index)) if index else None,
            platforms=MappingProxyType(
                {
                    str(name): LockedPlatform.from_json(found, subject=f"{subject}: {name}")
                    for name, found in value["platforms"].items()
                }
            ),
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "reference": self.reference,
            "index": str(self.index) if self.index else None,
            "platforms": {name: found.to_json() for name, found in self.platforms.items()},
        }
