"""ImageDocuments: an image's index, manifest and configuration, out of the store or its source.

Nothing is asked of a source that the store has already; what comes is kept as its raw bytes.
"""

from __future__ import annotations

import contextlib
from types import MappingProxyType

from ..errors import ContentError, SizeMismatch, UnsupportedMediaType
from ..oci.descriptor import Descriptor
from ..oci.image_config import parse_image_config
from ..oci.locked_image import LockedImage, LockedLayer, LockedPlatform
from ..oci.manifest import CONFIG_LIMIT, MANIFEST_LIMIT, Index, Manifest, parse_document
from ..oci.media_type import INDEXES, LAYER_COMPRESSION, MANIFESTS
from ..oci.platform import Platform, rank
from .transports.sources import Sources

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from types import TracebackType

    from ..oci.digest import Digest
    from ..oci.image_config import ImageConfig
    from ..oci.reference import ImageReference
    from ..oci.registry_settings import Registry
    from ..progress import Progress
    from .blob_store import BlobStore
    from .registry.limits import Limits
    from .transports.source import ImageSource

NESTING = 4
DOCUMENTS = 64


class ImageDocuments:
    """One image's documents; ``name`` is what messages call it. The caller closes it."""

    def __init__(
        self,
        *,
        name: str,
        reference: ImageReference,
        store: BlobStore,
        registries: Sequence[Registry],
        offline: bool,
        progress: Progress,
        environ: Mapping[str, str],
        limits: Limits | None = None,
        sources: Sources | None = None,
    ) -> None:
        self._name = name
        self._reference = reference
        self._store = store
        self._registries = registries
        self._offline = offline
        self._progress = progress
        self._environ = environ
        self._limits = limits
        self._sources = sources or Sources()
        self._closing = contextlib.ExitStack()
        self._opened: ImageSource | None = None
        self._documents = 0
        self._said: dict[Digest, str] = {}

    def __enter__(self) -> ImageDocuments:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closing.__exit__(kind, error, trace)

    def resolve(self, platforms: Sequence[Platform], known: LockedImage | None) -> LockedImage:
        """Add platforms to what is known, from the same index. Raises: every store's errors."""
        digest, top = self.top(known)
        found = dict(known.platforms) if known else {}
        for platform in platforms:
            found[str(platform)] = self._platform(top, digest, platform)
        return LockedImage(
            reference=str(self._reference),
            index=digest if isinstance(top, Index) else None,
            platforms=MappingProxyType(found),
        )

    def top(self, known: LockedImage | None) -> tuple[Digest, Manifest | Index]:
        """What the lock says that the reference means, or what it means now."""
        digest = self._pinned(known) or self._named()
        return digest, self._document(digest, "", self._subject)

    def image(
        self, platform: Platform, known: LockedImage | None
    ) -> tuple[Digest, LockedPlatform, ImageConfig]:
        """The top document's digest, and one platform's image with its configuration."""
        digest, top = self.top(known)
        found = self._platform(top, digest, platform)
        return digest, found, self._config(found.config, self._subject)

    def tags(self) -> list[str]:
        """The tags that stand beside the image."""
        return self._source().tags()

    def _platform(
        self, top: Manifest | Index, digest: Digest, platform: Platform
    ) -> LockedPlatform:
        if isinstance(top, Index):
            return self._from_index(top, platform)
        return self._from_manifest(top, digest, platform)

    def _pinned(self, known: LockedImage | None) -> Digest | None:
        """What the lock says the reference means, or the reference itself."""
        if known is not None and known.index is not None:
            return known.index
        if known is not None and known.platforms:
            return next(iter(known.platforms.values())).manifest.digest
        return self._reference.digest

    def _named(self) -> Digest:
        """What a tag means now; its document is in the store afterwards.

        A HEAD is asked first where the store may have the answer: it does not count as a pull.
        """
        source = self._source()
        digest = source.head() if self._store.has_any() else None
        if digest is None or not self._store.has_digest(digest):
            document = source.document()
            digest = self._store.put_blob(document.raw, document.digest)
            self._said[digest] = document.media_type
        return digest

    def _document(self, digest: Digest, media_type: str, subject: str) -> Manifest | Index:
        self._documents += 1
        if self._documents > DOCUMENTS:
            raise ContentError(f"more than {DOCUMENTS} manifests to read", subject=subject)
        raw = self._stored(digest, MANIFEST_LIMIT)
        if raw is None:
            document = self._source().document(digest)
            raw = document.raw
            self._store.put_blob(raw, digest)
            media_type = media_type or document.media_type
        return parse_document(
            raw, media_type=media_type or self._said.get(digest, ""), subject=subject
        )

    def _stored(self, digest: Digest, limit: int) -> bytes | None:
        """A document out of the store; a damaged one counts as absent."""
        if not self._store.has_digest(digest):
            return None
        with contextlib.suppress(ContentError):
            return self._store.get_blob(digest, limit=limit)
        return None

    def _source(self) -> ImageSource:
        if self._opened is None:
            lent = self._sources.lend(
                self._reference,
                registries=self._registries,
                offline=self._offline,
                progress=self._progress,
                environ=self._environ,
                limits=self._limits,
            )
            self._opened = self._closing.enter_context(lent)
        return self._opened

    def _from_index(self, index: Index, platform: Platform) -> LockedPlatform:
        """The manifest that serves a platform best; of equals, the first in the index."""
        offered = list(self._manifests(index, platform, depth=0))
        ranked = [
            (step, number)
            for number, descriptor in enumerate(offered)
            if descriptor.platform and (step := rank(platform, descriptor.platform)) is not None
        ]
        if ranked:
            chosen = offered[min(ranked)[1]]
            return self._locked(chosen, platform, check=False)
        for descriptor in offered:
            if descriptor.platform is None:
                with contextlib.suppress(WrongPlatform):
                    return self._locked(descriptor, platform, check=True)
        raise self._not_offered(platform, [found.platform for found in offered])

    def _manifests(self, index: Index, platform: Platform, depth: int) -> Iterator[Descriptor]:
        """The image manifests of an index and of those in it that may hold the platform."""
        if depth > NESTING:
            raise ContentError(f"indexes nested deeper than {NESTING}", subject=self._subject)
        for descriptor in index.manifests:
            if descriptor.media_type in MANIFESTS:
                yield descriptor
            elif descriptor.media_type in INDEXES:
                offered = descriptor.platform
                if offered is None or rank(platform, offered) is not None:
                    inner = self._document(descriptor.digest, descriptor.media_type, self._subject)
                    if isinstance(inner, Index):
                        yield from self._manifests(inner, platform, depth + 1)

    def _locked(self, descriptor: Descriptor, platform: Platform, *, check: bool) -> LockedPlatform:
        subject = f"{self._subject}: {platform}"
        manifest = self._document(descriptor.digest, descriptor.media_type, subject)
        if len(manifest.raw) != descriptor.size:
            raise SizeMismatch(
                subject=f"{subject}: manifest {descriptor.digest}",
                expected=descriptor.size,
                actual=len(manifest.raw),
            )
        if not isinstance(manifest, Manifest):
            raise ContentError("an index where a manifest was announced", subject=subject)
        return self._from_manifest(manifest, descriptor.digest, platform, check=check)

    def _from_manifest(
        self, manifest: Manifest, digest: Digest, platform: Platform, *, check: bool = True
    ) -> LockedPlatform:
        subject = f"{self._subject}: {platform}"
        manifest.check_image(subject=subject)
        config = self._config(manifest.config, subject)
        if check and config.os and config.architecture and rank(platform, config.platform) is None:
            raise self._not_offered(platform, [config.platform])
        return LockedPlatform(
            manifest=Descriptor(
                media_type=manifest.media_type, digest=digest, size=len(manifest.raw)
            ),
            config=Descriptor(
                media_type=manifest.config.media_type,
                digest=manifest.config.digest,
                size=manifest.config.size,
            ),
            layers=locked_layers(manifest, config, subject=subject),
        )

    def _config(self, descriptor: Descriptor, subject: str) -> ImageConfig:
        subject = f"{subject}: configuration {descriptor.digest}"
        if descriptor.size > CONFIG_LIMIT:
            raise SizeMismatch(subject=subject, expected=CONFIG_LIMIT, actual=descriptor.size)
        raw = self._stored(descriptor.digest, CONFIG_LIMIT)
        if raw is None:
            raw = self._source().small_blob(descriptor)
        if len(raw) != descriptor.size:
            raise SizeMismatch(subject=subject, expected=descriptor.size, actual=len(raw))
        self._store.put_blob(raw, descriptor.digest)
        return parse_image_config(raw, subject=subject)

    @property
    def _subject(self) -> str:
        return f"{self._name} ({self._reference})" if self._name else str(self._reference)

    def _not_offered(self, platform: Platform, offered: Sequence[Platform | None]) -> WrongPlatform:
        names = {str(found) for found in offered if found and found.os != "unknown"}
        has = ", ".join(sorted(names)) or "no platform"
        return WrongPlatform(
            f"no image for {platform}; it has {has}",
            subject=self._subject,
            hint='choose one of them with platform = "os/architecture" in images.toml',
        )


class WrongPlatform(ContentError):
    """The image does not run on the platform that is wanted."""


def locked_layers(
    manifest: Manifest, config: ImageConfig, *, subject: str
) -> tuple[LockedLayer, ...]:
    """Layers and their diff_ids, side by side. Raises: ContentError, UnsupportedMediaType."""
    if len(manifest.layers) != len(config.diff_ids):
        raise ContentError(
            f"{len(manifest.layers)} layers, but {len(config.diff_ids)} diff_ids", subject=subject
        )
    for number, layer in enumerate(manifest.layers):
        if layer.media_type not in LAYER_COMPRESSION:
            what = "is encrypted" if "+encrypted" in layer.media_type else "cannot be unpacked"
            raise UnsupportedMediaType(
                f"layer {number} {what}: its media type is {layer.media_type!r}", subject=subject
            )
    return tuple(
        LockedLayer(
            descriptor=Descriptor(
                media_type=layer.media_type, digest=layer.digest, size=layer.size, urls=layer.urls
            ),
            diff_id=diff_id,
        )
        for layer, diff_id in zip(manifest.layers, config.diff_ids, strict=True)
    )
