"""The same image through every transport, made and compared with skopeo; damaged ones refused."""

from __future__ import annotations

import gzip
import json
import subprocess
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks.errors import ContentError, DigestMismatch, DoitOciError
from tests.support.docker_registry import RegistryServer, need, skopeo
from tests.support.images import Document, layer, make_image, make_index, write_layout
from tests.support.pulling import Puller

IMAGE = make_image(layer("a"), layer("b", seed=1), layer("a", seed=2))


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    return write_layout(tmp_path / "source", IMAGE, names=["1"])


def zstd(path: Path) -> Path:
    import zstandard

    packed = path.with_suffix(".zst")
    packed.write_bytes(zstandard.ZstdCompressor().compress(path.read_bytes()))
    return packed


def gzipped(path: Path) -> Path:
    packed = path.with_suffix(".gz")
    packed.write_bytes(gzip.compress(path.read_bytes()))
    return packed


def copied(layout: Path, transport: str, path: Path) -> str:
    skopeo(
        "copy",
        f"oci:{layout}",
        f"{transport}:{path}:a:1" if "archive" in transport else f"{transport}:{path}",
    )
    return f"{transport}:{path}"


@pytest.mark.parametrize(
    ("transport", "pack"),
    [
        ("oci", None),
        ("dir", None),
        ("oci-archive", None),
        ("oci-archive", gzipped),
        ("oci-archive", zstd),
    ],
)
def test_same_digests_through(
    transport: str, pack: Callable[[Path], Path] | None, layout: Path, puller: Puller
) -> None:
    path = layout.parent / "copy.tar"
    name = copied(layout, transport, path)
    locked = puller.pull(f"{transport}:{pack(path)}" if pack else name)
    found = locked.platforms["linux/amd64"]
    assert str(found.manifest.digest) == IMAGE.digest
    assert puller.stored() == {IMAGE.digest, *IMAGE.blobs}


@pytest.mark.parametrize("pack", [None, gzipped, zstd], ids=["plain", "gzip", "zstd"])
def test_docker_archive_keeps_configuration_and_diff_ids(
    pack: Callable[[Path], Path] | None, layout: Path, puller: Puller
) -> None:
    path = layout.parent / "copy.tar"
    copied(layout, "docker-archive", path)
    said = json.loads(skopeo("inspect", "--raw", f"docker-archive:{path}"))
    locked = puller.pull(f"docker-archive:{pack(path) if pack else path}")
    found = locked.platforms["linux/amd64"]
    assert str(found.config.digest) == said["config"]["digest"]
    assert [str(known.diff_id) for known in found.layers] == [
        known["digest"] for known in said["layers"]
    ]
    assert [known.descriptor.size for known in found.layers] == [
        known["size"] for known in said["layers"]
    ]
    assert all(known.descriptor.digest == known.diff_id for known in found.layers)
    assert {str(blob.digest) for blob in found.blobs} == puller.stored()


def test_docker_archive_with_several_images_wants_a_name(layout: Path, puller: Puller) -> None:
    other = write_layout(layout.parent / "other", make_image(layer("c", seed=9)))
    path = layout.parent / "both.tar"
    merge_archives(path, {"team/a:1": layout, "team/b:1": other})
    with pytest.raises(ContentError, match=r"2 images; expected one \(.*team/a:1.*team/b:1"):
        puller.resolve(f"docker-archive:{path}")
    with pytest.raises(ContentError, match=r'named "team/c:1"'):
        puller.resolve(f"docker-archive:{path}:team/c:1")
    digests = {
        str(puller.resolve(f"docker-archive:{path}:{name}").platforms["linux/amd64"].config.digest)
        for name in ("team/a:1", "team/b:1", "docker.io/team/a:1", "@0", "@1")
    }
    assert len(digests) == 2


