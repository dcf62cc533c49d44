"""CacheRecord: what a remote cache holds under a key, as an image manifest of an artifact type.

Its layers are the image's own manifest, configuration and layers, the portable config.json and the
recorded entries, so that a registry that has the image stores nothing twice.

Spec: image-spec 1.1 manifest.md, "Guidelines for Artifact Usage".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import ContentError, UnsupportedMediaType
from ..value import Value
from .canonical_json import canonical
from .descriptor import Descriptor
from .digest import Digest, digest_bytes, parse_digest
from .manifest import Manifest, parse_document
from .media_type import OCI_EMPTY, OCI_MANIFEST

if TYPE_CHECKING:
    from collections.abc import Mapping

ARTIFACT_TYPE = "application/vnd.doit-oci.bundle.v1"
CONFIG_JSON = "application/vnd.oci.runtime.config.v1+json"
ENTRIES_GZIP = "application/vnd.doit-oci.entries.v1+jsonl+gzip"
KEY, BUNDLE, SIGNATURE = "doit-oci.key", "doit-oci.bundle-digest", "doit-oci.signature"
EMPTY = b"{}"
EMPTY_DESCRIPTOR = Descriptor(media_type=OCI_EMPTY, digest=digest_bytes(EMPTY), size=len(EMPTY))


class CacheRecord(Value):
    """``blobs`` are the image's, of all its platforms; ``signature`` is over :meth:`signed`."""

    key: str
    bundle_digest: Digest
    blobs: tuple[Descriptor, ...]
    config_json: Descriptor
    entries: Descriptor
    signature: str = ""

    @property
    def contents(self) -> tuple[Descriptor, ...]:
        """Everything that must be there before the record is."""
        return (*self.blobs, self.config_json, self.entries)

    def signed(self) -> bytes:
        """The bytes that a signature is over: all but itself."""
        return canonical(self._to_json({}))

    def to_bytes(self) -> bytes:
        """The manifest."""
        return canonical(self._to_json({SIGNATURE: self.signature} if self.signature else {}))

    def _to_json(self, more: Mapping[str, str]) -> dict[str, Any]:
        return {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": ARTIFACT_TYPE,
            "config": EMPTY_DESCRIPTOR.to_json(),
            "layers": [plain(each).to_json() for each in self.contents],
            "annotations": {KEY: self.key, BUNDLE: str(self.bundle_digest), **more},
        }


def parse_record(raw: bytes, *, key: str, subject: str) -> CacheRecord:
    """Read what :meth:`CacheRecord.to_bytes` wrote for ``key``.

    Raises: ContentError, UnsupportedMediaType, InvalidDigest.
    """
    found = parse_document(raw, media_type=OCI_MANIFEST, subject=subject)
    if not isinstance(found, Manifest) or found.artifact_type != ARTIFACT_TYPE:
        raise UnsupportedMediaType("is no cached bundle", subject=subject)
    *blobs, config_json, entries = two_or_more(found.layers, subject)
    if (config_json.media_type, entries.media_type) != (CONFIG_JSON, ENTRIES_GZIP):
        raise ContentError("has no config.json and entries at its end", subject=subject)
    if found.annotations.get(KEY) != key:
        raise ContentError("was written for another key", subject=subject)
    return CacheRecord(
        key=key,
        bundle_digest=parse_digest(found.annotations.get(BUNDLE, "")),
        blobs=tuple(blobs),
        config_json=config_json,
        entries=entries,
        signature=found.annotations.get(SIGNATURE, ""),
    )


def two_or_more(layers: tuple[Descriptor, ...], subject: str) -> tuple[Descriptor, ...]:
    if len(layers) < 2:
        raise ContentError("has no config.json and entries at its end", subject=subject)
    return layers


def plain(descriptor: Descriptor) -> Descriptor:
    """Without platform and annotations: those belong to where the image came from."""
    return Descriptor(
        media_type=descriptor.media_type, digest=descriptor.digest, size=descriptor.size
    )
