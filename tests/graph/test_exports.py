"""What export writes is taken by the tools that people have, and is the same bytes each time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.export import export_bundle
from tests.graph.test_reproducible import project
from tests.support.command import CHECKOUT, DOOR, doit_oci, expect, steps_done
from tests.support.docker_registry import need, skopeo

ARCHIVES = ["x.tar", "x.tar.gz", "x.tar.zst"]


@pytest.fixture
def here(tmp_path: Path) -> Path:
    return project(tmp_path / "here")


def locked_manifest(where: Path) -> str:
    lock = json.loads((where / "images.lock").read_bytes())
    (platform,) = lock["images"]["a"]["platforms"].values()
    return str(platform["manifest"]["digest"])


@pytest.mark.parametrize("kind", ["x", *ARCHIVES])
def test_skopeo_takes_the_image(kind: str, here: Path) -> None:
    expect(doit_oci(here, "export", "b", kind, "--image"))
    transport = "oci" if kind == "x" else "oci-archive"
    found = json.loads(skopeo("inspect", f"{transport}:{here / kind}:latest"))
    assert found["Digest"] == locked_manifest(here)
    skopeo("copy", f"{transport}:{here / kind}:latest", f"dir:{here}/copied")


def test_umoci_takes_the_image(here: Path) -> None:
    expect(doit_oci(here, "export", "b", "x", "--image"))
    words = ["unpack", "--image", f"{here}/x:latest", str(here / "unpacked")]
    subprocess.run([need("umoci"), *words], check=True, capture_output=True)
    copy = here / "unpacked/rootfs/etc/copy"
    assert (copy.read_text(), copy.stat().st_nlink) == ("secret", 2)


@pytest.mark.parametrize("kind", ["x", *ARCHIVES])
def test_doit_oci_takes_the_image(kind: str, here: Path) -> None:
    digest = expect(doit_oci(here, "digest", "b"))
    expect(doit_oci(here, "export", "b", kind, "--image"))
    there = project(here / "there")
    transport = "oci" if kind == "x" else "oci-archive"
    text = (there / "images.toml").read_text()
    (there / "images.toml").write_text(text.replace("oci:layout", f"{transport}:{here / kind}"))
    assert expect(doit_oci(there, "digest", "b")) == digest


def test_runc_takes_what_tar_unpacks(here: Path, tmp_path: Path) -> None:
    with (here / "images.toml").open("a") as file:
        file.write('command = ["echo", "from an export"]\n')
    expect(doit_oci(here, "export", "b", "x.tar.zst"))
    out = tmp_path / "out"
    out.mkdir()
    subprocess.run(["tar", "--zstd", "-xpf", here / "x.tar.zst", "-C", out], check=True)
    state = tmp_path / "state"
    words = [need("runc"), "--root", str(state), "run", "--bundle", str(out), f"e{os.getpid()}"]
    done = subprocess.run(words, capture_output=True, stdin=subprocess.DEVNULL, check=False)
    assert (done.returncode, done.stdout) == (0, b"from an export\n"), done.stderr


@pytest.mark.parametrize("option", [[], ["--image"]], ids=["bundle", "image"])
@pytest.mark.parametrize("kind", ARCHIVES)
def test_whoever_exports_writes_the_same_bytes(kind: str, option: list[str], here: Path) -> None:
    expect(doit_oci(here, "bundle:b"))
    expect(doit_oci(here, "export", "b", f"1-{kind}", *option))
    there = project(here.with_name("another place, ü"))
    another = ["unshare", "--user", "--map-user=1000", "--map-group=1000", "sh", "-c"]
    done = subprocess.run(
        [*another, 'umask 077; exec "$@"', "sh", sys.executable, "-c", DOOR, "export", "b",
         f"2-{kind}", *option],
        cwd=there,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT), "TZ": "Asia/Kathmandu", "LC_ALL": "C"},
        capture_output=True,
        check=False,
    )  # fmt: skip
    expect(done)
    assert (there / f"2-{kind}").read_bytes() == (here / f"1-{kind}").read_bytes()


def test_an_image_with_a_damaged_blob_is_not_exported(here: Path) -> None:
    expect(doit_oci(here, "layout:a"))
    lock = json.loads((here / "images.lock").read_bytes())
    (platform,) = lock["images"]["a"]["platforms"].values()
    blob = here / "build/blobs" / platform["layers"][0]["digest"].replace(":", "/")
    content = bytearray(blob.read_bytes())
    content[100] ^= 1
    blob.write_bytes(content)
    result = doit_oci(here, "export", "b", "x.tar", "--image")
    expect(result, 1)
    assert "expected digest" in result.stderr.decode()
    assert not (here / "x.tar").exists()
    expect(doit_oci(here, "export", "b", "x.tar", "--image"))


@pytest.mark.parametrize("option", [[], ["--image"]], ids=["bundle", "image"])
def test_an_exported_directory_is_the_same_whenever_it_is_written(
    option: list[str], here: Path
) -> None:
    packed = []
    for number, umask in enumerate((0o077, 0o002)):
        before = os.umask(umask)
        try:
            expect(doit_oci(here, "export", "b", f"x{number}", *option))
        finally:
            os.umask(before)
        words = ["tar", "--sort=name", "--format=pax", "--pax-option=delete=[ac]time", "-cf", "-"]
        packed.append(subprocess.check_output([*words, "."], cwd=here / f"x{number}"))
    assert packed[0] == packed[1]


def test_source_date_epoch_is_no_part_of_a_bundle(here: Path) -> None:
    digest = expect(doit_oci(here, "digest", "b", env={"SOURCE_DATE_EPOCH": "86400"}))
    again = doit_oci(here, "digest", "b", "--locked", env={"SOURCE_DATE_EPOCH": "999999"})
    assert (expect(again), steps_done(again)) == (digest, [])
    root = json.loads((here / "build/entries/b.jsonl").read_text().splitlines()[0])
    assert (root["path"], root["mtime"]) == ("", 0)
    assert (here / "build/bundles/b/rootfs").stat().st_mtime == 0


@pytest.mark.parametrize("text", ["-1", "1.5", "x", "8589934592", "9" * 5000])
def test_what_is_no_source_date_epoch_is_refused(text: str, here: Path) -> None:
    result = doit_oci(here, "export", "b", "x.tar", env={"SOURCE_DATE_EPOCH": text})
    expect(result, 3)
    assert "SOURCE_DATE_EPOCH" in result.stderr.decode()
    assert not (here / "x.tar").exists()


def test_times_are_those_of_source_date_epoch(here: Path) -> None:
    for option in ([], ["--image"]):
        name = f"x{len(option)}.tar"
        expect(doit_oci(here, "export", "b", name, *option, env={"SOURCE_DATE_EPOCH": "86400"}))
        listed = subprocess.run(
            ["tar", "--utc", "-tvf", here / name], check=True, capture_output=True
        ).stdout.decode()
        ours = [line for line in listed.splitlines() if "rootfs/" not in line]
        assert ours
        assert all(" 1970-01-02 00:00 " in line for line in ours), listed
        expect(doit_oci(here, "export", "b", name[:2], *option, env={"SOURCE_DATE_EPOCH": "86400"}))
        found = [here / name[:2], *(here / name[:2]).rglob("*")]
        mine = [path for path in found if "rootfs" not in path.parts]
        assert {path.stat().st_mtime for path in mine} == {86400}


@pytest.mark.parametrize("name", ["\x1b[31mred", "a:b", "-x", "a\nb", "../x", "", "ü", "x" * 200])
def test_what_an_archive_says_is_its_name_need_not_be_one(name: str, here: Path) -> None:
    expect(doit_oci(here, "bundle:b"))
    export_bundle(
        bundle=here / "build/bundles/b",
        entries=here / "build/entries/b.jsonl",
        destination=here / "hostile.tar",
        name=name,
    )
    result = doit_oci(here, "import", "hostile.tar")
    expect(result, 3)
    assert f"error: {name[:80]!a}: is no name for a bundle" in result.stderr.decode()
    assert sorted(os.listdir(here / "build/bundles")) == ["b"]
    expect(doit_oci(here, "import", "hostile.tar", "--name", "c"))
