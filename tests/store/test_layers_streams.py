"""What holds a layer's entries: compressions, media types that lie, ends that are missing."""

from __future__ import annotations

import gzip
import io
import tarfile

import pytest
import zstandard

from tasks.errors import LayerError
from tasks.oci.media_type import DOCKER_LAYER_GZIP, OCI_LAYER, OCI_LAYER_GZIP, OCI_LAYER_ZSTD
from tasks.progress import Silent
from tests.support.layers import Images, item, tar
from tests.support.tar_headers import header, octal, padded


class Told(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


STREAM = tar([item("etc/"), item("etc/x", "x" * 100_000), item("y", "y")])


def zstd(content: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(content)


@pytest.mark.parametrize(
    ("packed", "media_type", "noted"),
    [
        (gzip.compress(STREAM), OCI_LAYER_GZIP, False),
        (gzip.compress(STREAM), DOCKER_LAYER_GZIP, False),
        (b"".join(gzip.compress(STREAM[i : i + 999]) for i in range(0, len(STREAM), 999)),
         OCI_LAYER_GZIP, False),
        (gzip.compress(STREAM) + gzip.compress(b"") + bytes(700), OCI_LAYER_GZIP, False),
        (zstd(STREAM), OCI_LAYER_ZSTD, False),
        (zstd(STREAM[:5000]) + b"\x50\x2a\x4d\x18\x03\0\0\0abc" + zstd(STREAM[5000:]),
         OCI_LAYER_ZSTD, False),
        (STREAM, OCI_LAYER, False),
        (STREAM, OCI_LAYER_GZIP, True),
        (gzip.compress(STREAM), OCI_LAYER_ZSTD, True),
        (zstd(STREAM), OCI_LAYER_GZIP, True),
        (zstd(STREAM), "application/x-unknown", False),
    ],
)  # fmt: skip
def test_compressions(images: Images, packed: bytes, media_type: str, noted: bool) -> None:
    told = Told()
    rootfs, _ = images.build(
        images.layer(STREAM, packed=packed, media_type=media_type), progress=told
    )
    assert (rootfs / "etc/x").read_text() == "x" * 100_000
    assert bool(told.notes) == noted


def test_bytes_after_the_end_belong_to_the_diff_id(images: Images) -> None:
    stream = tar([item("f", "f")]) + b"anything" * 1000
    rootfs, _ = images.build(stream)
    assert (rootfs / "f").read_text() == "f"


@pytest.mark.parametrize("stream", [b"", bytes(1024), bytes(512), bytes(10240)])
def test_empty_layers(images: Images, stream: bytes) -> None:
    _, found = images.build(images.layer(stream, packed=stream, media_type=OCI_LAYER))
    assert set(found) == {""}


def test_a_tar_without_its_end_is_whole(images: Images) -> None:
    _, found = images.build(header(b"f", size=octal(1, 12)) + padded(b"x"))
    assert "f" in found


@pytest.mark.parametrize("size", [1, 511, 512, 513])
def test_a_tar_that_ends_with_the_last_byte_of_a_file_is_whole(images: Images, size: int) -> None:
    """`umoci insert` (0.4.7) writes such layers: no padding, no end."""
    _, found = images.build(header(b"f", size=octal(size, 12)) + b"x" * size)
    assert found["f"].size == size


def test_a_tar_that_ends_within_the_padding_is_cut_off(images: Images) -> None:
    with pytest.raises(LayerError, match="ends within an entry"):
        images.build(header(b"f", size=octal(1, 12)) + b"x" + bytes(10))


def test_io_of_archives_made_by_tarfile_is_the_same(images: Images) -> None:
    """Python's own extraction of a plain archive, as a second opinion on content."""
    rootfs, _ = images.build(STREAM)
    with tarfile.open(fileobj=io.BytesIO(STREAM)) as archive:
        file = archive.extractfile("etc/x")
        assert file is not None
        assert (rootfs / "etc/x").read_bytes() == file.read()