def merge_archives(path: Path, images: dict[str, Path]) -> None:
    """What ``docker save`` makes of several images, layers shared by a symlink among it."""
    entries: list[Any] = []
    with tarfile.open(path, "w") as out:
        for number, (name, layout) in enumerate(images.items()):
            part = path.with_name(f"part{number}.tar")
            skopeo("copy", f"oci:{layout}", f"docker-archive:{part}:{name}")
            with tarfile.open(part) as archive:
                for member in archive:
                    if member.name == "manifest.json":
                        entries += json.load(archive.extractfile(member))  # type: ignore[arg-type]
                    else:
                        out.addfile(member, archive.extractfile(member))
        part = path.with_name("manifest.json")
        part.write_text(json.dumps(entries))
        out.add(part, "manifest.json")


def test_podman_save_is_read(layout: Path, puller: Puller) -> None:
    path = layout.parent / "saved.tar"
    with tempfile.TemporaryDirectory(prefix="podman") as store:  # podman wants a short path
        podman = [need("podman"), "--root", f"{store}/a", "--runroot", f"{store}/b"]
        podman += ["--storage-driver", "vfs", "--events-backend", "file"]
        image = output(*podman, "pull", "-q", f"oci:{layout}")
        output(*podman, "save", "-q", "--format", "docker-archive", "-o", str(path), image)
    locked = puller.pull(f"docker-archive:{path}")
    assert str(locked.platforms["linux/amd64"].config.digest) == IMAGE.parsed["config"]["digest"]


