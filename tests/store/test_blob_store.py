"""The blob store: a name means complete and verified bytes, whoever is interrupted or damaged."""

from __future__ import annotations

import errno
import io
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from tasks.errors import DigestMismatch, SizeMismatch, StoreError
from tasks.oci.descriptor import Descriptor
from tasks.oci.digest import digest_bytes
from tasks.store.atomic import write_atomic
from tasks.store.blob_store import BlobStore, PartialBlob
from tasks.store.settling import Settling

CONTENT = b"0123456789" * 1000


def described(content: bytes, algorithm: str = "sha256", size: int | None = None) -> Descriptor:
    return Descriptor(
        media_type="x",
        digest=digest_bytes(content, algorithm),
        size=len(content) if size is None else size,
    )


def put_stream(store: BlobStore, descriptor: Descriptor, stream: BinaryIO) -> None:
    with Settling() as settling:
        store.put_stream(descriptor, stream, settling)


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "blobs")


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
@pytest.mark.parametrize("content", [b"", b"x", CONTENT], ids=["empty", "one byte", "many"])
def test_stream_is_stored_under_its_digest(
    store: BlobStore, content: bytes, algorithm: str
) -> None:
    descriptor = described(content, algorithm)
    assert not store.has_blob(descriptor)
    put_stream(store, descriptor, io.BytesIO(content))
    assert store.has_blob(descriptor)
    with store.open_blob(descriptor) as reader:
        assert reader.read() == content
    assert store.path(descriptor.digest).read_bytes() == content
    assert not list(store.tmp.iterdir())


@pytest.mark.parametrize(
    ("descriptor", "error"),
    [
        (described(CONTENT, size=len(CONTENT) - 1), SizeMismatch),
        (described(CONTENT, size=len(CONTENT) + 1), SizeMismatch),
        (described(b"x" * len(CONTENT)), DigestMismatch),
    ],
    ids=["a byte too many", "a byte too few", "other bytes"],
)
def test_wrong_stream_gets_no_name(
    store: BlobStore, descriptor: Descriptor, error: type[Exception]
) -> None:
    with pytest.raises(error):
        put_stream(store, descriptor, io.BytesIO(CONTENT))
    assert not list(store.digests())


def test_damaged_blob_is_found_while_it_is_read_and_then_gone(store: BlobStore) -> None:
    descriptor = described(CONTENT)
    store.put_blob(CONTENT)
    store.path(descriptor.digest).write_bytes(CONTENT[:-1] + b"?")
    with store.open_blob(descriptor) as reader, pytest.raises(DigestMismatch, match="run the same"):
        reader.drain()
    assert not store.has_blob(descriptor)
    store.put_blob(CONTENT)
    assert store.get_blob(descriptor.digest, limit=1 << 20) == CONTENT


def test_blob_of_another_size_is_not_there_and_is_replaced(store: BlobStore) -> None:
    descriptor = described(CONTENT)
    store.put_blob(CONTENT)
    store.path(descriptor.digest).write_bytes(b"short")
    assert not store.has_blob(descriptor)
    with pytest.raises(SizeMismatch):
        store.open_blob(descriptor)
    put_stream(store, descriptor, io.BytesIO(CONTENT))
    assert store.path(descriptor.digest).read_bytes() == CONTENT


def test_link_in_place_of_a_blob_is_no_blob(store: BlobStore, tmp_path: Path) -> None:
    descriptor = described(CONTENT)
    path = store.path(descriptor.digest)
    path.parent.mkdir(parents=True)
    (tmp_path / "elsewhere").write_bytes(CONTENT)
    path.symlink_to(tmp_path / "elsewhere")
    assert not store.has_blob(descriptor)


def test_partial_blob_is_continued_where_it_was_left(store: BlobStore) -> None:
    descriptor = described(CONTENT)
    with store.partial(descriptor) as partial:
        partial.write(CONTENT[:4321])
    with store.partial(descriptor) as partial:
        assert partial.offset == 4321
        partial.write(CONTENT[4321:])
        partial.check()
        partial.settle()
    assert store.has_blob(descriptor)
    assert not list(store.tmp.iterdir())


def test_partial_blob_that_is_too_long_is_begun_again(store: BlobStore) -> None:
    descriptor = described(CONTENT)
    with store.partial(descriptor) as partial:
        partial.write(b"x")
        partial.path.write_bytes(CONTENT + b"more")
    with store.partial(descriptor) as partial:
        assert partial.offset == 0


WRITER = """
import sys, time
sys.path.insert(0, {root!r})
from pathlib import Path
from tasks.store.blob_store import BlobStore
from tests.store.test_blob_store import CONTENT, described
store = BlobStore(Path({blobs!r}))
with store.partial(described(CONTENT)) as partial:
    if partial.is_stored:
        print("stored", flush=True)
        sys.exit()
    partial.write(CONTENT[:5000])
    print("half", flush=True)
    sys.stdin.read(1)
    partial.write(CONTENT[5000:])
    partial.check()
    partial.settle()
print("done", flush=True)
"""


