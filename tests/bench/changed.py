"""An image whose top layer was changed: what a rebuild has to do anew."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from pathlib import Path
from typing import Any

from tests.support.layers import item, tar

CHANGE = tar([item("app/"), item("app/main.py", "print(2)\n"), item("app/new.py", "")])


def change_top(layout: Path, destination: Path) -> Path:
    """A layout with the same image, its last layer replaced by another small one."""
    blobs = destination / "blobs/sha256"
    blobs.mkdir(parents=True)

    def put(content: bytes) -> dict[str, Any]:
        encoded = hashlib.sha256(content).hexdigest()
        (blobs / encoded).write_bytes(content)
        return {"digest": f"sha256:{encoded}", "size": len(content)}

    def get(descriptor: dict[str, Any]) -> Any:
        return json.loads((layout / "blobs" / descriptor["digest"].replace(":", "/")).read_bytes())

    index = json.loads((layout / "index.json").read_bytes())
    manifest = get(index["manifests"][0])
    config = get(manifest["config"])
    for layer in manifest["layers"][:-1]:
        name = layer["digest"].replace(":", "/")
        os.symlink((layout / "blobs" / name).resolve(), destination / "blobs" / name)
    manifest["layers"][-1] |= put(gzip.compress(CHANGE, mtime=0))
    config["rootfs"]["diff_ids"][-1] = f"sha256:{hashlib.sha256(CHANGE).hexdigest()}"
    manifest["config"] |= put(json.dumps(config).encode())
    index["manifests"][0] |= put(json.dumps(manifest).encode())
    (destination / "index.json").write_text(json.dumps(index))
    (destination / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return destination
