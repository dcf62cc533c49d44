"""dir: a folder with manifest.json and one file per blob, as ``skopeo copy … dir:`` writes it."""

from __future__ import annotations

from ...oci.digest import Digest, digest_bytes
from ...oci.manifest import MANIFEST_LIMIT
from .local import LocalSource
from .source import RawDocument


class DirectorySource(LocalSource):
    """Blobs are named by the encoded part of their digest, further manifests likewise."""

    def blob_name(self, digest: Digest) -> str:
        return digest.encoded

    def document(self, digest: Digest | None = None) -> RawDocument:
        top = self.read("manifest.json", MANIFEST_LIMIT)
        actual = digest_bytes(top, digest.algorithm if digest else "sha256")
        if digest is None or digest == actual:
            return RawDocument(raw=top, media_type="", digest=actual)
        raw = self.verified(f"{digest.encoded}.manifest.json", digest, MANIFEST_LIMIT)
        return RawDocument(raw=raw, media_type="", digest=digest)
