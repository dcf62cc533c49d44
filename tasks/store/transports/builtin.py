"""builtin: images that this package makes itself, so that a first run needs no network."""

from __future__ import annotations

from collections.abc import Sequence

from ...errors import ContentError
from ...oci.descriptor import Descriptor
from ...oci.digest import Digest, digest_bytes
from ...oci.media_type import OCI_INDEX
from ...oci.reference import ImageReference
from ...progress import Progress
from ..blob_store import BlobStore
from .source import RawDocument


class BuiltinSource:
    """The image's index and blobs, in memory; they are a few kilobytes."""

    def __init__(self, reference: ImageReference, *, progress: Progress) -> None:
        from ...builtin import builtin_image

        self._reference = reference
        self._progress = progress
        self._index, self._blobs = builtin_image(reference.repository)

    def head(self) -> Digest | None:
        return digest_bytes(self._index)

    def document(self, digest: Digest | None = None) -> RawDocument:
        top = digest_bytes(self._index)
        if digest is None or digest == top:
            return RawDocument(raw=self._index, media_type=OCI_INDEX, digest=top)
        return RawDocument(raw=self._blob(digest), media_type="", digest=digest)

    def small_blob(self, descriptor: Descriptor) -> bytes:
        return self._blob(descriptor.digest)

    def fetch(self, descriptors: Sequence[Descriptor], *, store: BlobStore, jobs: int) -> int:
        for descriptor in descriptors:
            item = self._progress.start("blob", descriptor.digest.short, descriptor.size)
            store.put_blob(self._blob(descriptor.digest), descriptor.digest)
            self._progress.advance(item, descriptor.size)
            self._progress.finish(item)
        return sum(descriptor.size for descriptor in descriptors)

    def tags(self) -> list[str]:
        return []

    def _blob(self, digest: Digest) -> bytes:
        found = self._blobs.get(str(digest))
        if found is None:
            raise ContentError(
                f"this version's built-in image has no {digest}",
                subject=str(self._reference),
                hint="the lock was made by another version: run lock --update",
            )
        return found

    def close(self) -> None:
        pass
