"""The digest of a bundle, of its recorded entries and its portable config.json.

rootfs = sha256 of the entries file's bytes
bundle = sha256 of canonical JSON {"config": sha256 of config.json, "rootfs": rootfs}
"""

from __future__ import annotations

from ..errors import StoreError
from ..oci.canonical_json import canonical
from ..oci.digest import digest_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path


def file_digest(path: Path) -> str:
    """``sha256:…`` of a file's bytes, read in pieces. Raises: StoreError."""
    import hashlib

    try:
        with path.open("rb", buffering=0) as stream:
            return "sha256:" + hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as problem:
        raise StoreError(
            problem.strerror or "cannot be read",
            subject=str(path),
            hint="build the bundle first: doit bundle:NAME",
        ) from problem


def rootfs_digest(entries: Path) -> str:
    """The digest of a rootfs, of its recorded entries."""
    return file_digest(entries)


def bundle_digest(*, entries: Path, config_json: Path) -> str:
    """The digest of a bundle. Raises: StoreError when either file is not there."""
    return digest_of(rootfs=rootfs_digest(entries), config=file_digest(config_json))


def digest_of(*, rootfs: str, config: str) -> str:
    """The digest of a bundle whose parts have these."""
    return str(digest_bytes(canonical({"rootfs": rootfs, "config": config})))
