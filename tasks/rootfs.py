"""Step rootfs: layers in, a root filesystem out.

In: the blobs of an image's layers, base layer first, and their diff_ids. Out: the bundle's
``rootfs/``, its recorded entries, and the list of what this host could not represent. The key is
over the ordered diff_ids and the policy of unpacking: compressed digests do not matter.

Spec: image-spec 1.1 layer.md and config.md, "rootfs".
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .errors import ContentError
from .oci.digest import Digest
from .progress import Progress, Silent
from .store.layers import build, builder, remote
from .store.layers.source import LayerSource, UnpackLimits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["LayerSource", "UnpackLimits", "build_rootfs", "rootfs_key"]

STEP = "rootfs"
EPOCH = 1
DEFAULT_LIMITS = UnpackLimits()
IMPLIED_MTIME = 0
"""The time of directories that no layer names: the digest of a bundle follows from images.toml and
images.lock alone, so that no environment may choose one."""


def rootfs_key(
    *,
    diff_ids: Sequence[Digest],
    platform: str,
    limits: UnpackLimits = DEFAULT_LIMITS,
) -> dict[str, Any]:
    """The parts of the step's key.

    Limits are no part of it: they decide whether there is a tree, never what is in it.
    """
    del limits
    return {
        "step": STEP,
        "epoch": EPOCH,
        "inputs": [str(diff_id) for diff_id in diff_ids],
        "params": {"implied_mtime": IMPLIED_MTIME},
        "platform": platform,
    }


def build_rootfs(
    *,
    layers: Sequence[LayerSource],
    layers_dir: Path,
    destination: Path,
    entries: Path,
    unrepresented: Path,
    tmp: Path,
    limits: UnpackLimits = DEFAULT_LIMITS,
    containers: Path | None = None,
    progress: Progress | None = None,
    call: builder.Call | None = None,
) -> dict[str, str]:
    """Unpack what is missing, and put the tree and its lists in place.

    ``containers`` holds a directory for each running container: a tree that one of them runs from
    is moved out of the way, and removed by a later build.

    ``call`` has another process do what this one cannot, in place of starting one.

    ``tmp``, ``layers_dir`` and ``destination`` should be on one file system. Returns the counts of
    entries and of layers, and how many of those were unpacked here.
    Raises: ContentError, LayerError and their kinds, StoreError.
    """
    if len(layers) >= 1 << 16:
        raise ContentError(f"an image of {len(layers)} layers", subject=str(destination))
    return builder.build_here_or_there(
        build.Build(
            layers=layers,
            layers_dir=layers_dir.absolute(),
            destination=destination.absolute(),
            entries=entries.absolute(),
            unrepresented=unrepresented.absolute(),
            tmp=tmp.absolute(),
            limits=limits,
            implied_mtime=IMPLIED_MTIME,
            owners=build.ROOT,
            containers=containers.absolute() if containers else None,
        ),
        progress or Silent(),
        call or remote.call,
    )
