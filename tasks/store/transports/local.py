"""LocalSource: what the transports of files on this machine have in common."""

from __future__ import annotations

from ...errors import DigestMismatch
from ...oci.digest import Digest, digest_bytes
from ...oci.manifest import CONFIG_LIMIT
from ..settling import Settling, Telling
from .files import read_file, unreadable
from .source import RawDocument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import BinaryIO

    from ...oci.descriptor import Descriptor
    from ...oci.reference import ImageReference
    from ...progress import Progress
    from ..blob_store import BlobStore
    from .files import Files


class LocalSource:
    """Blobs are copied and verified on the way; the files are somebody else's and may change.

    A transport says where a blob lies (:meth:`blob_name`) and which documents there are.
    """

    def __init__(self, reference: ImageReference, files: Files, *, progress: Progress) -> None:
        self.reference = reference
        self.files = files
        self.progress = progress
        self.subject = str(reference)

    def blob_name(self, digest: Digest) -> str:
        raise NotImplementedError

    def open_blob(self, digest: Digest) -> BinaryIO:
        return self.files.open(self.blob_name(digest))

    def document(self, digest: Digest | None = None) -> RawDocument:
        raise NotImplementedError

    def head(self) -> Digest | None:
        return self.document().digest

    def small_blob(self, descriptor: Descriptor) -> bytes:
        return self.verified(self.blob_name(descriptor.digest), descriptor.digest, CONFIG_LIMIT)

    def fetch(self, descriptors: Sequence[Descriptor], *, store: BlobStore, jobs: int) -> int:
        with Settling() as settling:
            return sum(self._copy(each, store, settling) for each in descriptors)

    def _copy(self, descriptor: Descriptor, store: BlobStore, settling: Settling) -> int:
        """Store a blob, and return how many bytes that took."""
        with Telling(self.progress, descriptor) as item:
            try:
                with self.open_blob(descriptor.digest) as stream:
                    fresh = store.put_stream(descriptor, stream, settling, item)
            except OSError as error:
                raise unreadable(self.subject, str(descriptor.digest), error) from error
            item.outcome = "reused"
        return descriptor.size if fresh else 0

    def tags(self) -> list[str]:
        return []

    def read(self, name: str, limit: int) -> bytes:
        """Raises: ContentError, SizeMismatch."""
        return read_file(self.files, name, limit=limit, subject=self.subject)

    def verified(self, name: str, digest: Digest, limit: int) -> bytes:
        """Raises: DigestMismatch, ContentError, SizeMismatch."""
        raw = self.read(name, limit)
        actual = digest_bytes(raw, digest.algorithm)
        if actual != digest:
            raise DigestMismatch(
                subject=f"{self.subject}: {name}", expected=str(digest), actual=str(actual)
            )
        return raw

    def close(self) -> None:
        self.files.close()
