"""Resolving: what a reference means for a platform, and what is refused to mean anything."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tasks.errors import (
    ContentError,
    DigestMismatch,
    InvalidDigest,
    ManifestUnknown,
    OfflineError,
    SizeMismatch,
    UnsupportedMediaType,
)
from tasks.oci.locked_image import LockedImage
from tasks.oci.media_type import DOCKER_SCHEMA1_SIGNED, OCI_INDEX
from tasks.oci.reference import parse_image
from tasks.resolve import tag_digest
from tests.support.docker_registry import RegistryServer
from tests.support.fake_registry import FakeRegistry, Handler
from tests.support.images import Document, layer, make_image, make_index, push, sha256, write_layout
from tests.support.pulling import Puller


def on(platform: str, **more: Any) -> Document:
    """An image that is told from others by its platform."""
    return make_image(layer(name=platform.replace("/", "-")), platform=platform, **more)


def chosen(locked: LockedImage, platform: str) -> str:
    return str(locked.platforms[platform].manifest.digest)


AMD, ARM64 = on("linux/amd64"), on("linux/arm64")
V5, V6, V7, V8 = (on(f"linux/arm/v{number}") for number in (5, 6, 7, 8))
WINDOWS = on("windows/amd64")

SELECTION: dict[str, tuple[list[Document], str, Document | None]] = {
    "its own": ([WINDOWS, ARM64, AMD], "linux/amd64", AMD),
    "the first of two": ([AMD, on("linux/amd64", config={"author": "x"})], "linux/amd64", AMD),
    "arm64/v8 is arm64": ([AMD, ARM64], "linux/arm64/v8", ARM64),
    "arm/v7 exactly": ([V5, V6, V7, V8], "linux/arm/v7", V7),
    "arm/v7 falls back to v6": ([V5, V6, V8], "linux/arm/v7", V6),
    "arm/v8 falls back to v7": ([V5, V7, V6], "linux/arm/v8", V7),
    "arm/v6 never takes v7": ([V7, V8], "linux/arm/v6", None),
    "arm means v7": ([V6, V7], "linux/arm", V7),
    "another architecture": ([ARM64], "linux/amd64", None),
    "another system": ([WINDOWS], "linux/amd64", None),
    "none at all": ([], "linux/amd64", None),
}


@pytest.mark.parametrize(("offered", "wanted", "expected"), SELECTION.values(), ids=SELECTION)
def test_platform_is_selected(
    offered: list[Document],
    wanted: str,
    expected: Document | None,
    tmp_path: Path,
    puller: Puller,
) -> None:
    write_layout(tmp_path / "layout", make_index(*offered))
    name = f"oci:{tmp_path}/layout"
    if expected is None:
        with pytest.raises(ContentError, match=r"no image for (.|\n)*platform = "):
            puller.resolve(name, wanted)
    else:
        (found,) = puller.resolve(name, wanted).platforms.values()
        assert str(found.manifest.digest) == expected.digest


def test_nested_indexes_are_searched(fake_registry: FakeRegistry, puller: Puller) -> None:
    top = make_index(make_index(ARM64), make_index(make_index(WINDOWS, AMD)))
    fake_registry.add(top)
    locked = puller.resolve(f"{fake_registry.host}/a:1", "linux/amd64", "linux/arm64")
    assert chosen(locked, "linux/amd64") == AMD.digest
    assert chosen(locked, "linux/arm64") == ARM64.digest
    assert str(locked.index) == top.digest
    assert {top.digest, AMD.digest, ARM64.digest} <= puller.stored()


def test_indexes_are_not_searched_without_end(fake_registry: FakeRegistry, puller: Puller) -> None:
    deep = AMD
    for _ in range(10):
        deep = make_index(deep)
    fake_registry.add(deep, "deep")
    with pytest.raises(ContentError, match="nested"):
        puller.resolve(f"{fake_registry.host}/a:deep")
    fake_registry.add(make_index(*(make_index(V5, n=n) for n in range(200))), "wide")
    with pytest.raises(ContentError, match="more than"):
        puller.resolve(f"{fake_registry.host}/a:wide")


def test_manifest_without_a_platform_is_known_by_its_configuration(
    tmp_path: Path, puller: Puller
) -> None:
    nameless = [replace(found, platform="") for found in (ARM64, AMD)]
    write_layout(tmp_path / "layout", make_index(*nameless))
    locked = puller.resolve(f"oci:{tmp_path}/layout")
    assert chosen(locked, "linux/amd64") == AMD.digest


def test_attestations_and_artifacts_are_passed_over(tmp_path: Path, puller: Puller) -> None:
    attestation = replace(on("linux/s390x"), platform="unknown/unknown")
    write_layout(tmp_path / "layout", make_index(attestation, AMD))
    assert chosen(puller.resolve(f"oci:{tmp_path}/layout"), "linux/amd64") == AMD.digest
    with pytest.raises(ContentError) as caught:
        puller.resolve(f"oci:{tmp_path}/layout", "linux/arm64")
    assert "unknown" not in str(caught.value)


def test_single_manifest_of_another_platform_is_refused(
    fake_registry: FakeRegistry, puller: Puller
) -> None:
    fake_registry.add(ARM64)
    with pytest.raises(ContentError, match="no image for linux/amd64; it has linux/arm64"):
        puller.resolve(f"{fake_registry.host}/a:1")


@pytest.mark.parametrize("docker", [False, True], ids=["OCI", "Docker"])
def test_bytes_and_digests_are_kept(
    docker: bool, docker_registry: RegistryServer, puller: Puller
) -> None:
    image = on("linux/amd64", docker=docker)
    index = make_index(image, on("linux/arm64", docker=docker), docker=docker)
    repository = f"kept/{'docker' if docker else 'oci'}"
    push(docker_registry.host, repository, "1", index)
    locked = puller.pull(f"{docker_registry.host}/{repository}:1")
    assert str(locked.index) == index.digest
    found = locked.platforms["linux/amd64"]
    assert found.manifest.media_type == image.media_type
    for document in (index, image):
        stored = puller.blobs / "sha256" / document.digest.partition(":")[2]
        assert stored.read_bytes() == document.raw


def test_digest_beside_a_tag_decides(fake_registry: FakeRegistry, puller: Puller) -> None:
    fake_registry.add(AMD, "old")
    fake_registry.add(on("linux/amd64", config={"author": "x"}), "new")
    locked = puller.resolve(f"{fake_registry.host}/a:new@{AMD.digest}")
    assert chosen(locked, "linux/amd64") == AMD.digest
    assert locked.reference.endswith(f"a:new@{AMD.digest}")
    assert "manifests/new" not in str(fake_registry.paths())


def test_known_digests_stay_although_the_tag_moved(
    fake_registry: FakeRegistry, puller: Puller
) -> None:
    fake_registry.add(make_index(AMD, ARM64))
    name = f"{fake_registry.host}/a:1"
    known = puller.resolve(name)
    fake_registry.add(make_index(on("linux/arm64", config={"author": "x"})))
    locked = puller.resolve(name, "linux/arm64", known=known)
    assert chosen(locked, "linux/arm64") == ARM64.digest
    assert locked.platforms["linux/amd64"] == known.platforms["linux/amd64"]
    assert locked.index == known.index
    assert puller.resolve(name, "linux/arm64").index != known.index


def test_known_platforms_need_no_network(puller: Puller, fake_registry: FakeRegistry) -> None:
    fake_registry.add(make_index(AMD, ARM64))
    name = f"{fake_registry.host}/a:1"
    known = puller.resolve(name)
    before = len(fake_registry.asked)
    assert puller.resolve(name, known=known, offline=True) == known
    assert len(fake_registry.asked) == before
    with pytest.raises(OfflineError):
        puller.resolve(name, "linux/arm64", known=known, offline=True)
    with pytest.raises(OfflineError):
        puller.resolve(name, offline=True)


def test_unchanged_tag_costs_one_head(fake_registry: FakeRegistry, puller: Puller) -> None:
    fake_registry.add(make_index(AMD, ARM64))
    name = f"{fake_registry.host}/a:1"
    first = puller.resolve(name)
    fake_registry.asked.clear()
    assert puller.resolve(name) == first
    assert fake_registry.paths() == ["HEAD /v2/a/manifests/1"]


def test_tag_is_looked_up_with_one_head(fake_registry: FakeRegistry, puller: Puller) -> None:
    image = fake_registry.add(make_index(AMD))
    name = f"{fake_registry.host}/a:1"
    found = tag_digest(
        reference=parse_image(name, folder=Path()),
        registries=puller.settings(name),
        progress=puller.progress,
        environ=puller.environ,
    )
    assert str(found) == image.digest
    assert fake_registry.paths() == ["HEAD /v2/a/manifests/1"]


@pytest.mark.parametrize("tag", ['"{}"', 'W/"{}"'])
def test_digest_that_is_said_as_the_entitys_tag_alone_is_enough(
    tag: str, fake_registry: FakeRegistry, puller: Puller
) -> None:
    fake_registry.says_no_digest = True
    image = fake_registry.add(AMD)

    def answer(handler: Handler) -> bool:
        if not handler.path.endswith("/manifests/1"):
            return False
        handler.answer(200, AMD.raw, Content_Type=AMD.media_type, ETag=tag.format(image.digest))
        return True

    fake_registry.behaviours.append(answer)
    name = f"{fake_registry.host}/a:1"
    first = puller.resolve(name)
    fake_registry.asked.clear()
    assert puller.resolve(name) == first
    assert fake_registry.paths() == ["HEAD /v2/a/manifests/1"]


def test_registry_that_says_no_digest_is_asked_for_the_manifest(
    fake_registry: FakeRegistry, puller: Puller
) -> None:
    fake_registry.says_no_digest = True
    fake_registry.add(AMD)
    name = f"{fake_registry.host}/a:1"
    assert puller.resolve(name) == puller.resolve(name)


@pytest.mark.parametrize("status", [400, 405, 501])
def test_registry_that_knows_no_head_is_asked_for_the_manifest(
    status: int, fake_registry: FakeRegistry, puller: Puller
) -> None:
    fake_registry.add(AMD)

    def refuse(handler: Handler) -> bool:
        if handler.command != "HEAD":
            return False
        handler.answer(status)
        return True

    fake_registry.behaviours.append(refuse)
    name = f"{fake_registry.host}/a:1"
    assert puller.resolve(name) == puller.resolve(name)
    assert "HEAD /v2/a/manifests/1" in fake_registry.paths()


def test_lock_entry_goes_through_json(fake_registry: FakeRegistry, puller: Puller) -> None:
    fake_registry.add(make_index(AMD, V7))
    locked = puller.resolve(f"{fake_registry.host}/a:1", "linux/amd64", "linux/arm/v7")
    text = json.dumps(locked.to_json(), sort_keys=True)
    assert LockedImage.from_json(json.loads(text), subject="x") == locked
    assert fake_registry.host in text  # the reference, and nothing else of the place
    assert text.count(fake_registry.host) == 1


def serves(raw: bytes, media_type: str = "", **headers: str) -> Callable[[Handler], Any]:
    return lambda handler: handler.answer(200, raw, Content_Type=media_type, **headers)


def changed(**more: Any) -> bytes:
    return json.dumps({**AMD.parsed, **more}).encode()


CONFIG = AMD.parsed["config"]
WRONG: dict[str, tuple[Callable[[Handler], Any], type[Exception]]] = {
    "another manifest than the digest says": (serves(AMD.raw + b" "), DigestMismatch),
    "HTML": (serves(b"<html>", "text/html"), ContentError),
    "too large": (lambda h: h.answer(200, b"{}", length=5 << 20), SizeMismatch),
    "not found": (lambda h: h.answer(404), ManifestUnknown),
}


@pytest.mark.parametrize(("act", "error"), WRONG.values(), ids=WRONG)
def test_wrong_manifest_by_digest_is_refused(
    act: Callable[[Handler], Any],
    error: type[Exception],
    fake_registry: FakeRegistry,
    puller: Puller,
) -> None:
    fake_registry.always("manifests", act)
    with pytest.raises(error):
        puller.resolve(f"{fake_registry.host}/a@{AMD.digest}")
    assert not puller.stored()


def endless(handler: Handler) -> None:
    handler.send_response(200)
    handler.end_headers()
    while True:
        handler.wfile.write(bytes(1 << 16))


WRONG_BY_TAG: dict[str, tuple[Callable[[Handler], Any], type[Exception]]] = {
    "endless": (endless, SizeMismatch),
    "HTML": (serves(b"<html>", "text/html"), ContentError),
    "empty": (serves(b""), ContentError),
    "schema 1": (serves(b'{"schemaVersion": 1}', DOCKER_SCHEMA1_SIGNED), UnsupportedMediaType),
    "an index announced as a manifest": (
        serves(make_index(AMD).raw, AMD.media_type),
        ContentError,
    ),
    "manifest and index at once": (serves(changed(manifests=[])), ContentError),
    "another digest in the header": (
        serves(AMD.raw, Docker_Content_Digest=ARM64.digest),
        DigestMismatch,
    ),
    "an artifact": (
        serves(changed(config={**CONFIG, "mediaType": "application/x-chart"})),
        UnsupportedMediaType,
    ),
    "an encrypted layer": (
        serves(
            changed(
                layers=[
                    {
                        **AMD.parsed["layers"][0],
                        "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip+encrypted",
                    }
                ]
            )
        ),
        UnsupportedMediaType,
    ),
    "more layers than diff_ids": (serves(changed(layers=AMD.parsed["layers"] * 2)), ContentError),
    "a configuration of another size": (
        serves(changed(config={**CONFIG, "size": CONFIG["size"] + 1})),
        ContentError,
    ),
    "a huge configuration": (serves(changed(config={**CONFIG, "size": 1 << 40})), SizeMismatch),
    "a configuration that is not there": (
        serves(changed(config={**CONFIG, "digest": "sha256:" + "0" * 64})),
        Exception,
    ),
    "a layer digest that is a path": (
        serves(changed(layers=[{**AMD.parsed["layers"][0], "digest": "../../../etc/passwd"}])),
        InvalidDigest,
    ),
}


@pytest.mark.parametrize(("act", "error"), WRONG_BY_TAG.values(), ids=WRONG_BY_TAG)
def test_wrong_manifest_by_tag_is_refused(
    act: Callable[[Handler], Any],
    error: type[Exception],
    fake_registry: FakeRegistry,
    puller: Puller,
) -> None:
    fake_registry.add(AMD)
    fake_registry.always("manifests", act)
    with pytest.raises(error) as caught:
        puller.resolve(f"{fake_registry.host}/a:1")
    assert str(caught.value)
    assert not (puller.state.parent / "etc").exists()


@pytest.mark.parametrize("digest", ["../../x", "sha256:" + "0" * 63, "sha256:" + "Z" * 64, "x\ty"])
def test_digest_header_that_is_none_is_ignored(
    digest: str, fake_registry: FakeRegistry, puller: Puller
) -> None:
    fake_registry.add(AMD)
    fake_registry.always("manifests", serves(AMD.raw, AMD.media_type, Docker_Content_Digest=digest))
    locked = puller.resolve(f"{fake_registry.host}/a:1")
    assert chosen(locked, "linux/amd64") == AMD.digest
    assert puller.resolve(f"{fake_registry.host}/a:1") == locked


def test_index_that_lies_about_a_size_is_refused(
    fake_registry: FakeRegistry, puller: Puller
) -> None:
    entry = AMD.descriptor(size=len(AMD.raw) + 1)
    raw = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]}).encode()
    fake_registry.add(AMD)
    fake_registry.manifests["2"] = (raw, OCI_INDEX)
    fake_registry.digests["2"] = sha256(raw)
    with pytest.raises(SizeMismatch):
        puller.resolve(f"{fake_registry.host}/a:2")


def test_damaged_document_in_the_store_is_fetched_anew(
    fake_registry: FakeRegistry, puller: Puller
) -> None:
    fake_registry.add(AMD)
    name = f"{fake_registry.host}/a:1"
    locked = puller.pull(name)
    for path in (puller.blobs / "sha256").iterdir():
        path.write_bytes(b"?" * path.stat().st_size)
    assert puller.resolve(name) == locked
    stored = puller.blobs / "sha256" / AMD.digest.partition(":")[2]
    assert stored.read_bytes() == AMD.raw


def test_image_without_layers_resolves(tmp_path: Path, puller: Puller) -> None:
    empty = make_image(
        config={"rootfs": {"type": "layers", "diff_ids": []}}, manifest={"layers": []}
    )
    write_layout(tmp_path / "layout", empty)
    (found,) = puller.pull(f"oci:{tmp_path}/layout").platforms.values()
    assert found.layers == ()
