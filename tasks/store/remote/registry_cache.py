"""A cache in a repository of an OCI registry: a tag for each key, blobs as they are."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import DeclarationError, InvalidReference, ManifestUnknown, RegistryError
from ...oci.cache_record import EMPTY, EMPTY_DESCRIPTOR
from ...oci.media_type import OCI_MANIFEST
from ...oci.reference import parse_image
from ..registry.client import RegistryClient
from ..registry.endpoint import endpoints
from ..registry.limits import Limits
from ..registry.push import has_blob, push_blob, push_bytes, push_manifest
from ..transports.docker import RegistrySource

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ...oci.descriptor import Descriptor
    from ...oci.reference import ImageReference
    from ...oci.registry_settings import Registry
    from ...progress import Progress
    from ..blob_store import BlobStore

BLOB = "application/octet-stream"
JOBS = 4
PATIENCE = Limits(
    connect_timeout=5.0,
    read_timeout=7.0,
    attempts=2,
    drops=2,
    backoff_cap=2.0,
    retry_after_cap=10.0,
    stall_time=10.0,
    document_time=14.0,
)
"""A cache that does not answer soon costs more than it brings: half a minute at most is lost.

A blob is asked for ``attempts`` times, and each of these requests is tried as often.
"""


class RegistryCache:
    """Reads through the settings of ``[[registry]]``; writes to the registry itself."""

    def __init__(
        self,
        url: str,
        *,
        registries: Sequence[Registry],
        environ: Mapping[str, str],
        progress: Progress,
        mount_from: str = "",
    ) -> None:
        self._place = parse_place(url)
        self._registries = registries
        self._environ = environ
        self._progress = progress
        self._mount_from = mount_from
        self._reader: RegistrySource | None = None
        self._writer: RegistryClient | None = None

    def load(self, key: str) -> bytes | None:
        try:
            return self._source().document(tag=tag(key)).raw
        except ManifestUnknown:
            return None

    def fetch(self, descriptors: Sequence[Descriptor], *, store: BlobStore) -> int:
        # In a cache the image's manifest is a blob like any other.
        blobs = [each.replacing(media_type=BLOB) for each in descriptors]
        return self._source().fetch(blobs, store=store, jobs=JOBS)

    def has_blob(self, descriptor: Descriptor) -> bool:
        return has_blob(self._client(), descriptor)

    def put_blob(self, descriptor: Descriptor, path: Path) -> int:
        return push_blob(self._client(), descriptor, path, mount_from=self._mount_from)

    def save(self, key: str, record: bytes) -> None:
        client = self._client()
        if not has_blob(client, EMPTY_DESCRIPTOR):
            push_bytes(client, EMPTY_DESCRIPTOR, EMPTY)
        push_manifest(client, record, media_type=OCI_MANIFEST, reference=tag(key))

    def discard(self, key: str, descriptors: Sequence[Descriptor]) -> None:
        """Only the blobs: a record without them is a miss. Many registries delete nothing."""
        client = self._client()
        for descriptor in descriptors:
            with contextlib.suppress(RegistryError):
                reply = client.request(
                    "DELETE", f"blobs/{descriptor.digest}", accepted=frozenset({202})
                )
                reply.release()

    def close(self) -> None:
        for each in (self._reader, self._writer):
            if each is not None:
                each.close()

    def _source(self) -> RegistrySource:
        """One for all that is read, with its connections and its token."""
        if self._reader is None:
            self._reader = RegistrySource(
                self._place,
                registries=self._registries,
                progress=self._progress,
                environ=self._environ,
                limits=PATIENCE,
            )
        return self._reader

    def _client(self) -> RegistryClient:
        if self._writer is None:
            own = endpoints(self._place, self._registries)[-1]
            self._writer = RegistryClient(
                own, environ=self._environ, progress=self._progress, limits=PATIENCE
            )
        return self._writer


def parse_place(url: str) -> ImageReference:
    """``oci://registry/repository``, spelt out: what an image's name may leave away would here be
    Docker Hub. Raises: DeclarationError."""
    name = url.removeprefix("oci://")
    try:
        found = parse_image(f"docker://{name}", folder=Path())
    except InvalidReference as problem:
        raise DeclarationError(problem.message, subject=url, hint=problem.hint) from problem
    if found.name != name:
        raise DeclarationError(
            "names no registry and repository, or more than these",
            subject=url,
            hint="write oci://registry.example/team/cache; a registry of one word with its port",
        )
    return found


def tag(key: str) -> str:
    """Spec: distribution-spec 1.1, tags: at most 128 characters."""
    return f"ac-{key}"
