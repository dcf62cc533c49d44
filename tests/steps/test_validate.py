"""validate: what others made passes, and every damage is found at its place.

`oci-image-tool validate` is asked too: what it refuses, we refuse.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks.oci.digest import digest_bytes
from tasks.validate import validate_bundle, validate_layout, validate_path
from tests.support.command import doit_oci, expect
from tests.support.docker_registry import need


def run(*words: str | Path) -> None:
    need(str(words[0]))
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def made_by_umoci(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A layout of two layers, with labels, volumes and a user."""
    folder = tmp_path_factory.mktemp("umoci")
    layout = folder / "layout"
    run("umoci", "init", "--layout", layout)
    run("umoci", "new", "--image", f"{layout}:v1")
    (folder / "tree").mkdir()
    (folder / "tree/file").write_text("content")
    run("umoci", "insert", "--image", f"{layout}:v1", folder / "tree", "/data")
    run("umoci", "insert", "--image", f"{layout}:v1", folder / "tree/file", "/other")
    run(
        *("umoci", "config", "--image", f"{layout}:v1", "--config.user", "1:1"),
        *("--config.volume", "/data", "--config.label", "a=b", "--config.env", "A=1"),
        *("--config.cmd", "/bin/true", "--config.exposedports", "80/tcp"),
    )
    run("umoci", "gc", "--layout", layout)
    return layout


@pytest.fixture
def layout(made_by_umoci: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made_by_umoci, tmp_path / "layout"))


def said(layout: Path) -> str:
    return "\n".join(map(str, validate_layout(layout, "layout x")))


def peer_accepts(layout: Path) -> bool:
    words = ["oci-image-tool", "validate", "--type", "image", "--ref", "name=v1", str(layout)]
    need(words[0])
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


def test_layouts_of_umoci_pass(layout: Path) -> None:
    assert said(layout) == ""
    assert peer_accepts(layout)


@pytest.mark.parametrize("transport", ["oci", "dir"])
def test_layouts_of_skopeo_pass(layout: Path, tmp_path: Path, transport: str) -> None:
    run("skopeo", "copy", f"oci:{layout}:v1", f"{transport}:{tmp_path}/copy")
    if transport == "dir":
        run("skopeo", "copy", f"dir:{tmp_path}/copy", f"oci:{tmp_path}/again:x")
        assert said(tmp_path / "again") == ""
    else:
        assert said(tmp_path / "copy") == ""


