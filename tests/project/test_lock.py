"""images.lock: the same bytes for the same content, and a clear word about a damaged one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tasks.errors import DeclarationError
from tasks.oci.locked_image import LockedImage
from tasks.project.lock import Lock, load_lock
from tasks.project.plan import Unsaved

DIGEST = "sha256:" + "a" * 64


def locked(reference: str = "builtin:x") -> LockedImage:
    config = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": DIGEST, "size": 2}
    manifest = config | {"mediaType": "application/vnd.oci.image.manifest.v1+json"}
    layer = config | {"mediaType": "application/vnd.oci.image.layer.v1.tar", "diff_id": DIGEST}
    platform = {"manifest": manifest, "config": config, "layers": [layer]}
    return LockedImage.from_json(
        {"reference": reference, "index": None, "platforms": {"linux/amd64": platform}},
        subject="test",
    )


def test_a_missing_file_is_an_empty_lock(tmp_path: Path) -> None:
    lock = load_lock(tmp_path / "images.lock")
    assert lock.images == ()
    assert lock.image("x") is None


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "images.lock"
    lock = Lock(path).with_images({"x": locked()}).with_bundle("x", "linux/amd64", "k", DIGEST)
    path.write_bytes(lock.to_bytes())
    again = load_lock(path)
    assert again.image("x") == locked()
    assert again.bundle("x", "linux/amd64") == ("k", DIGEST)
    assert again.bundle("x", "linux/arm64") is None
    assert again.to_bytes() == path.read_bytes()


def test_bytes_do_not_depend_on_the_order_of_additions(tmp_path: Path) -> None:
    one = Lock(tmp_path).with_images({"a": locked()}).with_images({"b": locked()})
    two = Lock(tmp_path).with_images({"b": locked()}).with_images({"a": locked()})
    assert one.to_bytes() == two.to_bytes()
    assert one.to_bytes().endswith(b"}\n")
    assert b"\r" not in one.to_bytes()


def test_pruning_keeps_only_what_is_declared(tmp_path: Path) -> None:
    lock = Lock(tmp_path).with_images({"a": locked()}).with_bundle("b", "linux/amd64", "k", DIGEST)
    assert lock.pruned(["a"], []).bundles == ()
    assert lock.pruned([], ["b"]).images == ()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not JSON"),
        (b"<<<<<<< HEAD", "not JSON"),
        (b"[]", "version"),
        (b'{"version": 2}', "version 2"),
        (b'{"version": 1, "images": []}', "objects"),
    ],
)
def test_a_damaged_lock_is_a_declaration_error(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "images.lock"
    path.write_bytes(content)
    with pytest.raises(DeclarationError, match=said):
        load_lock(path)


@pytest.mark.parametrize(
    "entry", [{}, {"reference": "x"}, [], {"reference": "x", "index": "sha256:zz", "platforms": {}}]
)
def test_a_damaged_entry_is_told_with_its_image(tmp_path: Path, entry: object) -> None:
    path = tmp_path / "images.lock"
    path.write_text(json.dumps({"version": 1, "images": {"x": entry}}))
    with pytest.raises(DeclarationError, match="image x"):
        load_lock(path).image("x")


def test_thousands_of_changes_do_not_write_the_lock_thousands_of_times() -> None:
    unsaved = Unsaved()
    assert unsaved.is_due(0.0)
    unsaved.saved(started=5.0, ended=5.5)
    assert not unsaved.is_due(10.0)
    assert unsaved.is_due(10.5)
