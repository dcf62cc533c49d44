"""Documents of images against the image specification: schemas, and what no schema can say.

Spec: image-spec 1.1 descriptor.md, image-index.md, manifest.md, config.md, image-layout.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ..errors import ContentError
from ..oci.digest import parse_digest
from ..oci.media_type import LAYER_COMPRESSION
from .schema import Violation, violations_of

REF_NAME = "org.opencontainers.image.ref.name"
Path = tuple[str | int, ...]


def layout_violations(document: Any) -> list[Violation]:
    return violations_of("image-spec/layout", document)


def index_violations(document: Any) -> list[Violation]:
    return violations_of("image-spec/index", document) or [
        *_one_kind(document, "layers", "config"),
        *_descriptors(document["manifests"], ("manifests",)),
        *_ref_names(document),
    ]


def manifest_violations(document: Any) -> list[Violation]:
    return violations_of("image-spec/manifest", document) or [
        *_one_kind(document, "manifests"),
        *_descriptors([document["config"]], ("config",), single=True),
        *_descriptors(document["layers"], ("layers",)),
    ]


def image_config_violations(document: Any) -> list[Violation]:
    return violations_of("image-spec/config", document) or [
        *_diff_ids(document),
        *_environment(document),
        *_stop_signal(document),
        *_ports(document),
    ]


def lock_violations(document: Any) -> list[Violation]:
    return violations_of("images-lock", document)


DOCUMENTS: Mapping[str, Callable[[Any], list[Violation]]] = {
    "layout": layout_violations,
    "index": index_violations,
    "manifest": manifest_violations,
    "config": image_config_violations,
}


def _one_kind(document: Mapping[str, Any], *others: str) -> Iterator[Violation]:
    """A document that reads both as an index and as a manifest means two images under one digest.

    Spec: image-spec 1.1 manifest.md and image-index.md, on ``mediaType``; CVE-2021-41190.
    """
    for key in others:
        if key in document:
            yield Violation(
                (key,), "does not belong here; this could be taken for another document"
            )


def _descriptors(items: Any, path: Path, *, single: bool = False) -> Iterator[Violation]:
    for place, item in enumerate(items):
        where = path if single else (*path, place)
        try:
            parse_digest(item["digest"])
        except ContentError as error:
            yield Violation((*where, "digest"), f"{item['digest']!r} is {error.message}")
        if path == ("layers",) and _is_image_layer_of_unknown_kind(item["mediaType"]):
            yield Violation((*where, "mediaType"), f"{item['mediaType']!r} is no kind of layer")
        data = item.get("data")
        if data is not None:
            yield from _embedded(item, data, where)


def _is_image_layer_of_unknown_kind(media_type: str) -> bool:
    family = ("application/vnd.oci.image.layer.", "application/vnd.docker.image.rootfs.")
    return media_type.startswith(family) and media_type not in LAYER_COMPRESSION


def _embedded(item: Mapping[str, Any], data: str, where: Path) -> Iterator[Violation]:
    """``data`` has to be the blob itself. Spec: image-spec 1.1 descriptor.md, "data"."""
    import base64

    from ..oci.digest import digest_bytes

    content = base64.b64decode(data)
    if len(content) != item["size"]:
        yield Violation((*where, "data"), f"has {len(content)} bytes, size says {item['size']}")
        return
    try:
        wanted = parse_digest(item["digest"])
    except ContentError:
        return
    if digest_bytes(content, wanted.algorithm) != wanted:
        yield Violation((*where, "data"), "has another digest than the descriptor says")


def _ref_names(document: Mapping[str, Any]) -> Iterator[Violation]:
    """Spec: image-spec 1.1 annotations.md, grammar of ``org.opencontainers.image.ref.name``."""
    import re

    grammar = re.compile(r"[A-Za-z0-9]+([-._:@/+]|--)?([A-Za-z0-9]+([-._:@+]|--)?)*(/.+)?")
    for place, item in enumerate(document["manifests"]):
        name = (item.get("annotations") or {}).get(REF_NAME)
        if name is not None and not grammar.fullmatch(name):
            where = ("manifests", place, "annotations", REF_NAME)
            yield Violation(where, f"{name!r} is no reference name")


def _diff_ids(document: Mapping[str, Any]) -> Iterator[Violation]:
    for place, text in enumerate(document["rootfs"]["diff_ids"]):
        try:
            parse_digest(text)
        except ContentError as error:
            yield Violation(("rootfs", "diff_ids", place), f"{text!r} is {error.message}")


def _environment(document: Mapping[str, Any]) -> Iterator[Violation]:
    seen = set()
    for place, text in enumerate((document.get("config") or {}).get("Env") or ()):
        name = text.partition("=")[0]
        if name in seen:
            yield Violation(("config", "Env", place), f"sets {name} a second time")
        seen.add(name)


def _stop_signal(document: Mapping[str, Any]) -> Iterator[Violation]:
    from ..oci.signal_name import parse_signal

    text = (document.get("config") or {}).get("StopSignal")
    if text and parse_signal(text) is None:
        yield Violation(("config", "StopSignal"), f"{text!r} is no signal")


def _ports(document: Mapping[str, Any]) -> Iterator[Violation]:
    for text in (document.get("config") or {}).get("ExposedPorts") or ():
        first, _, last = text.partition("/")[0].partition("-")
        if int(first) > 65535 or int(last or first) > 65535:
            yield Violation(("config", "ExposedPorts", text), "is above port 65535")
