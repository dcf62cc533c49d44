"""Inspect: word for word what skopeo prints of the same image in the same place."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tasks.inspect import Query, inspect_image, list_tags, raw_config, raw_manifest
from tasks.oci.platform import parse_platform
from tasks.oci.reference import parse_image
from tests.support.command import doit_oci, expect
from tests.support.docker_registry import RegistryServer, skopeo
from tests.support.images import Document, layer, make_image, make_index, push, write_layout
from tests.support.pulling import Puller

ARM = make_image(layer("x"), platform="linux/arm/v6")
IMAGES: dict[str, Document] = {
    "plain": make_image(layer("a"), layer("b", seed=1)),
    "docker": make_image(docker=True),
    "index": make_index(make_image(), ARM),
    "list": make_index(make_image(docker=True), docker=True),
    "bare": make_image(config={"config": {}, "created": None}),
    "times": make_image(config={"created": "2020-01-02T03:04:05.120000000Z"}),
    "docker version": make_image(docker=True, config={"docker_version": "20.10.7"}),
}


def query(puller: Puller, image: str, platform: str = "linux/amd64") -> Query:
    return {
        "reference": parse_image(image, folder=Path("/")),
        "platform": parse_platform(platform),
        "locked": None,
        "blobs": puller.blobs,
        "registries": puller.settings(image),
        "offline": False,
        "progress": puller.progress,
    }


def said(*arguments: str) -> Any:
    return json.loads(skopeo(*arguments))


def beside(answer: dict[str, Any]) -> dict[str, Any]:
    """skopeo's answer without the field that later versions add."""
    return {key: value for key, value in answer.items() if key != "LayersData"}


@pytest.mark.parametrize("name", IMAGES)
def test_image_in_a_registry_is_described_as_by_skopeo(
    name: str, docker_registry: RegistryServer, puller: Puller
) -> None:
    repository = f"inspect/{name.replace(' ', '-')}"
    push(docker_registry.host, repository, "1", IMAGES[name])
    image = f"{docker_registry.host}/{repository}:1"
    place: Sequence[str] = ("--tls-verify=false", f"docker://{image}")
    assert inspect_image(**query(puller, image)) == beside(said("inspect", *place))
    assert raw_manifest(**query(puller, image)) == skopeo("inspect", "--raw", *place)
    config = skopeo("inspect", "--raw", "--config", *place)
    assert raw_config(**query(puller, image)) == config
    tags = said("list-tags", "--tls-verify=false", f"docker://{image.removesuffix(':1')}")
    assert list_tags(**query(puller, image)) == tags


def test_fields_stand_in_skopeos_order(docker_registry: RegistryServer, puller: Puller) -> None:
    push(docker_registry.host, "inspect/order", "1", IMAGES["plain"])
    image = f"{docker_registry.host}/inspect/order:1"
    answer = skopeo("inspect", "--tls-verify=false", f"docker://{image}")
    ours = json.dumps(inspect_image(**query(puller, image)), indent=4) + "\n"
    assert ours == json.dumps(beside(json.loads(answer)), indent=4) + "\n"


@pytest.mark.parametrize(
    ("name", "ref"),
    [("plain", ""), ("docker", ""), ("index", ""), ("plain", "one"), ("index", "one")],
)
def test_image_in_a_layout_is_described_as_by_skopeo(
    name: str, ref: str, tmp_path: Path, puller: Puller
) -> None:
    write_layout(tmp_path / "layout", IMAGES[name], names=[ref] if ref else [])
    image = f"oci:{tmp_path}/layout" + (f":{ref}" if ref else "")
    assert inspect_image(**query(puller, image)) == beside(said("inspect", image))
    assert list_tags(**query(puller, image)) == {"Tags": [ref] if ref else []}


COPIES = ["oci-archive:{}:one", "docker-archive:{}:team/app:one", "docker-archive:{}", "dir:{}"]


@pytest.mark.parametrize("place", COPIES)
def test_image_in_a_copy_is_described_as_by_skopeo(
    place: str, tmp_path: Path, puller: Puller
) -> None:
    layout = write_layout(tmp_path / "layout", IMAGES["plain"])
    image = place.format(tmp_path / "copy")
    skopeo("copy", f"oci:{layout}", image)
    ours, its = inspect_image(**query(puller, image)), beside(said("inspect", image))
    if image.startswith("docker-archive:"):
        # Both make a manifest for it; skopeo's calls layers without compression gzip.
        assert ours.pop("Digest") != its.pop("Digest")
        assert raw_config(**query(puller, image)) == skopeo("inspect", "--raw", "--config", image)
    else:
        assert raw_manifest(**query(puller, image)) == skopeo("inspect", "--raw", image)
    assert ours == its
    if image.endswith("app:one"):
        assert list_tags(**query(puller, image)) == said("list-tags", image.rpartition(":team")[0])


def test_other_platform_is_described(docker_registry: RegistryServer, puller: Puller) -> None:
    push(docker_registry.host, "inspect/arm", "1", IMAGES["index"])
    image = f"{docker_registry.host}/inspect/arm:1"
    found = inspect_image(**query(puller, image, "linux/arm/v7"))
    assert (found["Architecture"], found["Variant"]) == ("arm", "v6")
    assert found["Digest"] == IMAGES["index"].digest


def test_many_tags_are_listed_over_all_pages(
    docker_registry: RegistryServer, puller: Puller
) -> None:
    image = make_image()
    names = [f"v{number}" for number in range(30)]
    for name in names:
        push(docker_registry.host, "inspect/tags", name, image)
    found = list_tags(**query(puller, f"{docker_registry.host}/inspect/tags:v1"))
    assert sorted(found["Tags"]) == sorted(names)


def test_locked_image_is_described_offline(docker_registry: RegistryServer, puller: Puller) -> None:
    push(docker_registry.host, "inspect/locked", "1", IMAGES["index"])
    image = f"{docker_registry.host}/inspect/locked:1"
    locked = puller.resolve(image)
    asked: Query = {**query(puller, image), "locked": locked, "offline": True}
    assert inspect_image(**asked)["Digest"] == IMAGES["index"].digest
    assert raw_manifest(**asked) == IMAGES["index"].raw
    assert any("the tags are not shown" in note for note in puller.progress.notes)


@pytest.mark.parametrize("flag", ["", "--raw", "--config", "--tags", "--raw --config"])
def test_command_prints_what_skopeo_prints(
    flag: str, docker_registry: RegistryServer, tmp_path: Path
) -> None:
    host = docker_registry.host
    image = make_image(layer("a"), config={"config": {"Env": ["GREETING=gr\u00fc\u00df"]}})
    push(host, "inspect/command", "1", image)
    (tmp_path / "images.toml").write_text(
        f'[[registry]]\nprefix = "{host}"\ninsecure = true\n'
        f'[images.a]\nimage = "{host}/inspect/command:1"\nplatforms = ["linux/amd64"]\n'
        '[defaults]\nplatform = "linux/amd64"\n'
    )
    done = doit_oci(tmp_path, "inspect", "a", *flag.split())
    expect(done)
    place = f"docker://{host}/inspect/command"
    if flag == "--tags":
        assert done.stdout == skopeo("list-tags", "--tls-verify=false", place)
        return
    answer = skopeo("inspect", "--tls-verify=false", *flag.split(), f"{place}:1")
    if "--raw" in flag:
        assert done.stdout == answer
    else:
        ours, its = json.loads(done.stdout), json.loads(answer)
        assert {name: its.get(name) for name in ours} == ours
        assert "gr\u00fc\u00df".encode() in done.stdout
        assert done.stdout.splitlines()[1].startswith(b'    "')
