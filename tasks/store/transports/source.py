"""ImageSource: what every transport offers, and the one function that opens them."""

from __future__ import annotations

from ...errors import OfflineError
from ...value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Protocol

    from ...oci.descriptor import Descriptor
    from ...oci.digest import Digest
    from ...oci.reference import ImageReference
    from ...oci.registry_settings import Registry
    from ...progress import Progress
    from ..blob_store import BlobStore
    from ..registry.limits import Limits
    from .local import LocalSource
else:
    Protocol = object


class RawDocument(Value):
    """A manifest or an index as it came, with what was said of its media type."""

    raw: bytes
    media_type: str
    digest: Digest


class ImageSource(Protocol):
    """One image's place. Every method may raise the errors of its transport."""

    def head(self) -> Digest | None:
        """What the reference means at this moment, when that is cheaper to ask than to read."""

    def document(self, digest: Digest | None = None) -> RawDocument:
        """The manifest or index of a digest, or what the reference names; verified."""

    def small_blob(self, descriptor: Descriptor) -> bytes:
        """A configuration, whole and verified."""

    def fetch(self, descriptors: Sequence[Descriptor], *, store: BlobStore, jobs: int) -> int:
        """Put blobs into the store, and return how many bytes were moved for it."""

    def tags(self) -> list[str]:
        """The tags or names that stand beside the image."""

    def close(self) -> None: ...


def open_source(
    reference: ImageReference,
    *,
    registries: Sequence[Registry] = (),
    offline: bool = False,
    progress: Progress,
    environ: Mapping[str, str],
    limits: Limits | None = None,
) -> ImageSource:
    """Open the transport of a reference; the caller closes it.

    Raises: OfflineError, DeclarationError, ContentError.
    """
    if reference.transport == "docker":
        if offline:
            raise OfflineError(
                "the network is needed for it, and is refused",
                subject=str(reference),
                hint='run it without --offline, and not with pull_policy = "never"',
            )
        from .docker import RegistrySource

        return RegistrySource(
            reference,
            registries=registries,
            progress=progress,
            environ=environ,
            limits=limits,
        )
    if reference.transport == "builtin":
        from .builtin import BuiltinSource

        return BuiltinSource(reference, progress=progress)
    return _open_local(reference, progress)


def _open_local(reference: ImageReference, progress: Progress) -> ImageSource:
    from .files import Archive, Folder

    is_folder = reference.transport in ("oci", "dir")
    files = Folder(reference.path) if is_folder else Archive(reference.path, subject=str(reference))
    try:
        return _local_transport(reference.transport)(reference, files, progress=progress)
    except BaseException:
        files.close()
        raise


def _local_transport(name: str) -> type[LocalSource]:
    if name == "dir":
        from .directory import DirectorySource

        return DirectorySource
    if name == "docker-archive":
        from .docker_archive import DockerArchiveSource

        return DockerArchiveSource
    from .layout import LayoutSource

    return LayoutSource
