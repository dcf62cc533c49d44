"""Step: the image layout of an image, over blobs of the store.

In: the manifests of the locked platforms. Out: ``layouts/<image>/`` with oci-layout, index.json and
blobs/, which are hard links into the store (copies where the file system has none).
Key: the manifest digests and the name under which they are listed.
Spec: image-spec 1.1 image-layout.md.
"""

from __future__ import annotations

import contextlib
import errno
import os

from .oci.canonical_json import canonical
from .oci.media_type import OCI_INDEX
from .oci.platform import Platform, parse_platform
from .store.atomic import store_error, write_atomic
from .store.blob_store import BlobStore

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path
    from typing import Any

    from .oci.descriptor import Descriptor
    from .oci.digest import Digest

EPOCH = 1
REF_NAME = "org.opencontainers.image.ref.name"
MARKER = b'{"imageLayoutVersion":"1.0.0"}'
NO_LINKS = frozenset({errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS})


def layout_key(*, manifests: Mapping[str, Descriptor], tag: str) -> dict[str, Any]:
    """Parts of the step key; ``manifests`` by platform text."""
    inputs = {platform: str(found.digest) for platform, found in manifests.items()}
    return {
        "step": "layout",
        "epoch": EPOCH,
        "inputs": inputs,
        "params": {"tag": tag},
        "platform": "",
    }


def write_layout(
    *,
    destination: Path,
    manifests: Mapping[str, Descriptor],
    contents: Sequence[Digest],
    tag: str,
    blobs: Path,
) -> dict[str, str]:
    """Make or refresh a layout that holds ``contents``, listed by ``manifests`` under ``tag``.

    index.json is written last, so that a reader never finds a descriptor without its blob.
    Raises: StoreError; DigestMismatch for a damaged blob, which the store then lacks.
    """
    store = BlobStore(blobs)
    try:
        destination.mkdir(parents=True, exist_ok=True)
        write_atomic(destination / "oci-layout", MARKER, sync=False)
        for digest in contents:
            store.verify(digest)
            _share(blobs / digest.algorithm / digest.encoded, _blob(destination, digest))
        index = index_json(manifests, tag)
        # A sync would wait for all that is written beside it; is_layout sees what was cut short.
        write_atomic(destination / "index.json", index, sync=False)
        _remove_others(destination, contents)
    except OSError as cause:
        raise store_error(cause, destination) from cause
    return {"blobs": str(len(contents))}


def index_json(manifests: Mapping[str, Descriptor], tag: str) -> bytes:
    """The layout's index: one descriptor per platform, all under the same reference name."""
    listed = []
    for text, found in sorted(manifests.items()):
        platform = found.platform or _platform(text)
        described = {
            "mediaType": found.media_type,
            "digest": str(found.digest),
            "size": found.size,
            "platform": platform.to_json(),
        }
        listed.append(described | ({"annotations": {REF_NAME: tag}} if tag else {}))
    return canonical({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": listed})


def is_layout(destination: Path, contents: Iterable[Digest], *, blobs: Path, index: bytes) -> bool:
    """Whether the layout is whole: marker, index and every blob are there."""
    return (
        _holds(destination / "oci-layout", MARKER)
        and _holds(destination / "index.json", index)
        and all(_is_shared(destination, digest, blobs) for digest in contents)
    )


def _holds(path: Path, content: bytes) -> bool:
    try:
        return path.read_bytes() == content
    except OSError:
        return False


def _is_shared(destination: Path, digest: Digest, blobs: Path) -> bool:
    """Whether a blob is the store's own or a copy made of it; what is older than the store's is
    left from before that was fetched anew."""
    try:
        here = _blob(destination, digest).stat()
        there = (blobs / digest.algorithm / digest.encoded).stat()
    except OSError:
        return False
    return here.st_ino == there.st_ino or here.st_ctime_ns >= there.st_ctime_ns


def _platform(text: str) -> Platform:
    return parse_platform(text)


def _blob(destination: Path, digest: Digest) -> Path:
    return destination / "blobs" / digest.algorithm / digest.encoded


def _share(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        if os.path.samefile(source, target):
            return
        # A blob that was fetched anew has another inode; the old one may be damaged.
        target.unlink()
    try:
        os.link(source, target)
    except FileExistsError:
        return
    except OSError as cause:
        if cause.errno not in NO_LINKS:
            raise
        partial = target.with_name(f".{target.name}.{os.getpid()}")
        import shutil

        shutil.copyfile(source, partial)
        partial.replace(target)


def _remove_others(destination: Path, contents: Sequence[Digest]) -> None:
    keep = {(digest.algorithm, digest.encoded) for digest in contents}
    for algorithm in (destination / "blobs").iterdir():
        for blob in algorithm.iterdir():
            if (algorithm.name, blob.name) not in keep:
                blob.unlink(missing_ok=True)
