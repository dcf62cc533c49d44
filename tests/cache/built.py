"""A built bundle to push, and a cold machine to pull to."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tasks.bundle import bundle_digest
from tasks.oci.descriptor import Descriptor
from tasks.oci.digest import digest_bytes
from tasks.oci.media_type import OCI_CONFIG, OCI_LAYER_GZIP, OCI_MANIFEST
from tasks.remote_cache import Moved, pull, push

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cache.conftest import Heard, Place

KEY = "ab" * 32


class Built:
    """A store with an image of three layers, one of them empty, and a bundle of it."""

    def __init__(self, where: Path) -> None:
        self.blobs, self.tmp = where / "blobs", where / "tmp"
        self.entries, self.config_json = where / "entries.jsonl", where / "config.json"
        where.mkdir()
        self.descriptors = (
            self.put(b'{"manifest": 1}', OCI_MANIFEST),
            self.put(b'{"config": 1}', OCI_CONFIG),
            self.put(os.urandom(3 << 20), OCI_LAYER_GZIP),
            self.put(b"", OCI_LAYER_GZIP),
            self.put(b"small" + os.urandom(9), OCI_LAYER_GZIP),
        )
        self.entries.write_bytes(b'{"path": "a"}\n' * 40_000)
        self.config_json.write_bytes(b'{"ociVersion": "1.2.0"}\n')

    def put(self, content: bytes, media_type: str) -> Descriptor:
        found = Descriptor(media_type=media_type, digest=digest_bytes(content), size=len(content))
        path = self.path(found)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return found

    def path(self, descriptor: Descriptor) -> Path:
        return self.blobs / "sha256" / descriptor.digest.encoded

    @property
    def digest(self) -> str:
        return bundle_digest(entries=self.entries, config_json=self.config_json)

    def push(self, place: Place, heard: Heard, key: str = KEY, signer: Path | None = None) -> Moved:
        return push(
            cache=place.open(heard),
            key=key,
            descriptors=self.descriptors,
            blobs=self.blobs,
            tmp=self.tmp,
            entries=self.entries,
            config_json=self.config_json,
            private_key=signer,
            progress=heard,
        )


class Cold:
    """Another machine: an empty store."""

    def __init__(self, where: Path) -> None:
        self.blobs, self.tmp = where / "blobs", where / "tmp"

    def pull(
        self,
        place: Place,
        built: Built,
        heard: Heard,
        key: str = KEY,
        trusted: tuple[Path, ...] = (),
        may_write: bool = False,
    ) -> Moved | None:
        return pull(
            cache=place.open(heard),
            key=key,
            digest=built.digest,
            descriptors=built.descriptors,
            blobs=self.blobs,
            tmp=self.tmp,
            public_keys=trusted,
            may_write=may_write,
            progress=heard,
        )

    def holds(self, built: Built) -> bool:
        return all(
            (self.blobs / "sha256" / each.digest.encoded).read_bytes()
            == built.path(each).read_bytes()
            for each in built.descriptors
        )
