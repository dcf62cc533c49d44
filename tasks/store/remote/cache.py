"""RemoteCache: records by key and blobs by digest, somewhere else; and how to open one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from ...errors import DeclarationError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from ...oci.descriptor import Descriptor
    from ...oci.registry_settings import Registry
    from ...progress import Progress
    from ..blob_store import BlobStore

RECORD_LIMIT = 4 << 20


class RemoteCache(Protocol):
    """A place that others write to as well: nothing that comes from it is believed.

    Every failure of the place is a RegistryError.
    """

    def load(self, key: str) -> bytes | None:
        """The record of a key, None where there is none."""

    def fetch(self, descriptors: Sequence[Descriptor], *, store: BlobStore) -> int:
        """Verified blobs into the store; returns the bytes moved.

        Raises: RegistryError where one is missing, ContentError where one is not what it should be.
        """

    def has_blob(self, descriptor: Descriptor) -> bool: ...

    def put_blob(self, descriptor: Descriptor, path: Path) -> int:
        """Returns the bytes sent."""

    def save(self, key: str, record: bytes) -> None:
        """Make a record visible; everything it names is there already."""

    def discard(self, key: str, descriptors: Sequence[Descriptor]) -> None:
        """Take away what was found to be damaged, where the place lets us."""

    def close(self) -> None: ...


def open_cache(
    url: str,
    *,
    registries: Sequence[Registry] = (),
    environ: Mapping[str, str],
    progress: Progress,
    mount_from: str = "",
) -> RemoteCache:
    """``oci://registry/repository``, or any address that fsspec knows.

    ``mount_from`` is a repository of the same registry that may have the blobs already.
    Raises: DeclarationError.
    """
    scheme = urlsplit(url).scheme
    if scheme == "oci":
        from .registry_cache import RegistryCache

        return RegistryCache(
            url, registries=registries, environ=environ, progress=progress, mount_from=mount_from
        )
    if not scheme:
        raise DeclarationError(
            "not the address of a cache",
            subject=url,
            hint='write it like "oci://registry/repository", "file:///path" or "s3://bucket/path"',
        )
    from .fsspec_cache import FsspecCache

    return FsspecCache(url)