def writer(store: BlobStore) -> subprocess.Popen[str]:
    root = str(Path(__file__).resolve().parents[2])
    return subprocess.Popen(
        [sys.executable, "-c", WRITER.format(root=root, blobs=str(store.root))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=root,
    )


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline().strip()


def test_two_processes_at_one_blob_do_not_repeat_each_other(store: BlobStore) -> None:
    with writer(store) as first:
        assert said(first) == "half"
        with writer(store) as second:
            time.sleep(0.3)
            assert not store.has_blob(described(CONTENT))
            first.communicate("\n")
            assert said(second) == "stored"
    assert store.has_blob(described(CONTENT))


def test_killed_writer_leaves_no_name_and_what_it_had(store: BlobStore) -> None:
    with writer(store) as process:
        assert said(process) == "half"
        process.send_signal(signal.SIGKILL)
    assert not list(store.digests())
    with store.partial(described(CONTENT)) as partial:
        assert partial.offset == 5000


def test_small_blob_is_verified_when_it_is_taken(store: BlobStore) -> None:
    digest = store.put_blob(CONTENT)
    with pytest.raises(SizeMismatch):
        store.get_blob(digest, limit=10)
    store.path(digest).write_bytes(b"?")
    with pytest.raises(DigestMismatch):
        store.get_blob(digest, limit=1 << 20)
    with pytest.raises(StoreError):
        store.get_blob(digest, limit=1 << 20)


def test_atomic_write_replaces_whole_and_leaves_nothing_beside(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b"
    write_atomic(path, b"one")
    write_atomic(path, b"two", tmp=tmp_path / "tmp")
    assert path.read_bytes() == b"two"
    assert list(path.parent.iterdir()) == [path]
    assert not list((tmp_path / "tmp").iterdir())


def test_atomic_write_says_what_is_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match="file/x"):
        write_atomic(tmp_path / "file" / "x", b"")
    (tmp_path / "folder" / "x").mkdir(parents=True)
    with pytest.raises(StoreError):
        write_atomic(tmp_path / "folder" / "x", b"")
    assert os.listdir(tmp_path / "folder") == ["x"]


def taken(store: BlobStore, content: bytes) -> PartialBlob:
    """A blob that came whole and was checked, its lock kept."""
    with store.partial(described(content)) as partial:
        partial.write(content)
        partial.check()
        return partial.hand_over()


def settle(*partials: PartialBlob, failure: Exception | None = None) -> None:
    """Settle blobs, and then fail, as a transfer may."""
    with Settling() as settling:
        for partial in partials:
            settling.take(partial)
        if failure:
            raise failure


@pytest.mark.parametrize("count", [1, 2, 9])
def test_blobs_settle_aside_and_have_their_names_in_the_end(store: BlobStore, count: int) -> None:
    contents = [CONTENT + bytes([number]) for number in range(count)]
    settle(*(taken(store, content) for content in contents))
    assert {str(digest) for digest in store.digests()} == {
        str(described(content).digest) for content in contents
    }
    assert not list(store.tmp.iterdir())


def test_blob_that_cannot_settle_is_said_and_keeps_no_other_from_it(store: BlobStore) -> None:
    in_the_way = store.path(described(CONTENT).digest)
    in_the_way.mkdir(parents=True)
    with pytest.raises(StoreError, match=in_the_way.name):
        settle(taken(store, CONTENT), taken(store, b"x"))
    assert store.has_blob(described(b"x"))
    in_the_way.rmdir()
    with store.partial(described(CONTENT)) as partial:
        assert not partial.is_stored  # and nobody holds its lock any more


def test_failure_of_the_pull_is_what_is_raised(store: BlobStore) -> None:
    with pytest.raises(ZeroDivisionError):
        settle(taken(store, CONTENT), failure=ZeroDivisionError())
    assert store.has_blob(described(CONTENT))


SHORT = 1 << 20
LARGE = bytes(2 * SHORT + 1)


@pytest.fixture
def short_stretches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blobs of a few megabytes are as large as others of hundreds."""
    monkeypatch.setattr("tasks.store.settling.STRETCH", SHORT)


@pytest.mark.usefixtures("short_stretches")
def test_large_blob_is_on_the_disk_before_it_is_whole(store: BlobStore) -> None:
    """The thread that puts it there takes its time; what is asked is that it does so meanwhile."""
    with Settling() as settling, store.partial(described(LARGE)) as partial:
        partial.write(LARGE[:SHORT])
        assert partial.unsynced == SHORT
        settling.hasten(partial)
        deadline = time.monotonic() + 60
        while partial.unsynced and time.monotonic() < deadline:
            time.sleep(0.001)
        assert partial.unsynced == 0
        partial.write(LARGE[SHORT:])
        partial.check()
        settling.take(partial)
    assert store.has_blob(described(LARGE))


@pytest.mark.usefixtures("short_stretches")
def test_blob_that_was_closed_is_hastened_in_vain(store: BlobStore) -> None:
    with Settling() as settling:
        with store.partial(described(LARGE)) as partial:
            partial.write(LARGE[:SHORT])
        settling.hasten(partial)
    assert partial.path.stat().st_size == SHORT


@pytest.mark.usefixtures("short_stretches")
@pytest.mark.parametrize("call", ["fdatasync", "fsync"])
def test_disk_that_fails_on_the_way_gives_no_name(
    store: BlobStore, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """The kernel tells of a failed write once: here the first time, in mid-blob or at its end."""
    works = getattr(os, call)
    told = threading.Event()

    def fail(descriptor: int) -> None:
        monkeypatch.setattr(os, call, works)
        told.set()
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    class Stream(io.BytesIO):
        """Ends when the disk has failed, where that is to be in mid-blob."""

        def readinto(self, buffer: Any) -> int:
            count = super().readinto(buffer)
            if not count and call == "fdatasync":
                told.wait(60)
            return count

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(StoreError, match="Input/output error"):
        put_stream(store, described(LARGE), Stream(LARGE))
    assert not store.has_blob(described(LARGE))
    assert not list(store.tmp.iterdir())
