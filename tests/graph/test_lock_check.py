"""``lock --check``: a record says it of what was compared before, and the lock is not held whole."""

from __future__ import annotations

import json
import os
import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.locking import Locking
from tasks.project.lock import Lock
from tasks.project.plan import Options
from tasks.project_folder import open_plan
from tasks.warm.bundle import signature
from tasks.warm.lock_index import write_lock_index
from tests.project.test_lock import DIGEST, locked
from tests.support.command import doit_oci, expect, loads_doit

COUNT = 1000
HEAD = '[defaults]\nplatform = "linux/amd64"\n'


def write_project(folder: Path, count: int) -> Path:
    """Images that a lock of years ago holds, with a bundle of each."""
    names = [f"i{number}" for number in range(count)]
    tables = [f'[images.{name}]\nimage = "builtin:{name}"\n' for name in names]
    (folder / "images.toml").write_text(HEAD + "".join(tables))
    lock = Lock(folder).with_images({name: locked(f"builtin:{name}") for name in names})
    lock = lock.with_bundles({(name, "linux/amd64"): ("k", DIGEST) for name in names})
    (folder / "images.lock").write_bytes(lock.to_bytes())
    return folder


@pytest.fixture
def project(tmp_path: Path) -> Path:
    write_project(tmp_path, 3)
    expect(doit_oci(tmp_path, "lock", "--check"))
    return tmp_path


def replace(path: Path, old: bytes, new: bytes) -> None:
    """Change a file so that its size and times do not tell."""
    times = path.stat()
    content = path.read_bytes()
    assert len(old) == len(new)
    assert old in content
    path.write_bytes(content.replace(old, new, 1))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def test_what_was_compared_before_is_known(project: Path) -> None:
    assert not loads_doit(project, "lock", "--check")
    assert loads_doit(project, "lock", "--check", "i1")


def test_the_same_contents_in_another_clone_are_known(project: Path, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    (clone / "build").mkdir(parents=True)
    shutil.copytree(project / "build/ready", clone / "build/ready")
    for name in ("images.toml", "images.lock"):
        (clone / name).write_bytes((project / name).read_bytes())
    assert not loads_doit(clone, "lock", "--check")


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("images.toml", b"builtin:i1", b"builtin:j1"),
        ("images.lock", b"builtin:i1", b"builtin:j1"),
        ("images.lock", b'"linux/amd64": {\n          "config"', b'"linux/arm64": {\n          "config"'),
    ],
    ids=["the declaration", "the lock", "a locked platform"],
)  # fmt: skip
def test_another_content_is_compared(project: Path, name: str, old: bytes, new: bytes) -> None:
    replace(project / name, old, new)
    expect(doit_oci(project, "lock", "--check"), 3)
    expect(doit_oci(project, "lock", "--check"), 3)


def no_json(record: Path) -> None:
    record.write_bytes(b"{")


def of_another_version(record: Path) -> None:
    record.write_text(json.dumps(json.loads(record.read_text()) | {"checked_by": ["0"]}))


def of_another_machine(record: Path) -> None:
    record.write_text(json.dumps(json.loads(record.read_text()) | {"machine": "pdp11"}))


def of_nothing(record: Path) -> None:
    record.write_text("null")


@pytest.mark.parametrize("spoil", [no_json, of_another_version, of_another_machine, of_nothing])
def test_a_record_of_something_else_is_not_believed(
    project: Path, spoil: Callable[[Path], None]
) -> None:
    spoil(project / "build/ready/.lock.json")
    assert loads_doit(project, "lock", "--check")
    assert not loads_doit(project, "lock", "--check")


def test_a_lock_that_is_gone_is_no_longer_known(project: Path) -> None:
    (project / "images.lock").unlink()
    expect(doit_oci(project, "lock", "--check"), 3)


def test_of_a_large_lock_one_entry_is_in_memory(tmp_path: Path) -> None:
    plan = open_plan(Options(quiet=True), write_project(tmp_path, COUNT))
    write_lock_index(plan.workspace, plan.lock, signature(str(plan.workspace.lock)))
    plan = open_plan(Options(quiet=True), tmp_path)
    names = list(plan.images.images)
    plan.images.image(names[-1])
    tracemalloc.start()
    try:
        assert Locking(plan).unfit(names) == {}
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    all_entries_take_four_times_the_file = plan.workspace.lock.stat().st_size * 4
    assert peak < all_entries_take_four_times_the_file / 2


def test_what_is_wrong_of_many_is_said_in_their_order(tmp_path: Path) -> None:
    write_project(tmp_path, COUNT)
    lock = tmp_path / "images.lock"
    found = json.loads(lock.read_bytes())
    del found["images"]["i7"]
    found["images"]["i600"]["reference"] = "builtin:other"
    found["images"]["i9"]["platforms"] = {}
    found["images"]["gone"] = {"damaged": True}
    lock.write_text(json.dumps(found))
    failed = doit_oci(tmp_path, "lock", "--check")
    expect(failed, 3)
    said = [line.strip() for line in failed.stderr.decode().splitlines() if line.startswith("  ")]
    assert said == [
        "image i7 is declared and not locked",
        "image i9 is not locked for linux/amd64",
        "image i600 is declared as builtin:i600, locked as builtin:other",
        "image gone is locked and no longer declared",
    ]