class Layout:
    """A layout to damage: documents are replaced, and whatever names them follows."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.index = json.loads((folder / "index.json").read_bytes())
        self.manifest = self.read(self.index["manifests"][0])
        self.config = self.read(self.manifest["config"])

    def path(self, descriptor: dict[str, Any]) -> Path:
        algorithm, _, encoded = descriptor["digest"].partition(":")
        return self.folder / "blobs" / algorithm / encoded

    def read(self, descriptor: dict[str, Any]) -> Any:
        return json.loads(self.path(descriptor).read_bytes())

    def write(self, value: Any, descriptor: dict[str, Any]) -> None:
        content = json.dumps(value).encode()
        descriptor["digest"] = str(digest_bytes(content))
        descriptor["size"] = len(content)
        self.path(descriptor).write_bytes(content)

    def save(self) -> None:
        self.write(self.config, self.manifest["config"])
        self.write(self.manifest, self.index["manifests"][0])
        (self.folder / "index.json").write_text(json.dumps(self.index))


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def grow(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b" ")


def no_marker(it: Layout) -> None:
    (it.folder / "oci-layout").unlink()


def other_version(it: Layout) -> None:
    (it.folder / "oci-layout").write_text('{"imageLayoutVersion": "2.0.0"}')


def no_index(it: Layout) -> None:
    (it.folder / "index.json").unlink()


def index_no_json(it: Layout) -> None:
    (it.folder / "index.json").write_text("{")


def index_key_twice(it: Layout) -> None:
    text = (it.folder / "index.json").read_text()
    (it.folder / "index.json").write_text('{"manifests": [], ' + text.strip()[1:])


def no_manifest(it: Layout) -> None:
    it.path(it.index["manifests"][0]).unlink()


def flipped_manifest(it: Layout) -> None:
    flip(it.path(it.index["manifests"][0]))


def longer_config(it: Layout) -> None:
    grow(it.path(it.manifest["config"]))


def no_layer(it: Layout) -> None:
    it.path(it.manifest["layers"][0]).unlink()


def flipped_layer(it: Layout) -> None:
    flip(it.path(it.manifest["layers"][1]))


def longer_layer(it: Layout) -> None:
    grow(it.path(it.manifest["layers"][0]))


def fifo_layer(it: Layout) -> None:
    import os

    path = it.path(it.manifest["layers"][0])
    path.unlink()
    os.mkfifo(path)


def wrong_diff_id(it: Layout) -> None:
    it.config["rootfs"]["diff_ids"].reverse()
    it.save()


def one_diff_id_less(it: Layout) -> None:
    it.config["rootfs"]["diff_ids"].pop()
    it.save()


def config_without_architecture(it: Layout) -> None:
    del it.config["architecture"]
    it.save()


def config_with_bad_env(it: Layout) -> None:
    it.config["config"]["Env"] = ["NOVALUE"]
    it.save()


def manifest_of_schema_1(it: Layout) -> None:
    it.manifest["schemaVersion"] = 1
    it.save()


def manifest_without_layers(it: Layout) -> None:
    del it.manifest["layers"]
    it.save()


def two_documents_in_one(it: Layout) -> None:
    it.manifest["manifests"] = []
    it.save()


def another_media_type(it: Layout) -> None:
    it.manifest["mediaType"] = "application/vnd.docker.distribution.manifest.v2+json"
    it.save()


def another_platform(it: Layout) -> None:
    it.index["manifests"][0]["platform"] = {"os": "linux", "architecture": "s390x"}
    it.save()


def path_in_digest(it: Layout) -> None:
    it.manifest["layers"][0]["digest"] = "sha256:../../../../etc/passwd"
    it.save()


DAMAGES: list[tuple[Callable[[Layout], None], str]] = [
    (no_marker, "layout x: oci-layout: is missing"),
    (other_version, 'oci-layout: imageLayoutVersion: "2.0.0" is not "1.0.0"'),
    (no_index, "index.json: is missing"),
    (index_no_json, "index.json: is no JSON document"),
    (index_key_twice, "has 'manifests' twice"),
    (no_manifest, "index.json: manifests[0]: sha256:"),
    (flipped_manifest, "expected digest sha256:"),
    (longer_config, "config: sha256:"),
    (no_layer, "layers[0]: sha256:"),
    (flipped_layer, "layers[1]: sha256:"),
    (longer_layer, "layers[0]: sha256:"),
    (fifo_layer, "is no regular file"),
    (wrong_diff_id, "unpacks to sha256:"),
    (one_diff_id_less, "has 2 layers, and its configuration 1"),
    (config_without_architecture, "lacks 'architecture'"),
    (config_with_bad_env, 'config.Env[0]: "NOVALUE" is wrong; expected NAME=VALUE'),
    (manifest_of_schema_1, "schemaVersion: 1 is not 2"),
    (manifest_without_layers, "lacks 'layers'"),
    (two_documents_in_one, "could be taken for another document"),
    (another_media_type, "and the document says application/vnd.docker"),
    (another_platform, "is listed for architecture s390x"),
    (path_in_digest, "is wrong; expected ALGORITHM:ENCODED"),
]


@pytest.mark.parametrize(("damage", "message"), DAMAGES, ids=[d.__name__ for d, _ in DAMAGES])
def test_damage_is_found(layout: Path, damage: Callable[[Layout], None], message: str) -> None:
    damage(Layout(layout))
    assert message in said(layout)


def test_all_damages_at_once(layout: Path) -> None:
    it = Layout(layout)
    flipped_layer(it)
    no_layer(it)
    other_version(it)
    assert len(validate_layout(layout, "x")) == 3


def test_nested_indices_are_followed(layout: Path) -> None:
    it = Layout(layout)
    flip(it.path(it.manifest["layers"][0]))
    inner = {"schemaVersion": 2, "manifests": it.index["manifests"]}
    descriptor = {"mediaType": "application/vnd.oci.image.index.v1+json"}
    it.write(inner, descriptor)
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [descriptor]}))
    assert "layers[0]" in said(layout)


def test_a_thing_of_an_unknown_kind_is_checked_as_bytes(layout: Path) -> None:
    it = Layout(layout)
    descriptor = {"mediaType": "application/vnd.example+json"}
    it.write({"x": 1}, descriptor)
    it.index["manifests"].append(descriptor)
    it.save()
    assert said(layout) == ""
    flip(it.path(descriptor))
    assert "index.json: manifests[1]" in said(layout)


@pytest.mark.parametrize("change", ["none", "no rootfs", "no config", "wrong"])
def test_bundles(tmp_path: Path, change: str) -> None:
    (tmp_path / "rootfs").mkdir()
    run("runc", "spec", "--bundle", tmp_path)
    config = json.loads((tmp_path / "config.json").read_bytes())
    expected = {
        "none": "",
        "no rootfs": "x: config.json: root.path: 'rootfs' is no directory",
        "no config": "x: config.json: is missing",
        "wrong": 'x: config.json: process.cwd: "a" is wrong; expected an absolute path',
    }[change]
    if change == "no rootfs":
        (tmp_path / "rootfs").rmdir()
    if change == "no config":
        (tmp_path / "config.json").unlink()
    if change == "wrong":
        config["process"]["cwd"] = "a"
        (tmp_path / "config.json").write_text(json.dumps(config))
    assert "\n".join(str(each) for each in validate_bundle(tmp_path, "x")) == expected


def test_bundles_of_umoci_pass(layout: Path, tmp_path: Path) -> None:
    run("umoci", "unpack", "--image", f"{layout}:v1", tmp_path / "bundle")
    assert list(validate_path(tmp_path / "bundle")) == []


FILES: dict[str, tuple[str, str]] = {
    "images.toml": ('[images.a]\nimag = "x"', "x/images.toml: images.toml:1: images.a: lacks"),
    "other.toml": ("[", "no valid TOML"),
    "images.lock": ('{"version": 2, "images": {}}', "version: 2 is not 1"),
    "index.json": ('{"schemaVersion": 2, "manifests": 1}', "manifests: 1 is wrong"),
    "config.json": ('{"ociVersion": "x"}', "ociVersion"),
    "manifest.json": ('{"layers": []}', "lacks 'config'"),
    "image.json": ('{"rootfs": {}}', "rootfs: lacks 'type'"),
    "strange.json": ('{"a": 1}', "is no document of images"),
    "list.json": ("[]", "is no document of images"),
    "broken.json": ("{", "is no JSON document"),
}


@pytest.mark.parametrize(("name", "case"), FILES.items(), ids=FILES.keys())
def test_single_files(tmp_path: Path, name: str, case: tuple[str, str]) -> None:
    content, message = case
    folder = tmp_path / "x"
    folder.mkdir()
    (folder / name).write_text(content)
    assert message in "\n".join(str(each) for each in validate_path(folder / name))


def test_the_command(tmp_path: Path, layout: Path) -> None:
    (tmp_path / "images.toml").write_text('[images.hello]\nimage = "builtin:hello-world"\n')
    expect(doit_oci(tmp_path, "validate", "hello"), 1)
    expect(doit_oci(tmp_path, "bundle:hello"))
    expect(doit_oci(tmp_path, "validate"))
    expect(doit_oci(tmp_path, "validate", "hello", "./images.lock", str(layout)))
    flip(next((tmp_path / "build/layouts/hello/blobs/sha256").iterdir()))
    found = json.loads(expect(doit_oci(tmp_path, "validate", "--json"), 1))
    assert [each["subject"] for each in found] == ["layout hello"]
    unknown = doit_oci(tmp_path, "validate", "helo")
    expect(unknown, 3)
    assert b'did you mean "hello"' in unknown.stderr


def test_what_the_peer_refuses_we_refuse(layout: Path, tmp_path: Path) -> None:
    refused = []
    for damage, _ in DAMAGES:
        if damage is fifo_layer:
            continue  # the peer waits for ever
        copy = Path(shutil.copytree(layout, tmp_path / damage.__name__))
        damage(Layout(copy))
        if not peer_accepts(copy):
            refused.append(damage.__name__)
            assert said(copy), damage.__name__
    assert len(refused) >= 8


def test_a_targets_name_is_a_bundles_name(tmp_path: Path) -> None:
    (tmp_path / "images.toml").write_text('[images.hello]\nimage = "builtin:hello-world"\n')
    expect(doit_oci(tmp_path, "bundle:hello"))
    for command in ("validate", "verify"):
        for step in ("layout", "bundle", "run"):
            expect(doit_oci(tmp_path, command, f"{step}:hello"))
