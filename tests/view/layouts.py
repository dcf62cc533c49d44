"""Image layouts on disk with files of our choosing."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

from ..support.images import Document


def tree(files: dict[str, bytes], *, mode: int = 0o644, mtime: int = 1_000_000) -> bytes:
    """An uncompressed layer of files; a name that ends with a slash is a directory."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name.rstrip("/"))
            info.mtime = mtime
            if name.endswith("/"):
                info.type, info.mode = tarfile.DIRTYPE, 0o755
                archive.addfile(info)
            else:
                info.size, info.mode = len(content), mode
                archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def write_layout(folder: Path, document: Document) -> None:
    """The document and its blobs as an image layout, in place of what is there."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True, exist_ok=True)
    (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    for digest, content in {**document.blobs, document.digest: document.raw}.items():
        (blobs / digest.partition(":")[2]).write_bytes(content)
    index = {"schemaVersion": 2, "manifests": [document.descriptor()]}
    (folder / "index.json").write_text(json.dumps(index))
