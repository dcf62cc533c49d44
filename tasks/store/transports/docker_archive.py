"""docker-archive: what ``docker save`` and ``podman save`` write.

Such an archive has layers without compression and no manifest: one is made here, so the manifest's
digest is this project's own, while the configuration's digest is the image's.
"""

from __future__ import annotations

import io
from typing import Any, BinaryIO

from ...errors import ContentError
from ...oci.canonical_json import canonical
from ...oci.descriptor import Descriptor
from ...oci.digest import Digest, digest_bytes
from ...oci.image_config import parse_image_config
from ...oci.manifest import CONFIG_LIMIT, MANIFEST_LIMIT
from ...oci.media_type import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST
from ...oci.reference import ImageReference, parse_image
from ...progress import Progress
from ..blob_store import CHUNK, BlobStore
from .files import GZIP, ZSTD, Files, open_compressed, unreadable
from .local import LocalSource
from .source import RawDocument

INDEX_MARK = "@"


class DockerArchiveSource(LocalSource):
    """One image of an archive: named as ``name:tag`` or ``@number``, or the only one."""

    def __init__(self, reference: ImageReference, files: Files, *, progress: Progress) -> None:
        super().__init__(reference, files, progress=progress)
        self._items = self._load_items()
        self._item = self._choose()
        self._config = self.read(str(self._item.get("Config")), CONFIG_LIMIT)
        self._layers: dict[Digest, str] = {}
        self._document = self._make_document()

    def _load_items(self) -> list[dict[str, Any]]:
        import json

        try:
            items = json.loads(self.read("manifest.json", MANIFEST_LIMIT))
        except (ValueError, RecursionError) as error:
            raise ContentError("manifest.json is no valid JSON", subject=self.subject) from error
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise ContentError("manifest.json is no list of images", subject=self.subject)
        return items

    def _choose(self) -> dict[str, Any]:
        wanted = self.reference.tag
        if wanted.startswith(INDEX_MARK) and wanted[1:].isascii() and wanted[1:].isdigit():
            found = self._items[int(wanted[1:]) :][:1]
        elif wanted:
            name = _normal(wanted)
            found = [item for item in self._items if name in map(_normal, _repo_tags(item))]
        else:
            found = self._items
        if len(found) == 1:
            return found[0]
        names = ", ".join(self.tags()) or "none of them has a name"
        raise ContentError(
            f"there are {len(self._items)} images; expected one ({names})"
            if not wanted
            else f'there is no image named "{wanted}"; there is {names}',
            subject=self.subject,
            hint=f"name one: docker-archive:{self.reference.location}:NAME:TAG, or @0",
        )

    def _make_document(self) -> RawDocument:
        config = parse_image_config(self._config, subject=f"{self.subject}: configuration")
        names = self._item.get("Layers") or []
        if not isinstance(names, list) or len(names) != len(config.diff_ids):
            raise ContentError(
                f"{len(names)} layers, but {len(config.diff_ids)} diff_ids", subject=self.subject
            )
        layers = []
        for name, diff_id in zip(names, config.diff_ids, strict=True):
            self._layers[diff_id] = str(name)
            layers.append(
                {"mediaType": OCI_LAYER, "digest": str(diff_id), "size": self._layer_size(name)}
            )
        digest = digest_bytes(self._config)
        raw = canonical(
            {
                "schemaVersion": 2,
                "mediaType": OCI_MANIFEST,
                "config": {
                    "mediaType": OCI_CONFIG,
                    "digest": str(digest),
                    "size": len(self._config),
                },
                "layers": layers,
            }
        )
        return RawDocument(raw=raw, media_type=OCI_MANIFEST, digest=digest_bytes(raw))

    def _layer_size(self, name: object) -> int:
        """The size without compression, which some writers leave on."""
        try:
            size = self.files.size(str(name))
            with self._open_layer(str(name)) as stream:
                if isinstance(stream, io.RawIOBase):
                    return size
                return sum(len(chunk) for chunk in iter(lambda: stream.read(CHUNK), b""))
        except OSError as error:
            raise unreadable(self.subject, str(name), error) from error

    def _open_layer(self, name: str) -> BinaryIO:
        with self.files.open(name) as start:
            magic = start.read(4)
        stream = self.files.open(name)
        if magic.startswith(GZIP) or magic == ZSTD:
            return open_compressed(stream, magic)
        return stream

    def open_blob(self, digest: Digest) -> BinaryIO:
        if digest == digest_bytes(self._config, digest.algorithm):
            return io.BytesIO(self._config)
        name = self._layers.get(digest)
        if name is None:
            raise FileNotFoundError(2, "not in the archive", str(digest))
        return self._open_layer(name)

    def small_blob(self, descriptor: Descriptor) -> bytes:
        return self._config

    def fetch(self, descriptors: Any, *, store: BlobStore, jobs: int) -> int:
        manifest = self._document.digest
        if any(descriptor.digest == manifest for descriptor in descriptors):
            store.put_blob(self._document.raw, manifest)
        wanted = [found for found in descriptors if found.digest != manifest]
        return super().fetch(wanted, store=store, jobs=jobs)

    def document(self, digest: Digest | None = None) -> RawDocument:
        if digest is None or digest == self._document.digest:
            return self._document
        raise ContentError(
            f"the archive has no {digest}; was it written anew since it was locked?",
            subject=self.subject,
            hint="run lock --update to take what is there now",
        )

    def tags(self) -> list[str]:
        return sorted(tag for item in self._items for tag in _repo_tags(item))


def _repo_tags(item: dict[str, Any]) -> list[str]:
    found = item.get("RepoTags")
    return [str(tag) for tag in found] if isinstance(found, list) else []


def _normal(name: str) -> str:
    """A name as Docker normalises it, or as it stands where it is none."""
    from pathlib import Path

    from ...errors import InvalidReference

    try:
        return str(parse_image(name, folder=Path()))
    except InvalidReference:
        return name
