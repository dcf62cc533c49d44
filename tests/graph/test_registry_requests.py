"""How often a registry is asked, counted from outside, whatever the command."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from ..support.command import doit_oci, expect
from ..support.fake_registry import FakeRegistry
from ..support.images import layer, make_image, make_index, sha256

IMAGE = make_index(make_image(layer("hello")))


def declare(project: Path, registry: FakeRegistry, policy: str = "missing") -> None:
    (project / "images.toml").write_text(
        f'[[registry]]\nprefix = "{registry.host}"\ninsecure = true\n'
        f'[images.a]\nimage = "{registry.host}/a:1"\npull_policy = "{policy}"\n'
        f'platforms = ["linux/amd64"]\n[defaults]\nplatform = "linux/amd64"\n'
    )


@pytest.fixture
def project(tmp_path: Path, fake_registry: FakeRegistry) -> Path:
    fake_registry.add(IMAGE)
    declare(tmp_path, fake_registry)
    return tmp_path


def locked(project: Path) -> str:
    return str(json.loads((project / "images.lock").read_text())["images"]["a"]["index"])


def test_second_time_nothing_is_asked(project: Path, fake_registry: FakeRegistry) -> None:
    expect(doit_oci(project, "layout:a"))
    assert fake_registry.paths("blobs")
    fake_registry.asked.clear()
    expect(doit_oci(project, "layout:a"))
    expect(doit_oci(project, "list"))
    expect(doit_oci(project, "layout:a", "--offline"))
    assert not fake_registry.asked


def test_lock_alone_fetches_no_layer(project: Path, fake_registry: FakeRegistry) -> None:
    expect(doit_oci(project, "lock"))
    assert locked(project) == IMAGE.digest
    layers = IMAGE.below[0].layer_digests()
    assert not [path for path in fake_registry.paths("blobs") if layers[0] in path]


def test_unchanged_lock_is_updated_with_one_head(
    project: Path, fake_registry: FakeRegistry
) -> None:
    expect(doit_oci(project, "lock"))
    fake_registry.asked.clear()
    expect(doit_oci(project, "lock", "--update"))
    assert fake_registry.paths() == ["HEAD /v2/a/manifests/1"]


def test_tag_that_moved_is_followed_only_where_that_is_wanted(
    project: Path, fake_registry: FakeRegistry
) -> None:
    expect(doit_oci(project, "layout:a"))
    moved = fake_registry.add(make_index(make_image(layer("other", seed=1))))
    expect(doit_oci(project, "layout:a"))
    assert locked(project) == IMAGE.digest
    declare(project, fake_registry, "always")
    expect(doit_oci(project, "layout:a", "--locked"))
    assert locked(project) == IMAGE.digest
    said = doit_oci(project, "layout:a")
    expect(said)
    assert locked(project) == moved.digest
    assert moved.digest in said.stderr.decode()
    fake_registry.asked.clear()
    expect(doit_oci(project, "layout:a"))
    assert fake_registry.paths() == ["HEAD /v2/a/manifests/1"]


def test_policy_never_asks_nobody(project: Path, fake_registry: FakeRegistry) -> None:
    declare(project, fake_registry, "never")
    result = doit_oci(project, "layout:a")
    expect(result, status=1)
    assert "pull_policy" in result.stderr.decode()
    assert not fake_registry.asked


def test_other_image_is_not_asked_for(project: Path, fake_registry: FakeRegistry) -> None:
    with (project / "images.toml").open("a") as file:
        file.write('[images.b]\nimage = "127.0.0.1:1/none:1"\n')
    expect(doit_oci(project, "layout:a"))
    result = doit_oci(project, "layout:b")
    expect(result, status=1)
    assert "hint:" in result.stderr.decode()


def damage(project: Path, digest: str) -> None:
    path = project / "build" / "blobs" / digest.replace(":", "/")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("what", ["layer", "configuration"])
@pytest.mark.parametrize("words", [["bundle:a"], ["bundle"]], ids=["one target", "all"])
def test_damaged_blob_is_found_and_fetched_anew(
    what: str, words: list[str], project: Path, fake_registry: FakeRegistry
) -> None:
    (image,) = IMAGE.below
    digest = image.layer_digests()[0] if what == "layer" else image.parsed["config"]["digest"]
    expect(doit_oci(project, "layout:a"))
    fake_registry.asked.clear()
    damage(project, digest)
    refused = doit_oci(project, *words, "--offline")
    expect(refused, status=1)
    done = doit_oci(project, *words)
    expect(done)
    assert f"{digest} was damaged" in (done.stderr + refused.stderr).decode()
    assert fake_registry.paths("blobs") == [f"GET /v2/a/blobs/{digest}"]
    for place in ("blobs", "layouts/a/blobs"):
        raw = (project / "build" / place / digest.replace(":", "/")).read_bytes()
        assert sha256(raw) == digest


@pytest.mark.parametrize("what", ["layer", "configuration"])
def test_damaged_blob_is_found_before_a_layout_has_it(
    what: str, project: Path, fake_registry: FakeRegistry
) -> None:
    (image,) = IMAGE.below
    digest = image.layer_digests()[0] if what == "layer" else image.parsed["config"]["digest"]
    expect(doit_oci(project, "layout:a"))
    shutil.rmtree(project / "build" / "layouts")
    damage(project, digest)
    fake_registry.asked.clear()
    done = doit_oci(project, "layout:a")
    expect(done)
    assert f"{digest} was damaged" in done.stderr.decode()
    assert fake_registry.paths("blobs") == [f"GET /v2/a/blobs/{digest}"]
    raw = (project / "build/layouts/a/blobs" / digest.replace(":", "/")).read_bytes()
    assert sha256(raw) == digest


def test_inspect_takes_any_reference(project: Path, fake_registry: FakeRegistry) -> None:
    other = fake_registry.add(make_image(layer("other", seed=1)), "other")
    name = f"{fake_registry.host}/b:other"
    for word in (name, f"docker://{name}"):
        said = doit_oci(project, "inspect", word)
        expect(said)
        assert json.loads(said.stdout)["Digest"] == other.digest
        assert json.loads(said.stdout)["Name"] == f"{fake_registry.host}/b"
    assert doit_oci(project, "inspect", name, "--raw").stdout == other.raw
    expect(doit_oci(project, "inspect", "none"), status=3)
