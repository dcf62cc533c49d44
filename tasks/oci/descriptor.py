"""Descriptor: media type, digest and size of a blob.

Spec: image-spec 1.1 descriptor.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ..errors import ContentError
from ..value import Value
from .digest import Digest, parse_digest
from .platform import Platform

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

NO_ANNOTATIONS: Mapping[str, str] = MappingProxyType({})


class Descriptor(Value):
    """``size`` is in bytes of the blob as it is stored (compressed, for a layer)."""

    media_type: str
    digest: Digest
    size: int
    platform: Platform | None = None
    annotations: Mapping[str, str] = NO_ANNOTATIONS
    urls: tuple[str, ...] = ()
    artifact_type: str = ""

    @classmethod
    def from_json(cls, value: Any, *, subject: str) -> Descriptor:
        """Read a descriptor. Raises: ContentError, InvalidDigest."""
        if not isinstance(value, dict):
            raise ContentError("expected a descriptor, an object", subject=subject)
        size = value.get("size")
        media_type, digest = value.get("mediaType"), value.get("digest")
        if not isinstance(size, int) or isinstance(size, bool) or size < 0:
            raise ContentError(f"descriptor size {size!r} is no number of bytes", subject=subject)
        if not isinstance(media_type, str) or not isinstance(digest, str):
            raise ContentError("descriptor lacks mediaType or digest", subject=subject)
        if not media_type.isascii():  # Spec: RFC 6838, 4.2; a lone surrogate is no text at all
            raise ContentError(f"descriptor mediaType {media_type!a} is none", subject=subject)
        urls = value.get("urls") or []
        if not isinstance(urls, list):
            raise ContentError("descriptor urls are no list", subject=subject)
        platform = value.get("platform")
        annotations = value.get("annotations")
        return cls(
            media_type=media_type,
            digest=parse_digest(digest),
            size=size,
            platform=Platform.from_json(platform) if isinstance(platform, dict) else None,
            annotations=MappingProxyType(dict(annotations))
            if isinstance(annotations, dict)
            else NO_ANNOTATIONS,
            urls=tuple(map(str, urls)),
            artifact_type=str(value.get("artifactType") or ""),
        )

    def to_json(self) -> dict[str, Any]:
        found: dict[str, Any] = {
            "mediaType": self.media_type,
            "digest": str(self.digest),
            "size": self.size,
        }
        if self.platform:
            found["platform"] = self.platform.to_json()
        if self.annotations:
            found["annotations"] = dict(self.annotations)
        if self.urls:
            found["urls"] = list(self.urls)
        if self.artifact_type:
            found["artifactType"] = self.artifact_type
        return found
