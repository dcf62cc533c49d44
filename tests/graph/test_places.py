"""State directories that are not what one would wish for: no room, no rights, no links."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.graph.test_reproducible import project
from tests.support.command import CHECKOUT, DOOR, doit_oci, expect, steps_done
from tests.support.docker_registry import need
from tests.support.ordinary_user import ordinary_user
from tests.support.refusing import LACKING

COMMANDS = {
    "a build": ["bundle:b"],
    "an export": ["export", "b", "out.tar"],
    "an export of a directory": ["export", "b", "out"],
    "a push": ["cache", "push", "b"],
    "a run": ["run:b", "--", "echo", "hi"],
}
FULL = "No space left on device"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with a project in it."""
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "none", place], check=True)
    source = project(tmp_path / "source", f'[cache]\nremote = "file://{place}/remote"\n')
    shutil.copytree(source, place, dirs_exist_ok=True)
    yield place
    subprocess.run(["umount", "-l", place], check=True)


@pytest.fixture(scope="module")
def digest(tmp_path_factory: pytest.TempPathFactory) -> str:
    return expect(doit_oci(project(tmp_path_factory.mktemp("plain") / "p"), "digest", "b"))


def limit(place: Path, *, pages: int | None = None, inodes: int | None = None) -> None:
    """Leave so many pages of memory, or names for files, free; None lifts the limit."""
    found = os.statvfs(place)
    used = (found.f_blocks - found.f_bfree) * found.f_bsize // 4096
    size = f"size={4 * (used + pages)}k" if pages is not None else "size=64m"
    names = found.f_files - found.f_ffree + inodes if inodes is not None else 100_000
    subprocess.run(["mount", "-o", f"remount,{size},nr_inodes={names}", place], check=True)


def recovers(place: Path, digest: str, words: list[str]) -> None:
    """Nothing is lost, and with room everything goes on as if nothing had been."""
    limit(place)
    for name in ("out", "out.tar"):
        assert not os.path.lexists(place / name)
    expect(doit_oci(place, *words))
    assert expect(doit_oci(place, "digest", "b")) == digest
    expect(doit_oci(place, "verify"))
    assert [name for name in os.listdir(place / "build/tmp") if not name.startswith(".")] == []
    assert [name for name in os.listdir(place) if name.startswith(".out")] == []


@pytest.mark.parametrize(
    "room",
    [
        *({"pages": number} for number in (1, 5, 30, 150, 280, 300, 400, 560)),
        *({"inodes": number} for number in (1, 7, 13, 20, 28, 36, 48, 60, 73, 75, 77)),
    ],
    ids=str,
)
def test_a_build_that_runs_out_of_room_says_so_and_goes_on_later(
    room: dict[str, int], disk: Path, digest: str
) -> None:
    limit(disk, **room)
    result = doit_oci(disk, "bundle:b")
    expect(result, 1)
    assert FULL in result.stderr.decode()
    assert "hint: " in result.stderr.decode()
    recovers(disk, digest, ["bundle:b"])


@pytest.mark.parametrize("name", list(COMMANDS)[1:])
def test_without_any_space_left(name: str, disk: Path, digest: str) -> None:
    expect(doit_oci(disk, "bundle:b"))
    limit(disk, pages=0, inodes=0)
    result = doit_oci(disk, *COMMANDS[name])
    expect(result, 1)
    assert FULL in result.stderr.decode()
    assert "hint: " in result.stderr.decode()
    recovers(disk, digest, COMMANDS[name])


def test_what_has_no_room_is_the_directory_that_was_asked_for(disk: Path, digest: str) -> None:
    expect(doit_oci(disk, "bundle:b"))
    for inodes in (1, 2, 3, 5):
        limit(disk, inodes=inodes)
        result = doit_oci(disk, "export", "b", "out")
        expect(result, 1)
        assert f"error: {disk}/out: {FULL}\n" in result.stderr.decode()


def test_a_cache_without_room_is_said_in_words(disk: Path, tmp_path: Path) -> None:
    state = ["--dir", str(tmp_path / "state")]
    expect(doit_oci(disk, *state, "bundle:b"))
    limit(disk, inodes=0)
    result = doit_oci(disk, *state, "cache", "push", "b")
    expect(result, 1)
    assert re.search(rf"error: \S+remote: blobs/sha256/\w+: {FULL}\n", result.stderr.decode())


def test_a_lock_without_room_is_said_once(disk: Path, tmp_path: Path) -> None:
    limit(disk, pages=0, inodes=0)
    result = doit_oci(disk, "bundle:b", "--dir", str(tmp_path / "state"))
    expect(result, 1)
    assert result.stderr.decode().count("images.lock: " + FULL) == 1


@pytest.mark.parametrize("guard", ["there", "not there, as with a lock that was complete"])
def test_gc_works_on_a_full_disk(guard: str, disk: Path, digest: str) -> None:
    expect(doit_oci(disk, "bundle:b", "bundle:a"))
    if guard != "there":
        shutil.rmtree(disk / "build/locks")
    (disk / "images.toml").write_text('[images.h]\nimage = "builtin:hello-world"\n')
    (disk / "images.lock").unlink()
    limit(disk, pages=0, inodes=0)
    freed = json.loads(expect(doit_oci(disk, "gc", "--json")))
    assert sum(row["freed"] for row in freed) > 1 << 20
    limit(disk)
    expect(doit_oci(disk, "bundle:h"))


