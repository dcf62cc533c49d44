"""Manifest and Index: the raw bytes, which the digest is over, beside what they say.

Spec: image-spec 1.1 manifest.md and image-index.md; Docker "Image Manifest Version 2, Schema 2".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType

from ..errors import ContentError, UnsupportedMediaType
from ..value import Value
from .descriptor import NO_ANNOTATIONS, Descriptor
from .digest import Digest, digest_bytes
from .media_type import (
    CONFIGS,
    DOCKER_MANIFEST,
    DOCKER_MANIFEST_LIST,
    INDEXES,
    MANIFESTS,
    OCI_INDEX,
    OCI_MANIFEST,
    SCHEMA1,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MANIFEST_LIMIT = 4 << 20
"""Bytes of a manifest or an index: what registries must accept, and all that is read here."""

CONFIG_LIMIT = 8 << 20
"""Bytes of an image configuration."""


class Manifest(Value):
    """One image: its configuration and its layers, the base layer first."""

    raw: bytes
    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]
    annotations: Mapping[str, str] = NO_ANNOTATIONS
    artifact_type: str = ""

    @property
    def digest(self) -> Digest:
        return digest_bytes(self.raw)

    def check_image(self, *, subject: str) -> None:
        """Raises: UnsupportedMediaType, for an artifact that is no image."""
        if self.config.media_type not in CONFIGS:
            kind = self.artifact_type or self.config.media_type
            raise UnsupportedMediaType(
                f"this is an artifact of type {kind!r}, not an image: there is nothing to run",
                subject=subject,
            )


class Index(Value):
    """Many manifests (or further indexes), most of them with a platform."""

    raw: bytes
    media_type: str
    manifests: tuple[Descriptor, ...]
    annotations: Mapping[str, str] = NO_ANNOTATIONS

    @property
    def digest(self) -> Digest:
        return digest_bytes(self.raw)


def parse_document(raw: bytes, *, media_type: str = "", subject: str) -> Manifest | Index:
    """Parse what a registry or a layout holds under an image's name.

    ``media_type`` is what the descriptor or the Content-Type says, empty when neither does.

    Raises: ContentError, UnsupportedMediaType, InvalidDigest.
    """
    document = load_object(raw, subject=subject)
    kind = _media_type(document, media_type, subject)
    if kind in INDEXES:
        _refuse_fields(document, ("config", "layers", "fsLayers", "history"), kind, subject)
        return Index(
            raw=raw,
            media_type=kind,
            manifests=_descriptors(document, "manifests", subject),
            annotations=_annotations(document),
        )
    _refuse_fields(document, ("manifests", "fsLayers", "history"), kind, subject)
    return Manifest(
        raw=raw,
        media_type=kind,
        config=Descriptor.from_json(document.get("config"), subject=f"{subject}: config"),
        layers=_descriptors(document, "layers", subject),
        annotations=_annotations(document),
        artifact_type=str(document.get("artifactType") or ""),
    )


def load_object(raw: bytes, *, subject: str) -> dict[str, Any]:
    """JSON bytes to an object. Raises: ContentError."""
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError) as error:
        start = raw[:64].lstrip()
        what = "HTML" if start[:1] == b"<" else "no valid JSON"
        raise ContentError(f"expected a JSON document, got {what}", subject=subject) from error
    if not isinstance(document, dict):
        raise ContentError("expected a JSON object", subject=subject)
    return document


def _media_type(document: dict[str, Any], outer: str, subject: str) -> str:
    """The one media type that descriptor, document and structure agree on."""
    inner = document.get("mediaType") or ""
    if not isinstance(inner, str):
        raise ContentError("mediaType is no string", subject=subject)
    known = INDEXES | MANIFESTS | SCHEMA1
    outer = outer.partition(";")[0].strip().lower()
    if outer in SCHEMA1 or inner in SCHEMA1 or document.get("schemaVersion") == 1:
        raise UnsupportedMediaType(
            "this is a Docker schema 1 manifest, a format without a configuration digest that "
            "registries gave up in 2023",
            subject=subject,
            hint="push the image again with a current tool (docker, podman, skopeo copy)",
        )
    if document.get("schemaVersion") != 2:
        raise ContentError(
            f"expected schemaVersion 2, got {document.get('schemaVersion')!r}", subject=subject
        )
    if inner and inner not in known:
        raise UnsupportedMediaType(
            f"{inner[:120]!r} is no image manifest or index", subject=subject
        )
    if outer in known and inner and inner != outer:
        raise ContentError(
            f"confused document: announced as {outer}, but says mediaType {inner}", subject=subject
        )
    if outer in known or inner:
        return outer if outer in known else inner
    return _guess(document)


def _guess(document: dict[str, Any]) -> str:
    """Neither side names a type: an index has manifests, Docker's have Docker's descriptors."""
    field = "manifests" if "manifests" in document else "config"
    found = document.get(field)
    first = found[0] if isinstance(found, list) and found else found
    inside = str(first.get("mediaType", "")) if isinstance(first, dict) else ""
    is_docker = inside.startswith("application/vnd.docker.")
    if field == "manifests":
        return DOCKER_MANIFEST_LIST if is_docker else OCI_INDEX
    return DOCKER_MANIFEST if is_docker else OCI_MANIFEST


def _refuse_fields(
    document: dict[str, Any], fields: tuple[str, ...], kind: str, subject: str
) -> None:
    """A document that can be read as two things is an attack on whoever reads it the other way."""
    for name in fields:
        if name in document:
            raise ContentError(f'confused document: a {kind} with "{name}"', subject=subject)


def _descriptors(document: dict[str, Any], name: str, subject: str) -> tuple[Descriptor, ...]:
    found = document.get(name)
    if not isinstance(found, list):
        raise ContentError(f'"{name}" is missing or no list', subject=subject)
    return tuple(
        Descriptor.from_json(value, subject=f"{subject}: {name}[{number}]")
        for number, value in enumerate(found)
    )


def _annotations(document: dict[str, Any]) -> Mapping[str, str]:
    found = document.get("annotations")
    if not isinstance(found, dict) or not found:
        return NO_ANNOTATIONS
    return MappingProxyType({str(key): str(value) for key, value in found.items()})
