"""Step 0: a reference to digests, for the lock. The only step that may ask what a tag means.

Goes in: a reference, the platforms wanted, and what the lock already knows. Comes out: a
LockedImage, and in the store the raw bytes of every index, manifest and configuration it names.
"""

from __future__ import annotations

import os

from .store.blob_store import BlobStore
from .store.image_documents import ImageDocuments
from .store.transports.sources import Sources

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from .oci.digest import Digest
    from .oci.locked_image import LockedImage
    from .oci.platform import Platform
    from .oci.reference import ImageReference
    from .oci.registry_settings import Registry
    from .progress import Progress
    from .store.registry.limits import Limits


def resolve_image(
    *,
    name: str,
    reference: ImageReference,
    platforms: Sequence[Platform],
    known: LockedImage | None,
    blobs: Path,
    registries: Sequence[Registry] = (),
    offline: bool = False,
    progress: Progress,
    environ: Mapping[str, str] | None = None,
    limits: Limits | None = None,
    sources: Sources | None = None,
) -> LockedImage:
    """Resolve an image for some platforms, on top of what is known.

    ``known`` keeps its digests: only platforms that it lacks are added, from the same index.
    Raises: RegistryError, ContentError, OfflineError, DeclarationError, StoreError.
    """
    if known is not None and known.reference != str(reference):
        known = None
    lacking = [
        platform for platform in platforms if not known or str(platform) not in known.platforms
    ]
    if known is not None and not lacking:
        return known
    with ImageDocuments(
        name=name,
        reference=reference,
        store=BlobStore(blobs),
        registries=registries,
        offline=offline,
        progress=progress,
        environ=os.environ if environ is None else environ,
        limits=limits,
        sources=sources,
    ) as documents:
        return documents.resolve(lacking, known)


def tag_digest(
    *,
    reference: ImageReference,
    registries: Sequence[Registry] = (),
    progress: Progress,
    environ: Mapping[str, str] | None = None,
    limits: Limits | None = None,
    sources: Sources | None = None,
) -> Digest | None:
    """What a reference means at this moment: one HEAD, which counts as no pull.

    None where the registry does not say it. Raises: RegistryError, ContentError.
    """
    if reference.digest is not None:
        return reference.digest
    with (sources or Sources()).lend(
        reference,
        registries=registries,
        offline=False,
        progress=progress,
        environ=os.environ if environ is None else environ,
        limits=limits,
    ) as source:
        return source.head()
