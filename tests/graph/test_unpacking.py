"""Unpacking as its users meet it: limits in images.toml, lying images, and what goes again."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.command import doit_oci, expect
from tests.support.images import sha256
from tests.support.layers import item, tar
from tests.support.layout import write_layout
from tests.support.ordinary_user import ordinary_user

IMAGES = '[images.a]\nimage = "oci:image:latest"\n'
LAYERS = [
    tar([item("a/b/c/d/file", "x" * 3000), item("n" * 200, "")]),
    tar([item("zeros", bytes(2_000_000)), item("one/more", "")]),
]
LIMITS = {
    "entries": ("3", "4"),
    "unpacked_bytes": ('"1MB"', '"3MB"'),
    "header_bytes": ("100", "300"),
    "path_depth": ("4", "5"),
    "compression_ratio": ("100", "1000"),
}


@pytest.mark.parametrize("name", LIMITS)
def test_a_limit_of_images_toml_stops_a_build_and_can_be_raised(tmp_path: Path, name: str) -> None:
    write_layout(tmp_path / "image", *LAYERS)
    low, high = LIMITS[name]
    (tmp_path / "images.toml").write_text(f"{IMAGES}[limits]\n{name} = {low}\n")
    refused = doit_oci(tmp_path, "rootfs:a")
    expect(refused, status=1)
    assert f"raise {name} under [limits] in images.toml" in refused.stderr.decode()
    assert not (tmp_path / "build/bundles/a/rootfs").exists()
    (tmp_path / "images.toml").write_text(f"{IMAGES}[limits]\n{name} = {high}\n")
    expect(doit_oci(tmp_path, "rootfs:a"))
    assert (tmp_path / "build/bundles/a/rootfs/zeros").stat().st_size == 2_000_000


def relabel(layout: Path, change: Any) -> None:
    """Alter an image's manifest and configuration, and whatever names them."""

    def put(descriptor: dict[str, Any], value: Any) -> None:
        raw = json.dumps(value).encode()
        descriptor |= {"digest": sha256(raw), "size": len(raw)}
        (layout / "blobs" / descriptor["digest"].replace(":", "/")).write_bytes(raw)

    def get(descriptor: dict[str, Any]) -> Any:
        return json.loads((layout / "blobs" / descriptor["digest"].replace(":", "/")).read_bytes())

    index = json.loads((layout / "index.json").read_bytes())
    manifest = get(index["manifests"][0])
    config = get(manifest["config"])
    change(manifest, config)
    put(manifest["config"], config)
    put(index["manifests"][0], manifest)
    (layout / "index.json").write_text(json.dumps(index))


@pytest.mark.parametrize(
    "change",
    [
        lambda _, config: config["rootfs"]["diff_ids"].pop(),
        lambda _, config: config["rootfs"]["diff_ids"].append("sha256:" + "0" * 64),
        lambda manifest, _: manifest["layers"].pop(),
    ],
    ids=["one diff_id too few", "one too many", "one layer too few"],
)
def test_the_number_of_diff_ids_must_match(tmp_path: Path, change: Any) -> None:
    relabel(write_layout(tmp_path / "image", *LAYERS), change)
    (tmp_path / "images.toml").write_text(IMAGES)
    refused = doit_oci(tmp_path, "rootfs:a")
    expect(refused, status=1)
    said = refused.stderr.decode()
    assert "diff_ids" in said
    assert "2" in said
    assert not (tmp_path / "build/bundles/a/rootfs").exists()


@pytest.mark.parametrize("name", ["gzip", "zstd"])
def test_a_compression_named_wrongly_is_told(tmp_path: Path, name: str) -> None:
    """The content decides, and it is said."""

    def rename(manifest: Any, _: Any) -> None:
        for layer in manifest["layers"]:
            layer["mediaType"] = f"application/vnd.oci.image.layer.v1.tar+{name}"

    layout = write_layout(tmp_path / "image", LAYERS[0], compress=name == "zstd")
    relabel(layout, rename)
    (tmp_path / "images.toml").write_text(IMAGES)
    done = doit_oci(tmp_path, "rootfs:a")
    expect(done)
    assert "its content decides" in done.stderr.decode()


@pytest.mark.parametrize("subordinate", [True, False], ids=["subordinate ids", "one id"])
def test_clean_removes_what_an_ordinary_user_unpacked(subordinate: bool) -> None:
    """Files of subordinate ids, and read-only directories; devices stand for themselves visibly."""
    layer = [
        item("locked/", mode=0o500, uid=12, gid=13),
        item("locked/in/", mode=0o000, uid=5),
        item("locked/in/file", "deep", mode=0o600, uid=5, gid=700),
        item("null", type="char", device=(1, 3)),
    ]
    with ordinary_user(subordinate=subordinate) as user:
        place = Path(user.home) / "place"
        place.mkdir()
        write_layout(place / "image", tar(layer))
        (place / "images.toml").write_text(IMAGES)
        subprocess.run(["chown", "-R", f"{user.uid}:{user.gid}", place], check=True)
        expect(user.doit_oci(place, "bundle:a"))
        assert (place / "build/bundles/a/rootfs/locked/in/file").read_text() == "deep"
        (lost,) = [
            line
            for line in (place / "build/entries/a.unrepresented.jsonl").read_text().splitlines()
            if json.loads(line)["what"] == "device"
        ]
        assert json.loads(lost)["path"] == "null"
        assert "char 1:3" in json.loads(lost)["why"]
        expect(user.doit_oci(place, "clean"))
        left = [path for path in (place / "build").rglob("*") if "locked" in path.parts]
        assert left == []
        assert not (place / "build/bundles/a/rootfs").exists()
