"""Whoever has subordinate ids owns files that only root of a namespace may read or remove."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command import doit_oci, expect
from tests.support.layers import item, tar
from tests.support.layout import write_layout
from tests.support.ordinary_user import OrdinaryUser, ordinary_user

LAYER = [
    item("./", mode=0o755),
    item("secret", "s", mode=0o000),
    item("theirs", "t" * 3_000_000, mode=0o400, uid=33, gid=44),
    item("locked/", mode=0o500, uid=12, gid=13),
    item("locked/in/", mode=0o000, uid=5),
    item("locked/in/file", "deep", mode=0o600, uid=5, gid=700),
    item("again", type="link", link="theirs"),
]
IMAGES = '[images.a]\nimage = "oci:layout"\n[bundles.b]\nimage = "a"\n'


@pytest.fixture(scope="module", params=[True, False], ids=["subordinate ids", "one id"])
def user(request: pytest.FixtureRequest) -> Iterator[OrdinaryUser]:
    with ordinary_user(subordinate=request.param) as found:
        yield found


@pytest.fixture
def place(user: OrdinaryUser) -> Iterator[Path]:
    """The user's project, with its bundle built."""
    found = project(Path(user.home) / "place")
    subprocess.run(["chown", "-R", f"{user.uid}:{user.gid}", found], check=True)
    expect(user.doit_oci(found, "bundle:b"))
    yield found
    shutil.rmtree(found)


def project(where: Path) -> Path:
    where.mkdir()
    write_layout(where / "layout", tar(LAYER))
    (where / "images.toml").write_text(IMAGES)
    return where


@pytest.mark.parametrize("kind", ["x.tar", "x.tar.gz", "x.tar.zst"])
def test_an_export_is_the_same_bytes_as_roots(
    kind: str, user: OrdinaryUser, place: Path, tmp_path: Path
) -> None:
    as_root = project(tmp_path / "as root")
    expect(doit_oci(as_root, "export", "b", kind))
    expect(user.doit_oci(place, "export", "b", kind))
    assert (place / kind).read_bytes() == (as_root / kind).read_bytes()
    assert (place / kind).stat().st_uid == user.uid


def test_an_exported_directory_is_the_users_and_is_taken_in_again(
    user: OrdinaryUser, place: Path
) -> None:
    digest = expect(user.doit_oci(place, "digest", "b")).strip()
    expect(user.doit_oci(place, "export", "b", "x"))
    found = [place / "x", *(place / "x").rglob("*")]
    assert {path.lstat().st_uid for path in found} == {user.uid}
    assert (place / "x/rootfs/locked/in/file").read_text() == "deep"
    result = user.doit_oci(place, "import", "x", "--name", "again")
    expect(result)
    assert digest in result.stderr.decode()


def test_gc_frees_what_others_own(user: OrdinaryUser, place: Path) -> None:
    (place / "images.toml").write_text("")
    expect(user.doit_oci(place, "lock"))
    freed = json.loads(expect(user.doit_oci(place, "gc", "--json")))
    assert {"bundle", "layer", "blob", "layout"} == {row["kind"] for row in freed}
    assert os.listdir(place / "build/bundles") == []
    assert [name for name in os.listdir(place / "build/tmp") if not name.startswith(".")] == []


def test_reproduce_is_another_user_and_leaves_nothing(user: OrdinaryUser, place: Path) -> None:
    tmp = place / "tmp"
    tmp.mkdir()
    os.chown(tmp, user.uid, user.gid)
    digest = expect(user.doit_oci(place, "digest", "b"))
    result = user.doit_oci(place, "reproduce", "b", env={"TMPDIR": str(tmp)})
    assert expect(result) == digest
    assert "an ordinary user of a namespace" in result.stderr.decode()
    assert os.listdir(tmp) == []
