"""Manifests and indexes: what they say, and documents that could be read as two things."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.errors import ContentError, UnsupportedMediaType
from tasks.oci.manifest import Index, Manifest, parse_document
from tasks.oci.media_type import (
    DOCKER_MANIFEST,
    DOCKER_MANIFEST_LIST,
    DOCKER_SCHEMA1_SIGNED,
    OCI_INDEX,
    OCI_MANIFEST,
)
from tests.support.images import make_image, make_index

IMAGE = make_image()
DOCKER = make_image(docker=True)
INDEX = make_index(IMAGE)
DOCKER_LIST = make_index(DOCKER, docker=True)


def parse(document: Any, media_type: str = "") -> Manifest | Index:
    raw = document if isinstance(document, bytes) else json.dumps(document).encode()
    return parse_document(raw, media_type=media_type, subject="x")


@pytest.mark.parametrize(
    ("raw", "media_type", "kind", "expected"),
    [
        (IMAGE.raw, OCI_MANIFEST, Manifest, OCI_MANIFEST),
        (IMAGE.raw, "", Manifest, OCI_MANIFEST),
        (IMAGE.raw, "application/json", Manifest, OCI_MANIFEST),
        (IMAGE.raw, OCI_MANIFEST + "; charset=utf-8", Manifest, OCI_MANIFEST),
        (DOCKER.raw, "text/plain", Manifest, DOCKER_MANIFEST),
        (INDEX.raw, OCI_INDEX, Index, OCI_INDEX),
        (DOCKER_LIST.raw, "", Index, DOCKER_MANIFEST_LIST),
    ],
)
def test_document_is_what_it_says(raw: bytes, media_type: str, kind: type, expected: str) -> None:
    found = parse(raw, media_type)
    assert isinstance(found, kind)
    assert found.media_type == expected
    assert found.raw == raw


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (IMAGE, OCI_MANIFEST),
        (DOCKER, DOCKER_MANIFEST),
        (INDEX, OCI_INDEX),
        (DOCKER_LIST, DOCKER_MANIFEST_LIST),
    ],
)
def test_document_without_any_media_type_is_known_by_its_structure(
    image: Any, expected: str
) -> None:
    document = image.parsed
    del document["mediaType"]
    assert parse(document).media_type == expected


def changed(image: Any, **more: Any) -> dict[str, Any]:
    found = {**image.parsed, **more}
    return {key: value for key, value in found.items() if value is not None}


CONFUSED = {
    "a manifest with manifests": (changed(IMAGE, manifests=[]), ""),
    "an index with layers": (changed(INDEX, layers=[]), ""),
    "an index with a config": (changed(INDEX, config={}), ""),
    "a manifest with fsLayers": (changed(IMAGE, fsLayers=[]), ""),
    "an index announced as a manifest": (INDEX.raw, OCI_MANIFEST),
    "a manifest announced as an index": (IMAGE.raw, OCI_INDEX),
    "a docker manifest announced as OCI": (DOCKER.raw, OCI_MANIFEST),
    "an unnamed index announced as a manifest": (changed(INDEX, mediaType=None), OCI_MANIFEST),
    "an unnamed manifest announced as an index": (changed(IMAGE, mediaType=None), OCI_INDEX),
}


@pytest.mark.parametrize(("document", "media_type"), CONFUSED.values(), ids=CONFUSED)
def test_confused_document_is_refused(document: Any, media_type: str) -> None:
    with pytest.raises(ContentError):
        parse(document, media_type)


WRONG = {
    "HTML": (b"<html></html>", "HTML"),
    "nothing": (b"", "JSON"),
    "a list": (b"[]", "object"),
    "no UTF-8": (b'{"a": "\xff"}', "JSON"),
    "deep": (b"[" * 100_000, "JSON"),
    "a huge number": (b'{"schemaVersion": ' + b"9" * 5000 + b"}", "JSON"),
    "schemaVersion 3": (json.dumps(changed(IMAGE, schemaVersion=3)).encode(), "schemaVersion 2"),
    "layers no list": (json.dumps(changed(IMAGE, layers={})).encode(), "layers"),
    "no layers": (json.dumps(changed(IMAGE, layers=None)).encode(), "layers"),
    "no config": (json.dumps(changed(IMAGE, config=None)).encode(), "descriptor"),
    "a layer that is a number": (json.dumps(changed(IMAGE, layers=[1])).encode(), "layers"),
    "a negative size": (
        json.dumps(changed(INDEX, manifests=[{**IMAGE.descriptor(), "size": -1}])).encode(),
        "size",
    ),
    "a media type that is no text": (
        json.dumps(changed(IMAGE, layers=[{**IMAGE.descriptor(), "mediaType": "\ud800"}])).encode(),
        "mediaType '.ud800' is none",
    ),
    "urls that are a number": (
        json.dumps(changed(IMAGE, layers=[{**IMAGE.descriptor(), "urls": 5}])).encode(),
        "urls are no list",
    ),
    "a digest that is a path": (
        json.dumps(changed(INDEX, manifests=[{**IMAGE.descriptor(), "digest": "../x"}])).encode(),
        "digest",
    ),
}


@pytest.mark.parametrize(("raw", "says"), WRONG.values(), ids=WRONG)
def test_wrong_document_is_refused_with_a_word(raw: bytes, says: str) -> None:
    with pytest.raises(ContentError, match=says):
        parse(raw)


@pytest.mark.parametrize(
    ("document", "media_type"),
    [
        ({"schemaVersion": 1, "fsLayers": [], "history": []}, ""),
        ({"schemaVersion": 1}, DOCKER_SCHEMA1_SIGNED),
    ],
)
def test_schema_1_is_refused_with_an_explanation(document: Any, media_type: str) -> None:
    with pytest.raises(UnsupportedMediaType, match=r"schema 1(.|\n)*push the image again"):
        parse(document, media_type)


def test_artifact_is_told_from_an_image() -> None:
    helm = "application/vnd.cncf.helm.config.v1+json"
    document = parse(changed(IMAGE, config={**IMAGE.parsed["config"], "mediaType": helm}))
    assert isinstance(document, Manifest)
    with pytest.raises(UnsupportedMediaType, match="helm"):
        document.check_image(subject="x")


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from(["", "x", OCI_INDEX, OCI_MANIFEST, DOCKER_MANIFEST]),
    st.sampled_from([[], {}, [1], [{}], [None], {"a": 1}]),
    st.builds(IMAGE.descriptor),
    st.builds(lambda: [IMAGE.descriptor()]),
)
FIELDS = ["schemaVersion", "mediaType", "config", "layers", "manifests", "annotations", "history"]


@given(st.dictionaries(st.sampled_from(FIELDS), VALUES))
def test_any_object_is_a_document_or_refused(document: dict[str, Any]) -> None:
    try:
        found = parse({"schemaVersion": 2, **document})
    except ContentError:
        return
    assert isinstance(found, Index) == ("manifests" in document)