def output(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_layout_with_several_names_wants_one(tmp_path: Path, puller: Puller) -> None:
    other = make_image(layer("c", seed=9))
    write_layout(tmp_path / "layout", IMAGE, other, names=["one", "two"])
    with pytest.raises(ContentError, match=r"2 images; expected one \(one, two\)"):
        puller.resolve(f"oci:{tmp_path}/layout")
    with pytest.raises(ContentError, match=r'named "three"(.|\n)*one, two'):
        puller.resolve(f"oci:{tmp_path}/layout:three")
    locked = puller.resolve(f"oci:{tmp_path}/layout:two")
    assert str(locked.platforms["linux/amd64"].manifest.digest) == other.digest


def test_platforms_of_one_name_are_one_image(tmp_path: Path, puller: Puller) -> None:
    arm = make_image(layer("c", seed=9), platform="linux/arm64")
    write_layout(tmp_path / "layout", IMAGE, arm, names=["1", "1"])
    locked = puller.resolve(f"oci:{tmp_path}/layout", "linux/amd64", "linux/arm64")
    assert str(locked.platforms["linux/amd64"].manifest.digest) == IMAGE.digest
    assert str(locked.platforms["linux/arm64"].manifest.digest) == arm.digest
    again = puller.resolve(f"oci:{tmp_path}/layout", "linux/amd64", known=None)
    assert again.index == locked.index


def test_every_platform_of_a_dir_is_found(
    docker_registry: RegistryServer, tmp_path: Path, puller: Puller
) -> None:
    arm = make_image(layer("c", seed=9), platform="linux/arm64")
    write_layout(tmp_path / "layout", make_index(IMAGE, arm))
    skopeo("copy", "--all", f"oci:{tmp_path}/layout", f"dir:{tmp_path}/dir")
    locked = puller.pull(f"dir:{tmp_path}/dir", "linux/amd64", "linux/arm64")
    assert str(locked.platforms["linux/arm64"].manifest.digest) == arm.digest
    assert puller.stored() >= {IMAGE.digest, arm.digest, *IMAGE.blobs, *arm.blobs}


def test_builtin_image_needs_nothing(puller: Puller) -> None:
    locked = puller.pull("builtin:hello-world", "linux/amd64", "linux/arm64", offline=True)
    assert locked.index
    for found in locked.platforms.values():
        assert {str(blob.digest) for blob in found.blobs} <= puller.stored()


def layer_path(layout: Path, image: Document = IMAGE) -> Path:
    return layout / "blobs" / "sha256" / image.layer_digests()[0].partition(":")[2]


def rewrite(layout: Path, name: str, change: Callable[[Any], Any]) -> None:
    path = layout / name
    path.write_text(json.dumps(change(json.loads(path.read_text()))))


DAMAGE: dict[str, Callable[[Path], Any]] = {
    "no marker": lambda layout: (layout / "oci-layout").unlink(),
    "a marker of another version": lambda layout: (layout / "oci-layout").write_text(
        '{"imageLayoutVersion": "2.0.0"}'
    ),
    "no index": lambda layout: (layout / "index.json").unlink(),
    "an index that is no JSON": lambda layout: (layout / "index.json").write_text("{"),
    "an index that is huge": lambda layout: (layout / "index.json").write_text(" " * (5 << 20)),
    "an index without manifests": lambda layout: (layout / "index.json").write_text("{}"),
    "no image": lambda layout: rewrite(layout, "index.json", lambda it: {**it, "manifests": []}),
    "a digest that is a path": lambda layout: rewrite(
        layout,
        "index.json",
        lambda it: {"manifests": [{**it["manifests"][0], "digest": "sha256:../../../etc/passwd"}]},
    ),
    "a blob of wrong content": lambda layout: layer_path(layout).write_bytes(
        b"?" * layer_path(layout).stat().st_size
    ),
    "a blob that is cut short": lambda layout: layer_path(layout).write_bytes(b"?"),
    "a blob that is missing": lambda layout: layer_path(layout).unlink(),
    "a blob that is a folder": lambda layout: (
        layer_path(layout).unlink(),
        layer_path(layout).mkdir(),
    ),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
@pytest.mark.parametrize("archived", [False, True], ids=["folder", "archive"])
def test_damaged_layout_is_refused(
    archived: bool, damage: Callable[[Path], Any], layout: Path, puller: Puller
) -> None:
    damage(layout)
    name = f"oci:{layout}"
    if archived:
        with tarfile.open(layout.parent / "x.tar", "w") as out:
            out.add(layout, ".")
        name = f"oci-archive:{layout.parent}/x.tar"
    with pytest.raises(DoitOciError):
        puller.pull(name)
    assert IMAGE.layer_digests()[0] not in puller.stored()


@pytest.mark.parametrize("transport", ["oci", "oci-archive", "docker-archive", "dir"])
@pytest.mark.parametrize(
    "content", [None, b"", b"no archive", gzip.compress(b"no archive", mtime=0)[:20]]
)
def test_what_is_no_image_is_refused(
    transport: str, content: bytes | None, tmp_path: Path, puller: Puller
) -> None:
    if content is not None:
        (tmp_path / "x").write_bytes(content)
    with pytest.raises(ContentError):
        puller.resolve(f"{transport}:{tmp_path}/x")


def test_links_of_an_archive_stay_inside(layout: Path, tmp_path: Path, puller: Puller) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(layer_path(layout).read_bytes())
    layer_path(layout).unlink()
    layer_path(layout).symlink_to(secret)
    with tarfile.open(tmp_path / "x.tar", "w") as out:
        out.add(layout, ".")
    with pytest.raises(ContentError, match="not in the archive"):
        puller.pull(f"oci-archive:{tmp_path}/x.tar")


def test_circle_of_links_in_an_archive_ends(tmp_path: Path, puller: Puller) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as out:
        for name, target in (("oci-layout", "b"), ("b", "oci-layout")):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            out.addfile(info)
    with pytest.raises(ContentError, match="oci-layout"):
        puller.resolve(f"oci-archive:{tmp_path}/x.tar")


def test_changed_docker_archive_says_that_it_is_another(layout: Path, puller: Puller) -> None:
    path = layout.parent / "copy.tar"
    copied(layout, "docker-archive", path)
    locked = puller.resolve(f"docker-archive:{path}")
    path.unlink()
    other = write_layout(layout.parent / "other", make_image(layer("c", seed=9)))
    copied(other, "docker-archive", path)
    with pytest.raises((ContentError, DigestMismatch)):
        puller.fetch(f"docker-archive:{path}", locked)
