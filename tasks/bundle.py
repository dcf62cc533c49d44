"""Step: the bundle digest, from what the layers and the declaration say and not from the disk.

In: the recorded entries of the rootfs and the portable config.json. Out: one digest, the same for
root and ordinary users, any umask, locale, time zone, directory and file system.

    rootfs = sha256 of the entries file's bytes
    bundle = sha256 of canonical JSON {"config": sha256 of config.json, "rootfs": rootfs}
"""

from __future__ import annotations

from .store.bundle_digest import bundle_digest, file_digest, rootfs_digest

__all__ = ["bundle_digest", "file_digest", "rootfs_digest"]
