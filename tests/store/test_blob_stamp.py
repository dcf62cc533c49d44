"""Stamps: a verified blob is not hashed again, and anything done to it makes it be."""

from __future__ import annotations

import gzip
import io
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.errors import DigestMismatch
from tasks.oci.descriptor import Descriptor
from tasks.oci.digest import Digest, digest_bytes
from tasks.oci.media_type import OCI_LAYER_GZIP
from tasks.rootfs import LayerSource
from tasks.store.blob_stamp import is_stamped
from tasks.store.blob_store import BlobStore
from tasks.store.settling import Settling
from tests.support.layers import Images, item, tar

STREAM = tar([item("f", "content" * 1000)])
PACKED = gzip.compress(STREAM, 0, mtime=0)
DIGEST = digest_bytes(PACKED)
OPERATING_SYSTEM = 9
"""A byte of a gzip header that changes nothing of what it unpacks to."""


def stamped(path: Path, digest: Digest = DIGEST) -> bool:
    with path.open("rb") as file:
        return is_stamped(file.fileno(), digest)


def stored(place: Path) -> Path:
    store = BlobStore(place / "blobs")
    descriptor = Descriptor(media_type=OCI_LAYER_GZIP, digest=DIGEST, size=len(PACKED))
    with Settling() as settling:
        store.put_stream(descriptor, io.BytesIO(PACKED), settling)
    return store.path(DIGEST)


def change(path: Path, at: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        old = file.read(1)[0]
        file.seek(at)
        file.write(bytes([old ^ 1]))


def keep_time(act: Callable[[Path], object], path: Path) -> None:
    found = path.stat()
    act(path)
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


def source(path: Path) -> LayerSource:
    descriptor = Descriptor(media_type=OCI_LAYER_GZIP, digest=DIGEST, size=len(PACKED))
    return LayerSource(descriptor=descriptor, diff_id=digest_bytes(STREAM), path=path)


def test_what_is_stored_is_stamped_and_its_links_are(tmp_path: Path) -> None:
    path = stored(tmp_path)
    os.link(path, tmp_path / "link")
    assert stamped(path)
    assert stamped(tmp_path / "link")
    assert not stamped(path, digest_bytes(b"other"))


@pytest.mark.parametrize(
    "harm",
    [
        lambda path: change(path, OPERATING_SYSTEM),
        lambda path: path.touch(),
        lambda path: path.write_bytes(path.read_bytes()),
        lambda path: keep_time(lambda it: it.write_bytes(it.read_bytes() + b"x"), path),
        lambda path: (shutil.copy2(path, path.with_suffix(".new")),
                      path.with_suffix(".new").replace(path)),
    ],
    ids=["changed", "touched", "written", "longer", "copied with its time"],
)  # fmt: skip
def test_what_was_touched_has_no_stamp(tmp_path: Path, harm: Callable[[Path], object]) -> None:
    path = stored(tmp_path)
    harm(path)
    assert not stamped(path)


def test_a_stamped_blob_is_not_hashed_again(images: Images) -> None:
    path = stored(images.state)
    keep_time(lambda it: change(it, OPERATING_SYSTEM), path)
    rootfs, _ = images.build(source(path))
    assert (rootfs / "f").read_text() == "content" * 1000


def test_a_changed_blob_is_hashed(images: Images) -> None:
    path = stored(images.state)
    change(path, OPERATING_SYSTEM)
    with pytest.raises(DigestMismatch) as caught:
        images.build(source(path))
    assert caught.value.expected == str(DIGEST)


def test_a_stamp_hides_no_other_content(images: Images) -> None:
    """Whoever changes a blob and sets its time back is found by what it unpacks to."""
    path = stored(images.state)
    other = gzip.compress(STREAM.replace(b"content", b"CONTENT"), 0, mtime=0)
    assert len(other) == len(PACKED)
    keep_time(lambda it: it.write_bytes(other), path)
    assert stamped(path)
    with pytest.raises(DigestMismatch) as caught:
        images.build(source(path))
    assert caught.value.expected == str(DIGEST)
    assert "blob is damaged" in str(caught.value.hint)
    assert not images.rootfs().exists()


def test_what_unpacking_verified_is_stamped(images: Images) -> None:
    """Blobs of an older state directory, or restored from a cache."""
    layer = images.layer(STREAM)
    assert not stamped(layer.path, layer.descriptor.digest)
    images.build(layer)
    assert stamped(layer.path, layer.descriptor.digest)
