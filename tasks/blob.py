"""Step: blobs into the store, by descriptor, from wherever the image's reference says.

Goes in: descriptors from the lock. Comes out: ``build/blobs/<algorithm>/<encoded>``. The key of a
blob is its digest, so a blob that is there is never fetched again.
"""

from __future__ import annotations

import os

from .store.blob_store import BlobStore
from .store.transports.sources import Sources

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from .oci.descriptor import Descriptor
    from .oci.reference import ImageReference
    from .oci.registry_settings import Registry
    from .progress import Progress
    from .store.registry.limits import Limits


def missing_blobs(descriptors: Sequence[Descriptor], *, blobs: Path) -> tuple[Descriptor, ...]:
    """Those that are not in the store with the right size, each digest once."""
    store = BlobStore(blobs)
    unique = {descriptor.digest: descriptor for descriptor in descriptors}
    return tuple(found for found in unique.values() if not store.has_blob(found))


def fetch_blobs(
    *,
    image: str,
    reference: ImageReference,
    descriptors: Sequence[Descriptor],
    blobs: Path,
    tmp: Path,
    registries: Sequence[Registry] = (),
    offline: bool = False,
    progress: Progress,
    jobs: int = 3,
    environ: Mapping[str, str] | None = None,
    limits: Limits | None = None,
    sources: Sources | None = None,
) -> dict[str, str]:
    """Fetch what is missing, the largest first, ``jobs`` at a time; no request for the rest.

    Says how many blobs came and how many bytes were moved. Raises: RegistryError, ContentError,
    StoreError, OfflineError, DeclarationError.
    """
    missing = missing_blobs(descriptors, blobs=blobs)
    if not missing:
        return {"image": image, "blobs": "0", "bytes": "0"}
    with (sources or Sources()).lend(
        reference,
        is_last=True,
        registries=registries,
        offline=offline,
        progress=progress,
        environ=os.environ if environ is None else environ,
        limits=limits,
    ) as source:
        store = BlobStore(blobs, tmp)
        moved = source.fetch(missing, store=store, jobs=jobs)
        store.sync()
    return {"image": image, "blobs": str(len(missing)), "bytes": str(moved)}
