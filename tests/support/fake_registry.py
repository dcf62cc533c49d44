"""A loopback registry that misbehaves on purpose: drops, lies, stalls and leads astray.

It serves what it was given, correctly, until a test puts a behaviour in the way: a function that
sees each request first and answers it in its own manner, or returns False to let it pass.
"""

from __future__ import annotations

import contextlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.support.images import Document, every, layer, make_image
from tests.support.serving import serving

RANGE = re.compile(r"bytes=(\d+)-(\d*)")


@dataclass
class Asked:
    """One request as it came in."""

    method: str
    path: str
    headers: dict[str, str]

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def log_message(self, format: str, *arguments: object) -> None:
        pass

    def answer(
        self,
        status: int,
        body: bytes = b"",
        *,
        length: int | None = None,
        **headers: str,
    ) -> None:
        """Answer; ``length`` lies about the body, -1 leaves it out; ``_`` in names is ``-``."""
        self.send_response(status)
        if length != -1:
            self.send_header("Content-Length", str(len(body) if length is None else length))
        else:
            self.close_connection = True
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def drop(self) -> None:
        """Close the connection in the middle of whatever was promised."""
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.wfile.flush()

    def serve(self) -> None:
        fake = self.server.fake
        fake.asked.append(Asked(self.command, self.path, dict(self.headers.items())))
        if length := int(self.headers.get("Content-Length") or 0):
            fake.bodies.append(self.rfile.read(length))
        try:
            if not any(behaviour(self) for behaviour in fake.behaviours):
                self._behave_well(fake)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    do_GET = do_HEAD = do_POST = serve  # noqa: N815

    def _behave_well(self, fake: FakeRegistry) -> None:
        kind, name = self.path.partition("?")[0].rsplit("/", 2)[-2:]
        if self.path == "/v2/":
            self.answer(200)
        elif kind == "manifests" and name in fake.manifests:
            raw, media_type = fake.manifests[name]
            digest = {} if fake.says_no_digest else {"Docker_Content_Digest": fake.digests[name]}
            self.answer(200, raw, Content_Type=media_type, **digest)
        elif kind == "blobs" and name in fake.blobs:
            self.answer_blob(fake.blobs[name])
        elif kind == "tags":
            self.answer(200, json.dumps({"tags": sorted(fake.tags)}).encode())
        else:
            error = {"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}
            self.answer(404, json.dumps({"errors": [error]}).encode())

    def answer_blob(self, content: bytes, *, send: int | None = None) -> None:
        """A blob or the range that is asked for; ``send`` bytes of it, and then a drop."""
        asked = RANGE.fullmatch(self.headers.get("Range", ""))
        start = int(asked[1]) if asked else 0
        if asked and start >= len(content):
            self.answer(416, Content_Range=f"bytes */{len(content)}")
            return
        body = content[start:]
        headers = (
            {"Content_Range": f"bytes {start}-{len(content) - 1}/{len(content)}"} if asked else {}
        )
        sent = body if send is None else body[:send]
        self.server.fake.sent += len(sent)
        self.answer(206 if asked else 200, sent, length=len(body), **headers)
        if len(sent) < len(body):
            self.drop()


Behaviour = Callable[[Handler], bool]


@dataclass
class FakeRegistry:
    """What it serves, what it was asked, and what stands in the way."""

    host: str
    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, tuple[bytes, str]] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    tags: list[str] = field(default_factory=list)
    behaviours: list[Behaviour] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    says_no_digest: bool = False
    sent: int = 0

    def add(self, image: Document, tag: str = "1") -> Document:
        """Serve an image under a tag and all its digests."""
        for document in every(image):
            self.blobs |= document.blobs
            for name in (document.digest, *([tag] if document is image else [])):
                self.manifests[name] = (document.raw, document.media_type)
                self.digests[name] = document.digest
        self.tags.append(tag)
        return image

    def paths(self, kind: str = "") -> list[str]:
        """The requests whose path has ``/kind/`` in it."""
        return [str(asked) for asked in self.asked if f"/{kind}/" in asked.path or not kind]

    def once(self, kind: str, act: Callable[[Handler], Any], times: int = 1) -> None:
        """Act on the first ``times`` requests of a kind, ``blobs`` or ``manifests``."""
        left = [times]
        guard = threading.Lock()

        def behave(handler: Handler) -> bool:
            if f"/{kind}/" not in handler.path:
                return False
            with guard:
                left[0] -= 1
                mine = left[0] >= 0
            if mine:
                act(handler)
            return mine

        self.behaviours.append(behave)

    def always(self, kind: str, act: Callable[[Handler], Any]) -> None:
        self.once(kind, act, times=1_000_000)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    fake: FakeRegistry

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is what the tests are about."""


@contextlib.contextmanager
def running_fake() -> Iterator[FakeRegistry]:
    server = Server(("127.0.0.1", 0), Handler)
    server.fake = FakeRegistry(f"127.0.0.1:{server.server_address[1]}")
    with serving(server):
        yield server.fake


@pytest.fixture
def fake_registry() -> Iterator[FakeRegistry]:
    with running_fake() as fake:
        yield fake


@pytest.fixture
def second_registry() -> Iterator[FakeRegistry]:
    with running_fake() as fake:
        yield fake


SIZE = 1_000_000
"""Bytes of the layer that ``add_big`` makes."""


def add_big(fake: FakeRegistry, **more: Any) -> tuple[Document, str, bytes]:
    """An image with one layer of about a megabyte, its reference, and the layer as stored."""
    image = fake.add(make_image(layer(size=SIZE), **more))
    return image, f"{fake.host}/big:1", image.blobs[image.layer_digests()[0]]
