"""Pushing a blob: in one piece, and on from where it broke off wherever the registry says that."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.errors import RegistryError, StoreError
from tasks.oci.descriptor import Descriptor
from tasks.oci.digest import digest_bytes
from tasks.store.registry.client import RegistryClient
from tasks.store.registry.endpoint import Endpoint
from tasks.store.registry.push import has_blob, parse_received, push_blob, push_bytes
from tests.support.docker_registry import RegistryServer
from tests.support.pulling import QUICK, Noting
from tests.support.serving import serving

CONTENT = bytes(range(256)) * 4096
DESCRIPTOR = Descriptor(
    media_type="application/octet-stream", digest=digest_bytes(CONTENT), size=len(CONTENT)
)


@dataclass
class Uploads:
    """A registry of one blob; ``breaks`` says after how many bytes each request with a body ends.

    ``remembers`` is whether it tells what it has after a break; ``spoils`` changes a byte then.
    """

    host: str
    breaks: list[int] = field(default_factory=list)
    remembers: bool = True
    spoils: bool = False
    received: bytearray = field(default_factory=bytearray)
    stored: bytes | None = None
    taken: int = 0
    asked: list[str] = field(default_factory=list)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, format: str, *arguments: object) -> None:
        pass

    def say(self, status: int, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def handle_any(self) -> None:
        uploads = self.server.uploads
        uploads.asked.append(self.command)
        if self.command == "POST":
            uploads.received.clear()
            self.say(202, Location="/v2/a/blobs/uploads/1?_state=x")
        elif self.command == "GET":
            known = uploads.remembers
            last = max(len(uploads.received) - 1, 0)
            self.say(204 if known else 404, Range=f"0-{last}", Location="/v2/a/blobs/uploads/1")
        elif self.take(uploads):
            self.answer(uploads)

    do_GET = do_POST = do_PUT = do_PATCH = handle_any  # noqa: N815

    def take(self, uploads: Uploads) -> bool:
        """Read the body; False where the connection is broken off in it."""
        length = int(self.headers.get("Content-Length") or 0)
        wanted = min(uploads.breaks.pop(0), length) if length and uploads.breaks else length
        content = self.rfile.read(wanted)
        uploads.taken += len(content)
        uploads.received += content
        if wanted == length:
            return True
        if uploads.spoils:
            uploads.received[0] ^= 1
        self.close_connection = True
        return False

    def answer(self, uploads: Uploads) -> None:
        if self.command == "PATCH":
            start = re.fullmatch(r"(\d+)-(\d+)", self.headers["Content-Range"])
            assert start
            assert int(start[2]) + 1 == len(uploads.received) == len(CONTENT)
            self.say(202, Location="/v2/a/blobs/uploads/2")
            return
        (digest,) = parse_qs(urlsplit(self.path).query)["digest"]
        if str(digest_bytes(bytes(uploads.received))) != digest:
            self.say(400)
            return
        uploads.stored = bytes(uploads.received)
        self.say(201, Location=f"/v2/a/blobs/{digest}")


class Server(ThreadingHTTPServer):
    daemon_threads = True
    uploads: Uploads


@pytest.fixture
def uploads() -> Iterator[Uploads]:
    server = Server(("127.0.0.1", 0), Handler)
    server.uploads = Uploads(f"127.0.0.1:{server.server_address[1]}")
    with serving(server):
        yield server.uploads


@pytest.fixture
def blob(tmp_path: Path) -> Path:
    path = tmp_path / "blob"
    path.write_bytes(CONTENT)
    return path


@contextlib.contextmanager
def client(host: str, repository: str = "a") -> Iterator[RegistryClient]:
    found = RegistryClient(
        Endpoint(host=host, repository=repository, name=f"{host}/{repository}", insecure=True),
        environ={},
        progress=Noting(),
        limits=QUICK,
    )
    try:
        yield found
    finally:
        found.close()


def test_blob_is_sent_in_one_piece(uploads: Uploads, blob: Path) -> None:
    with client(uploads.host) as pushing:
        assert push_blob(pushing, DESCRIPTOR, blob) == len(CONTENT)
    assert uploads.stored == CONTENT
    assert uploads.asked == ["POST", "PUT"]


def test_upload_that_breaks_off_ten_times_goes_on_each_time(uploads: Uploads, blob: Path) -> None:
    uploads.breaks = [len(CONTENT) // 20] * 10
    with client(uploads.host) as pushing:
        push_blob(pushing, DESCRIPTOR, blob)
    assert uploads.stored == CONTENT
    assert uploads.asked.count("GET") == 10
    assert uploads.taken == len(CONTENT)


def test_bytes_in_memory_go_on_too(uploads: Uploads) -> None:
    uploads.breaks = [1000]
    with client(uploads.host) as pushing:
        push_bytes(pushing, DESCRIPTOR, CONTENT)
    assert (uploads.stored, uploads.taken) == (CONTENT, len(CONTENT))


def test_registry_that_forgets_gets_the_blob_anew(uploads: Uploads, blob: Path) -> None:
    uploads.breaks, uploads.remembers = [500_000, 500_000], False
    with client(uploads.host) as pushing:
        push_blob(pushing, DESCRIPTOR, blob)
    assert uploads.stored == CONTENT
    assert uploads.asked.count("POST") == 3
    assert "PATCH" not in uploads.asked


def test_blob_put_together_wrongly_is_sent_once_more(uploads: Uploads, blob: Path) -> None:
    uploads.breaks, uploads.spoils = [500_000], True
    with client(uploads.host) as pushing:
        push_blob(pushing, DESCRIPTOR, blob)
    assert uploads.stored == CONTENT
    assert uploads.asked == ["POST", "PUT", "GET", "PATCH", "PUT", "POST", "PUT"]


def test_upload_that_never_gets_on_ends(uploads: Uploads, blob: Path) -> None:
    uploads.breaks = [0] * 100
    with client(uploads.host) as pushing, pytest.raises(RegistryError):
        push_blob(pushing, DESCRIPTOR, blob)
    assert uploads.asked.count("PUT") == QUICK.attempts


def test_content_that_the_registry_refuses_is_not_sent_again(uploads: Uploads) -> None:
    with client(uploads.host) as pushing, pytest.raises(RegistryError, match="400"):
        push_bytes(pushing, DESCRIPTOR, CONTENT[:-1] + b"?")
    assert uploads.asked == ["POST", "PUT"]


def test_blob_that_cannot_be_read_is_said(uploads: Uploads, tmp_path: Path) -> None:
    with client(uploads.host) as pushing, pytest.raises(StoreError, match="missing"):
        push_blob(pushing, DESCRIPTOR, tmp_path / "missing")


def test_real_registry_takes_a_blob_and_mounts_it(
    docker_registry: RegistryServer, tmp_path: Path, blob: Path
) -> None:
    empty = DESCRIPTOR.replacing(digest=digest_bytes(b""), size=0)
    (tmp_path / "empty").touch()
    with client(docker_registry.host, "push/one") as pushing:
        assert push_blob(pushing, DESCRIPTOR, blob) == len(CONTENT)
        assert has_blob(pushing, DESCRIPTOR)
        push_blob(pushing, empty, tmp_path / "empty")
        assert has_blob(pushing, empty)
    with client(docker_registry.host, "push/two") as pushing:
        assert push_blob(pushing, DESCRIPTOR, blob, mount_from="push/one") == 0
        assert has_blob(pushing, DESCRIPTOR)
    with client(docker_registry.host, "push/three") as pushing:
        assert push_blob(pushing, DESCRIPTOR, blob, mount_from="push/none") == len(CONTENT)


@given(st.integers(1, 10**15))
def test_received_range_is_read(last: int) -> None:
    assert parse_received(f"0-{last}") == parse_received(f"bytes=0-{last}") == last + 1


@pytest.mark.parametrize("text", ["", "0", "0-", "0-0", "1-5", "0-x", "0-\u0661", "-5", "0-5-6"])
def test_range_that_says_nothing_is_nothing(text: str) -> None:
    assert parse_received(text) == 0
