"""Images made in memory, right or wrong on purpose."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import io
import json
import random
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tasks.oci.media_type import (
    DOCKER_CONFIG,
    DOCKER_LAYER_GZIP,
    DOCKER_MANIFEST,
    DOCKER_MANIFEST_LIST,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER_GZIP,
    OCI_MANIFEST,
)


def sha256(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def layer(name: str = "file", size: int = 1000, seed: int = 0) -> bytes:
    """An uncompressed layer with one file that does not compress."""
    content = random.Random(seed).randbytes(size)
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


@dataclass
class Document:
    """A manifest or an index with all blobs and manifests that it needs below it."""

    raw: bytes
    media_type: str
    blobs: dict[str, bytes] = field(default_factory=dict)
    below: list[Document] = field(default_factory=list)
    platform: str = ""

    @property
    def digest(self) -> str:
        return sha256(self.raw)

    @property
    def parsed(self) -> dict[str, Any]:
        return dict(json.loads(self.raw))

    def descriptor(self, **more: Any) -> dict[str, Any]:
        found = {"mediaType": self.media_type, "digest": self.digest, "size": len(self.raw)}
        if self.platform:
            names = ("os", "architecture", "variant")
            found["platform"] = dict(zip(names, self.platform.split("/"), strict=False))
        return found | more

    def layer_digests(self) -> list[str]:
        return [found["digest"] for found in self.parsed["layers"]]


def make_image(
    *layers: bytes,
    platform: str = "linux/amd64",
    docker: bool = False,
    config: dict[str, Any] | None = None,
    manifest: dict[str, Any] | None = None,
) -> Document:
    """An image of some layers; ``config`` and ``manifest`` are merged into its documents."""
    layers = layers or (layer(),)
    os_name, architecture, *variant = platform.split("/")
    document: dict[str, Any] = {
        "architecture": architecture,
        "os": os_name,
        "created": "2020-01-02T03:04:05Z",
        "config": {"Cmd": ["/file"], "Env": ["PATH=/bin"], "Labels": {"a": "b"}},
        "rootfs": {"type": "layers", "diff_ids": [sha256(found) for found in layers]},
        "history": [{"created_by": "test"} for _ in layers],
    } | ({"variant": variant[0]} if variant else {})
    raw_config = json.dumps(document | (config or {})).encode()
    packed = [gzip.compress(found, mtime=0) for found in layers]
    blobs = {sha256(raw_config): raw_config} | {sha256(found): found for found in packed}
    raw = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": DOCKER_MANIFEST if docker else OCI_MANIFEST,
            "config": {
                "mediaType": DOCKER_CONFIG if docker else OCI_CONFIG,
                "digest": sha256(raw_config),
                "size": len(raw_config),
            },
            "layers": [
                {
                    "mediaType": DOCKER_LAYER_GZIP if docker else OCI_LAYER_GZIP,
                    "digest": sha256(found),
                    "size": len(found),
                }
                for found in packed
            ],
        }
        | (manifest or {})
    ).encode()
    return Document(raw, DOCKER_MANIFEST if docker else OCI_MANIFEST, blobs, platform=platform)


def make_index(*below: Document, docker: bool = False, **more: Any) -> Document:
    """An index of manifests or of further indexes."""
    media_type = DOCKER_MANIFEST_LIST if docker else OCI_INDEX
    raw = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": media_type,
            "manifests": [found.descriptor() for found in below],
        }
        | more
    ).encode()
    return Document(raw, media_type, below=list(below))


def every(document: Document) -> list[Document]:
    """The documents below and then the document itself, the order in which they are pushed."""
    return [inner for found in document.below for inner in every(found)] + [document]


def write_layout(folder: Path, *images: Document, names: Sequence[str] = ()) -> Path:
    """A layout whose index.json names the images; ``names`` are their ref names."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    entries = []
    for number, image in enumerate(images):
        for document in every(image):
            for digest, content in {**document.blobs, document.digest: document.raw}.items():
                (blobs / digest.partition(":")[2]).write_bytes(content)
        more = (
            {"annotations": {"org.opencontainers.image.ref.name": names[number]}} if names else {}
        )
        entries.append(image.descriptor(**more))
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": entries}))
    return folder


def push(host: str, repository: str, tag: str, image: Document) -> None:
    """Put an image into a plain registry, byte for byte."""
    for document in every(image):
        for digest, content in document.blobs.items():
            _put_blob(host, repository, digest, content)
        reference = tag if document is image else document.digest
        status, _, text = _request(
            host,
            "PUT",
            f"/v2/{repository}/manifests/{reference}",
            document.raw,
            {"Content-Type": document.media_type},
        )
        assert status == 201, (status, text)


def _put_blob(host: str, repository: str, digest: str, content: bytes) -> None:
    status, headers, _ = _request(host, "POST", f"/v2/{repository}/blobs/uploads/")
    assert status == 202, status
    place = headers["Location"].partition(host)[2]
    mark = "&" if "?" in place else "?"
    status, _, text = _request(
        host,
        "PUT",
        f"{place}{mark}digest={digest}",
        content,
        {"Content-Type": "application/octet-stream"},
    )
    assert status == 201, (status, text)


def _request(
    host: str, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
) -> tuple[int, Any, bytes]:
    connection = http.client.HTTPConnection(host, timeout=20)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()
