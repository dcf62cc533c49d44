"""oci: an image layout directory.

Spec: image-spec 1.1 image-layout.md.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from ...errors import ContentError, DigestMismatch, SizeMismatch
from ...oci.canonical_json import canonical
from ...oci.descriptor import Descriptor
from ...oci.digest import Digest, digest_bytes
from ...oci.manifest import CONFIG_LIMIT, MANIFEST_LIMIT, load_object
from ...oci.media_type import INDEXES, MANIFESTS, OCI_INDEX
from ...oci.reference import ImageReference
from ...progress import Progress
from ..blob_store import BlobStore
from .source import RawDocument

REF_NAME = "org.opencontainers.image.ref.name"
CONTAINERD_NAME = "io.containerd.image.name"


class LayoutSource:
    """A layout is somebody else's: it is read, never written, and nothing in it is trusted."""

    def __init__(self, reference: ImageReference, *, progress: Progress) -> None:
        self._reference = reference
        self._progress = progress
        self._folder = reference.path
        self._check_marker()
        index = load_object(
            self._read(self._folder / "index.json", MANIFEST_LIMIT),
            subject=f"{reference}: index.json",
        )
        entries = index.get("manifests")
        if not isinstance(entries, list):
            raise ContentError("index.json has no list of manifests", subject=str(reference))
        self._entries = tuple(
            Descriptor.from_json(entry, subject=f"{reference}: index.json") for entry in entries
        )

    def head(self) -> Digest | None:
        return self.document().digest

    def document(self, digest: Digest | None = None) -> RawDocument:
        if digest is not None:
            chosen = [entry for entry in self._entries if entry.digest == digest]
            media_type = chosen[0].media_type if chosen else ""
            group = self._group(self._candidates())
            if not chosen and group and group.digest == digest:
                return group
            return RawDocument(
                raw=self._verified(digest, MANIFEST_LIMIT), media_type=media_type, digest=digest
            )
        candidates = self._candidates()
        if len(candidates) == 1:
            return self.document(candidates[0].digest)
        group = self._group(candidates)
        if group is None:
            names = ", ".join(self.tags()) or "none of them has a name"
            raise ContentError(
                f"the layout holds {len(candidates)} images; expected one ({names})",
                subject=str(self._reference),
                hint=f"name one of them: {self._reference.transport}:"
                f"{self._reference.location}:NAME",
            )
        return group

    def _candidates(self) -> list[Descriptor]:
        """The entries that the reference may mean."""
        wanted = self._reference.tag
        found = [entry for entry in self._entries if entry.media_type in INDEXES | MANIFESTS]
        if wanted:
            found = [
                entry
                for entry in found
                if wanted
                in (entry.annotations.get(REF_NAME), entry.annotations.get(CONTAINERD_NAME))
            ]
        if not found:
            what = f'no image named "{wanted}"' if wanted else "no image"
            names = ", ".join(self.tags())
            raise ContentError(
                f"the layout holds {what}",
                subject=str(self._reference),
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

    def small_blob(self, descriptor: Descriptor) -> bytes:
        return self._verified(descriptor.digest, CONFIG_LIMIT)

    def fetch(self, descriptors: Sequence[Descriptor], *, store: BlobStore, jobs: int) -> int:
        for descriptor in descriptors:
            item = self._progress.start("blob", descriptor.digest.short, descriptor.size)
            path = self._blob_path(descriptor.digest)
            try:
                with path.open("rb", buffering=0) as stream:
                    store.put_stream(descriptor, stream)
            except OSError as error:
                self._progress.finish(item, "failed")
                raise self._unreadable(path, error) from error
            self._progress.advance(item, descriptor.size)
            self._progress.finish(item)
        return sum(descriptor.size for descriptor in descriptors)

    def tags(self) -> list[str]:
        names = {entry.annotations.get(REF_NAME) for entry in self._entries}
        return sorted(name for name in names if name)

    def _check_marker(self) -> None:
        """Spec: image-layout.md, "oci-layout file": its absence or another version is an error."""
        marker = load_object(
            self._read(self._folder / "oci-layout", 4096), subject=f"{self._reference}: oci-layout"
        )
        version = marker.get("imageLayoutVersion")
        if version != "1.0.0":
            raise ContentError(
                f"expected imageLayoutVersion 1.0.0, got {json.dumps(version)[:40]}",
                subject=str(self._reference),
            )

    def _blob_path(self, digest: Digest) -> Path:
        return self._folder / "blobs" / digest.algorithm / digest.encoded

    def _verified(self, digest: Digest, limit: int) -> bytes:
        raw = self._read(self._blob_path(digest), limit)
        actual = digest_bytes(raw, digest.algorithm)
        if actual != digest:
            raise DigestMismatch(
                subject=f"{self._reference}: blob", expected=str(digest), actual=str(actual)
            )
        return raw

    def _read(self, path: Path, limit: int) -> bytes:
        try:
            with path.open("rb") as file:
                content = file.read(limit + 1)
        except OSError as error:
            raise self._unreadable(path, error) from error
        if len(content) > limit:
            raise SizeMismatch(
                subject=f"{self._reference}: {path.name}",
                expected=limit,
                actual=path.stat().st_size,
            )
        return content

    def _unreadable(self, path: Path, error: OSError) -> ContentError:
        inside = path.relative_to(self._folder)
        hint = None
        if inside == Path("oci-layout"):
            hint = "is it an image layout? one is made with: skopeo copy docker://… oci:PATH"
        return ContentError(f"{inside}: {error.strerror}", subject=str(self._reference), hint=hint)

    def close(self) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
