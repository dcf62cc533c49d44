"""A large lock's copy with an entry a line: never trusted when the lock is another one."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from tasks.errors import DeclarationError
from tasks.project.lock import Lock
from tasks.project.workspace import Workspace
from tasks.warm.lock_index import LARGE, open_lock

from .test_lock import DIGEST, locked

COUNT = 200


def write(space: Workspace, suffix: str = "", count: int = COUNT) -> Lock:
    """A lock that has been there for a while."""
    images = {f"i{number}": locked(f"builtin:x{number}{suffix}") for number in range(count)}
    lock = Lock(space.lock).with_images(images)
    for name in images:
        lock = lock.with_bundle(name, "linux/amd64", f"key-{name}", DIGEST)
    partial = space.project / "partial"
    partial.write_bytes(lock.to_bytes())
    partial.rename(space.lock)
    time.sleep(0.06)
    return lock


@pytest.fixture
def space(tmp_path: Path) -> Workspace:
    found = Workspace(project=tmp_path, state=tmp_path / "build")
    write(found)
    return found


def test_a_large_lock_is_read_from_its_copy(space: Workspace) -> None:
    whole = open_lock(space)
    assert space.lock.stat().st_size > LARGE
    assert space.lock_index.exists()
    entry = open_lock(space)
    assert entry.image("i7") == whole.image("i7") == locked("builtin:x7")
    assert entry.bundle("i7", "linux/amd64") == ("key-i7", DIGEST)
    assert entry.images == whole.images
    assert entry.to_bytes() == space.lock.read_bytes()
    assert "i7" in entry
    assert "zz" not in entry
    assert entry.image("zz") is None


def test_one_entry_is_read_without_the_lock_itself(space: Workspace) -> None:
    """What the copy says is believed while the signature is the lock's."""
    open_lock(space)
    content = space.lock_index.read_bytes()
    space.lock_index.write_bytes(content.replace(b'"builtin:x1"', b'"builtin:copied"'))
    found = open_lock(space).image("i1")
    assert found is not None
    assert found.reference == "builtin:copied"


def test_a_small_lock_needs_no_copy(tmp_path: Path) -> None:
    space = Workspace(project=tmp_path, state=tmp_path / "build")
    write(space, count=3)
    assert open_lock(space).images == ("i0", "i1", "i2")
    assert not space.lock_index.exists()


def test_a_lock_that_was_replaced_is_read(space: Workspace) -> None:
    open_lock(space)
    write(space, "new")
    found = open_lock(space).image("i7")
    assert found is not None
    assert found.reference == "builtin:x7new"


def test_a_lock_that_was_edited_in_place_and_kept_its_size_and_time_is_read(
    space: Workspace,
) -> None:
    open_lock(space)
    before = space.lock.stat()
    with space.lock.open("r+b") as file:
        content = file.read().replace(b'builtin:x7"', b'builtin:y7"')
        file.seek(0)
        file.write(content)
    os.utime(space.lock, ns=(before.st_atime_ns, before.st_mtime_ns))
    found = open_lock(space).image("i7")
    assert found is not None
    assert found.reference == "builtin:y7"


def test_a_lock_that_is_too_young_leaves_no_copy(space: Workspace) -> None:
    space.lock.write_bytes(space.lock.read_bytes())
    open_lock(space)
    assert not space.lock_index.exists()


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b"[]", b'{\n"version": 1,\n'])
def test_a_damaged_copy_is_made_anew(space: Workspace, content: bytes) -> None:
    open_lock(space)
    space.lock_index.write_bytes(content)
    assert open_lock(space).image("i7") == locked("builtin:x7")
    assert len(space.lock_index.read_bytes()) > LARGE


def test_a_damaged_lock_is_said_although_there_is_a_copy(space: Workspace) -> None:
    open_lock(space)
    space.lock.write_bytes(b"<<<<<<< HEAD\n" + space.lock.read_bytes())
    with pytest.raises(DeclarationError, match="not JSON"):
        open_lock(space)


def test_a_state_directory_that_cannot_be_written_is_no_hindrance(space: Workspace) -> None:
    space.state.write_text("a file, not a folder")
    assert open_lock(space).image("i7") == locked("builtin:x7")


def test_readers_beside_a_writer_see_one_lock_or_the_other(space: Workspace) -> None:
    """Each of the writer's locks is the same in all of its entries."""
    ended = threading.Event()

    def replace() -> None:
        for number in range(8):
            write(space, f"-{number}")
        ended.set()

    writer = threading.Thread(target=replace)
    writer.start()
    while not ended.is_set():
        lock = open_lock(space)
        seen = {lock.image(name).reference.partition("-")[2] for name in ("i1", "i199")}  # type: ignore[union-attr]
        assert len(seen) == 1
    writer.join()
    last = open_lock(space).image("i1")
    assert last is not None
    assert last.reference == "builtin:x1-7"
