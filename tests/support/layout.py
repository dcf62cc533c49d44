"""An image layout in a few words, for builds from end to end."""

from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path

from tests.support.layers import item, tar

BUSYBOX = Path("/bin/busybox")


def write_layout(
    where: Path, *layers: bytes, command: tuple[str, ...] = ("/bin/sh",), compress: bool = True
) -> Path:
    """An image layout of uncompressed layer streams, each stored as gzip or as it is."""
    blobs = where / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def put(content: bytes, media_type: str) -> dict[str, object]:
        encoded = hashlib.sha256(content).hexdigest()
        (blobs / encoded).write_bytes(content)
        return {"mediaType": media_type, "digest": f"sha256:{encoded}", "size": len(content)}

    kind = "application/vnd.oci.image."
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Cmd": list(command), "Env": ["PATH=/bin"]},
        "rootfs": {
            "type": "layers",
            "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in layers],
        },
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{kind}manifest.v1+json",
        "config": put(json.dumps(config).encode(), f"{kind}config.v1+json"),
        "layers": [
            put(gzip.compress(layer, mtime=0, compresslevel=1), f"{kind}layer.v1.tar+gzip")
            if compress
            else put(layer, f"{kind}layer.v1.tar")
            for layer in layers
        ],
    }
    found = put(json.dumps(manifest).encode(), f"{kind}manifest.v1+json")
    found["annotations"] = {"org.opencontainers.image.ref.name": "latest"}
    (where / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [found]}))
    (where / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return where


def busybox_layer() -> bytes:
    """A shell and what goes with it."""
    return tar(
        [item("bin/"), item("bin/busybox", BUSYBOX.read_bytes(), mode=0o755)]
        + [item(f"bin/{name}", link="busybox") for name in ("sh", "echo", "cat", "sleep")]
    )


def odd_layer() -> bytes:
    """Owners, modes, times and names that hosts and locales differ about."""
    return tar(
        [
            item("etc/", mode=0o700, uid=12, gid=34),
            item("etc/shadow", "secret", mode=0o400, uid=0, gid=42),
            item("etc/ümläut", "x", uid=1000, gid=1000, mtime=1_600_000_000.25),
            item("etc/latin-\udce9", "y", mode=0o4711),
            item("etc/link-\udce9", link="latin-\udce9"),
            item("etc/copy", type="link", link="etc/shadow"),
            item("dev/", mtime=0),
            item("dev/null", type="char", device=(1, 3), mode=0o666),
        ]
    )