def test_a_file_system_with_times_of_whole_seconds(digest: str, tmp_path: Path) -> None:
    """As ext4 has them where its inodes are small: fractions of a time are not there to be held."""
    image, place = tmp_path / "image", tmp_path / "mounted"
    place.mkdir()
    subprocess.run(["truncate", "-s", "64M", image], check=True)
    subprocess.run([need("mkfs.ext4"), "-q", "-I", "128", image], check=True, capture_output=True)
    subprocess.run(["mount", "-o", "loop", image, place], check=True)
    try:
        here = project(place / "here")
        assert expect(doit_oci(here, "digest", "b")) == digest
        assert (here / "build/bundles/b/rootfs/etc/ümläut").stat().st_mtime == 1_600_000_000
        expect(doit_oci(here, "verify"))
        expect(doit_oci(here, "bundle:a"))
        expect(doit_oci(here, "verify"))
        os.utime(here / "build/bundles/b/rootfs/etc/ümläut", (1, 1_600_000_001))
        expect(doit_oci(here, "verify", "b"), 1)
    finally:
        subprocess.run(["umount", place], check=True)


READ_ONLY_WORKS = ["digest b", "bundle:b", "rootfs:b", "verify", "validate", "lock --check",
                   "list", "gc --dry-run", "why bundle:b", "inspect a", "ps", "cache key"]  # fmt: skip
READ_ONLY_REFUSED = [
    "run:b",
    "gc",
    "lock --update",
    "clean b",
    "forget",
    "bundle:a",
]


@pytest.fixture
def read_only(disk: Path) -> Path:
    expect(doit_oci(disk, "bundle:b"))
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    return disk


def test_a_read_only_store_serves_what_is_built(read_only: Path, tmp_path: Path) -> None:
    for words in READ_ONLY_WORKS:
        expect(doit_oci(read_only, *words.split()))
    expect(doit_oci(read_only, "export", "b", str(tmp_path / "out.tar")))


def test_a_read_only_store_refuses_the_rest_in_words(read_only: Path) -> None:
    for words in READ_ONLY_REFUSED:
        result = doit_oci(read_only, *words.split())
        expect(result, 1)
        assert "Read-only file system" in result.stderr.decode(), words
        assert "hint: " in result.stderr.decode(), words


SOMEBODY_ELSES_REFUSED = ["bundle:b", "run:b", "lock --update", "gc", "clean b", "forget",
                          "export b x.tar", "reproduce b", "verify", "report"]  # fmt: skip


def test_somebody_elses_store_is_refused_in_words() -> None:
    with ordinary_user(subordinate=False) as user:
        place = project(Path(user.home) / "theirs")
        expect(doit_oci(place, "bundle:b"))
        for words in SOMEBODY_ELSES_REFUSED:
            result = user.doit_oci(place, *words.split())
            expect(result, 1)
            said = result.stderr.decode()
            assert "Permission denied" in said or "Operation not permitted" in said, words
            assert "hint: " in said or words == "verify", words
        for words in ("list", "lock --check", "cache key"):
            expect(user.doit_oci(place, *words.split()))
        expect(doit_oci(place, "verify"))
        assert steps_done(doit_oci(place, "bundle:b")) == []


def lacking(what: str, place: Path, *words: str) -> subprocess.CompletedProcess[bytes]:
    """One command line where the file system lacks something."""
    return subprocess.run(
        [sys.executable, "-m", "tests.support.refusing", what, "--",
         sys.executable, "-c", DOOR, *words],
        cwd=place,
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        check=False,
    )  # fmt: skip


NEEDED = ("symbolic links", "modes", "locks")
DONE_WITHOUT = {
    "NFS 3": ("extended attributes", "owners", "a way to rename without replacing", "clones"),
    "CIFS": ("hard links, as CIFS says it", "owners", "special files"),
    "no links": ("hard links",),
    "all of it": tuple(name for name in LACKING if name not in NEEDED),
}


@pytest.mark.parametrize("kind", DONE_WITHOUT)
def test_what_a_file_system_lacks_is_done_without(kind: str, digest: str, tmp_path: Path) -> None:
    what = "; ".join(DONE_WITHOUT[kind])
    place = project(tmp_path / "place", '[bundles.c]\nimage = "a"\n')
    expect(lacking(what, place, "bundle", "-n", "2"))
    assert expect(lacking(what, place, "digest", "b", "--locked")) == digest
    expect(lacking(what, place, "verify"))
    for name in ("x.tar", "x"):
        expect(lacking(what, place, "export", "b", name))
        expect(lacking(what, place, "import", name, "--name", f"from-{name}"))
    assert [name for name in os.listdir(place) if name.startswith(".")] == []
    expect(doit_oci(place, "export", "b", "y.tar"))
    assert (place / "x.tar").read_bytes() == (place / "y.tar").read_bytes()
    (place / "images.toml").write_text("")
    expect(lacking(what, place, "lock"))
    expect(lacking(what, place, "gc"))
    assert os.listdir(place / "build/layers/sha256") == [
        name for name in os.listdir(place / "build/layers/sha256") if name.endswith(".lock")
    ]


@pytest.mark.parametrize("what", NEEDED)
def test_what_cannot_be_done_without_is_said(what: str, digest: str, tmp_path: Path) -> None:
    place = project(tmp_path / "place")
    result = lacking(what, place, "bundle:b")
    expect(result, 1)
    assert "hint: " in result.stderr.decode()
    assert "file system" in result.stderr.decode()
    assert expect(doit_oci(place, "digest", "b")) == digest
    expect(doit_oci(place, "verify"))
    if what != "modes":
        expect(lacking(what, place, "export", "b", "x.tar"))
