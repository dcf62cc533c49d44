"""oci: and oci-archive: an image layout, as a folder or in a tar archive.

Spec: image-spec 1.1 image-layout.md.
"""

from __future__ import annotations

import json

from ...errors import ContentError
from ...oci.canonical_json import canonical
from ...oci.descriptor import Descriptor
from ...oci.digest import Digest, digest_bytes
from ...oci.manifest import MANIFEST_LIMIT, load_object
from ...oci.media_type import INDEXES, MANIFESTS, OCI_INDEX
from ...oci.reference import ImageReference
from ...progress import Progress
from .files import Files
from .local import LocalSource
from .source import RawDocument

REF_NAME = "org.opencontainers.image.ref.name"
CONTAINERD_NAME = "io.containerd.image.name"
MARKER_LIMIT = 4096


class LayoutSource(LocalSource):
    """One image of a layout: the one that the reference names, or the only one."""

    def __init__(self, reference: ImageReference, files: Files, *, progress: Progress) -> None:
        super().__init__(reference, files, progress=progress)
        self._check_marker()
        where = f"{reference}: index.json"
        index = load_object(self.read("index.json", MANIFEST_LIMIT), subject=where)
        entries = index.get("manifests")
        if not isinstance(entries, list):
            raise ContentError("it has no list of manifests", subject=where)
        self._entries = tuple(Descriptor.from_json(entry, subject=where) for entry in entries)

    def blob_name(self, digest: Digest) -> str:
        return f"blobs/{digest.algorithm}/{digest.encoded}"

    def document(self, digest: Digest | None = None) -> RawDocument:
        if digest is None:
            return self._named()
        chosen = [entry for entry in self._entries if entry.digest == digest]
        if not chosen:
            group = self._group(self._candidates())
            if group is not None and group.digest == digest:
                return group
        return RawDocument(
            raw=self.verified(self.blob_name(digest), digest, MANIFEST_LIMIT),
            media_type=chosen[0].media_type if chosen else "",
            digest=digest,
        )

    def _named(self) -> RawDocument:
        candidates = self._candidates()
        if len({entry.digest for entry in candidates}) == 1:
            return self.document(candidates[0].digest)
        group = self._group(candidates)
        if group is not None:
            return group
        names = ", ".join(self.tags()) or "none of them has a name"
        raise ContentError(
            f"there are {len(candidates)} images; expected one ({names})",
            subject=self.subject,
            hint=f"name one: {self.reference.transport}:{self.reference.location}:NAME",
        )

    def _candidates(self) -> list[Descriptor]:
        """The entries that the reference may mean."""
        wanted = self.reference.tag
        found = [entry for entry in self._entries if entry.media_type in INDEXES | MANIFESTS]
        if wanted:
            found = [entry for entry in found if wanted in _names(entry)]
        if not found:
            names = ", ".join(self.tags())
            raise ContentError(
                f'there is no image named "{wanted}"' if wanted else "there is no image",
                subject=self.subject,
                hint=f"it has: {names}" if names else None,
            )
        return found

    def _group(self, candidates: list[Descriptor]) -> RawDocument | None:
        """Several platforms of one name are one image: an index is made of them."""
        names = {entry.annotations.get(REF_NAME) for entry in candidates}
        if len(candidates) < 2 or len(names) > 1 or not all(e.platform for e in candidates):
            return None
        raw = canonical(
            {
                "schemaVersion": 2,
                "mediaType": OCI_INDEX,
                "manifests": [entry.to_json() for entry in candidates],
            }
        )
        return RawDocument(raw=raw, media_type=OCI_INDEX, digest=digest_bytes(raw))

    def tags(self) -> list[str]:
        names = {entry.annotations.get(REF_NAME) for entry in self._entries}
        return sorted(name for name in names if name)

    def _check_marker(self) -> None:
        """Spec: image-layout.md, "oci-layout file": its absence or another version is an error."""
        try:
            raw = self.read("oci-layout", MARKER_LIMIT)
        except ContentError as error:
            error.hint = "is it an image layout? skopeo copy IMAGE oci:PATH makes one"
            raise
        version = load_object(raw, subject=f"{self.subject}: oci-layout").get("imageLayoutVersion")
        if version != "1.0.0":
            raise ContentError(
                f"expected imageLayoutVersion 1.0.0, got {json.dumps(version)[:40]}",
                subject=self.subject,
            )


def _names(entry: Descriptor) -> tuple[str | None, str | None]:
    return entry.annotations.get(REF_NAME), entry.annotations.get(CONTAINERD_NAME)
