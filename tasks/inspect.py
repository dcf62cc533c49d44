"""Look at an image without fetching its layers: what ``skopeo inspect`` prints.

Goes in: a reference, and what the lock holds of it, which is then what is shown. Documents come
out of the store where it has them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict, Unpack

from .errors import OfflineError, RegistryError
from .oci.image_config import ImageConfig
from .oci.locked_image import LockedImage, LockedPlatform
from .oci.platform import Platform
from .oci.reference import ImageReference, parse_image
from .oci.registry_settings import Registry
from .progress import Progress
from .store.blob_store import BlobStore
from .store.image_documents import ImageDocuments

FRACTION = re.compile(r"\.(\d+?)0*(?=Z|[+-]|$)")


class Query(TypedDict):
    """What every question here takes; ``locked`` is None for an image that is not in the lock."""

    reference: ImageReference
    platform: Platform
    locked: LockedImage | None
    blobs: Path
    registries: Sequence[Registry]
    offline: bool
    progress: Progress


def inspect_image(**query: Unpack[Query]) -> dict[str, Any]:
    """skopeo's fields, in its order. Raises: RegistryError, ContentError, OfflineError.

    An image of a docker-archive has the digest of the manifest that is made for it here.
    """
    reference = query["reference"]
    tags: list[str] = []
    with _documents(query) as documents:
        digest, found, config = documents.image(query["platform"], query["locked"])
        if reference.transport == "docker":
            try:
                tags = documents.tags()
            except (RegistryError, OfflineError) as error:
                query["progress"].note(f"{error.subject}: {error.message}; the tags are not shown")
    name = _name(reference)
    return {
        **({"Name": name} if name else {}),
        "Digest": str(digest),
        "RepoTags": tags,
        **_describe(found, config),
    }


def _name(reference: ImageReference) -> str:
    """The repository's name, which images in archives of Docker's have too."""
    if reference.transport == "docker":
        return reference.name
    if reference.transport == "docker-archive" and reference.tag[:1] not in ("", "@"):
        return parse_image(reference.tag, folder=Path()).name
    return ""


def _describe(found: LockedPlatform, config: ImageConfig) -> dict[str, Any]:
    document, execution = config.document, config.execution
    created = document.get("created")
    return {
        "Created": FRACTION.sub(_shorten, created) if isinstance(created, str) else None,
        "DockerVersion": document.get("docker_version") or "",
        "Labels": execution.get("Labels"),
        "Architecture": document.get("architecture", ""),
        **({"Variant": document["variant"]} if document.get("variant") else {}),
        "Os": document.get("os", ""),
        "Layers": [str(layer.descriptor.digest) for layer in found.layers],
        "Env": execution.get("Env"),
    }


def _shorten(match: re.Match[str]) -> str:
    """A fraction of a second without the zeros at its end, as Go writes it."""
    return "" if match[1] == "0" else f".{match[1]}"


def raw_manifest(**query: Unpack[Query]) -> bytes:
    """The index or manifest that the reference names, byte for byte."""
    with _documents(query) as documents:
        return documents.top(query["locked"])[1].raw


def raw_config(**query: Unpack[Query]) -> bytes:
    """The platform's image configuration, byte for byte."""
    with _documents(query) as documents:
        return documents.image(query["platform"], query["locked"])[2].raw


def list_tags(**query: Unpack[Query]) -> dict[str, Any]:
    """What ``skopeo list-tags`` prints; of a layout, the names in it."""
    reference = query["reference"]
    named = {"Repository": reference.name} if reference.transport == "docker" else {}
    with _documents(query) as documents:
        return {**named, "Tags": documents.tags()}


def _documents(query: Query) -> ImageDocuments:
    return ImageDocuments(
        name="",
        reference=query["reference"],
        store=BlobStore(query["blobs"]),
        registries=query["registries"],
        offline=query["offline"],
        progress=query["progress"],
        environ=os.environ,
    )
