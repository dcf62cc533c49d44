"""Fetching blobs from registries that drop, lie, stall and lead astray."""

from __future__ import annotations

import shutil
import socket
import struct
import threading
import time
from collections.abc import Callable
from http.server import HTTPServer
from pathlib import Path
from typing import Any

import pytest

from tasks.errors import ContentError, DigestMismatch, OfflineError, RegistryError, SizeMismatch
from tasks.oci.registry_settings import Mirror, Registry
from tests.support.fake_registry import SIZE, FakeRegistry, Handler, add_big
from tests.support.images import layer, make_image
from tests.support.layers import item, tar
from tests.support.layout import write_layout
from tests.support.pulling import QUICK, Noting, Puller
from tests.support.serving import serving


def test_every_blob_is_fetched_once_and_then_never_again(
    fake_registry: FakeRegistry, puller: Puller
) -> None:
    image = fake_registry.add(make_image(*(layer(seed=n, size=9000 * n) for n in (1, 2, 3))))
    name = f"{fake_registry.host}/a:1"
    locked = puller.pull(name)
    assert puller.stored() == {image.digest, *image.blobs}
    assert len(fake_registry.paths("blobs")) == len(image.blobs)
    before = len(fake_registry.asked)
    assert puller.resolve(name, known=locked) == locked
    assert puller.fetch(name, locked)["blobs"] == "0"
    assert len(fake_registry.asked) == before
    assert not puller.leftovers()


class Looking(Noting):
    """Looks at what is in the store whenever a blob is told to be done."""

    def __init__(self, blobs: Path) -> None:
        super().__init__()
        self.blobs = blobs
        self.begun: list[str] = []
        self.done: list[tuple[str, bool]] = []

    def start(self, kind: str, subject: str, total: int | None = None, why: str = "") -> int:
        self.begun.append(subject)
        return len(self.begun) - 1

    def finish(self, item: int, outcome: str = "done") -> None:
        subject = self.begun[item]
        self.done.append((outcome, any(self.blobs.glob(f"sha256/{subject}*"))))


@pytest.mark.parametrize("place", ["registry", "layout"])
def test_blob_is_done_when_it_has_its_name(
    place: str, fake_registry: FakeRegistry, puller: Puller
) -> None:
    puller.progress = looking = Looking(puller.blobs)
    if place == "registry":
        fake_registry.add(make_image(*(layer(seed=n, size=9000 * n) for n in (1, 2, 3, 4))))
        puller.pull(f"{fake_registry.host}/a:1")
    else:
        write_layout(puller.state / "layout", *(tar([item("f", "x" * n)]) for n in (1, 2, 3, 4)))
        puller.pull("oci:layout")
    assert looking.done == [("done", True)] * 4


def test_largest_blob_is_asked_for_first(fake_registry: FakeRegistry, puller: Puller) -> None:
    image = fake_registry.add(make_image(*(layer(seed=n, size=n) for n in (5000, 90_000, 20_000))))
    name = f"{fake_registry.host}/a:1"
    locked = puller.resolve(name)
    fake_registry.asked.clear()
    puller.fetch(name, locked, jobs=1)
    by_size = sorted(image.layer_digests(), key=lambda digest: -len(image.blobs[digest]))
    assert fake_registry.paths("blobs") == [f"GET /v2/a/blobs/{digest}" for digest in by_size]


def test_transfer_that_is_dropped_ten_times_continues_each_time(
    fake_registry: FakeRegistry, puller: Puller
) -> None:
    _, name, content = add_big(fake_registry)
    locked = puller.resolve(name)
    fake_registry.once(
        "blobs", lambda handler: handler.answer_blob(content, send=SIZE // 11), times=10
    )
    puller.fetch(name, locked)
    assert content == puller.store.path(locked_layer(locked)).read_bytes()
    assert fake_registry.sent < 1.25 * len(content)
    assert len(fake_registry.paths("blobs")) > 10


def locked_layer(locked: Any) -> Any:
    return locked.platforms["linux/amd64"].layers[0].descriptor.digest


def test_next_run_continues_where_the_last_one_stopped(
    fake_registry: FakeRegistry, puller: Puller
) -> None:
    _, name, content = add_big(fake_registry)
    locked = puller.resolve(name)
    fake_registry.once("blobs", lambda handler: handler.answer_blob(content, send=700_000))
    puller.limits = QUICK.replacing(drops=0)
    with pytest.raises(RegistryError, match="broke off after 700000 of"):
        puller.fetch(name, locked)
    assert locked_layer(locked) not in set(puller.store.digests())
    fake_registry.sent = 0
    puller.fetch(name, locked)
    assert fake_registry.asked[-1].headers["Range"] == "bytes=700000-"
    assert fake_registry.sent == len(content) - 700_000
    assert not puller.leftovers()


def test_rotten_partial_blob_is_noticed_and_begun_again(
    fake_registry: FakeRegistry, puller: Puller
) -> None:
    _, name, content = add_big(fake_registry)
    locked = puller.resolve(name)
    descriptor = locked.platforms["linux/amd64"].layers[0].descriptor
    with puller.store.partial(descriptor) as partial:
        partial.write(b"?" * 5000)
    puller.fetch(name, locked)
    assert puller.store.path(descriptor.digest).read_bytes() == content


def whole(handler: Handler, content: bytes) -> None:
    handler.answer(200, content)


AFTER_A_DROP: dict[str, Callable[[Handler, bytes], None]] = {
    "200 and the whole blob": whole,
    "416": lambda handler, _: handler.answer(416, Content_Range="bytes */1"),
    "206 from another place": lambda handler, content: handler.answer(
        206, content[1:], Content_Range=f"bytes 1-{len(content) - 1}/{len(content)}"
    ),
    "206 of another size": lambda handler, content: handler.answer(
        206, content[5000:], Content_Range=f"bytes 5000-{len(content)}/{len(content) + 1}"
    ),
    "206 without Content-Range": lambda handler, content: handler.answer(206, content[5000:]),
    "206 with a garbled Content-Range": lambda handler, content: handler.answer(
        206, content[5000:], Content_Range="bytes five-ten/all"
    ),
}


@pytest.mark.parametrize("act", AFTER_A_DROP.values(), ids=AFTER_A_DROP)
def test_range_that_is_not_honoured_means_from_the_start(
    act: Callable[[Handler, bytes], None], fake_registry: FakeRegistry, puller: Puller
) -> None:
    _, name, content = add_big(fake_registry)
    locked = puller.resolve(name)
    fake_registry.once("blobs", lambda handler: handler.answer_blob(content, send=5000))
    fake_registry.once("blobs", lambda handler: act(handler, content))
    puller.fetch(name, locked)
    assert puller.store.path(locked_layer(locked)).read_bytes() == content


def chunked(handler: Handler, *chunks: bytes, end: bool = True) -> None:
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    for chunk in chunks:
        handler.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
    if end:
        handler.wfile.write(b"0\r\n\r\n")
    else:
        handler.drop()


GOOD: dict[str, Callable[[Handler, bytes], None]] = {
    "in chunks": lambda handler, content: chunked(handler, content[:7], content[7:]),
    "with a length that cannot be read": lambda handler, content: handler.answer(
        200, content, length=-1, Content_Length="\xb2"
    ),
    "until the connection closes": lambda handler, content: handler.answer(200, content, length=-1),
}


@pytest.mark.parametrize("act", GOOD.values(), ids=GOOD)
def test_blob_without_a_length_is_read(
    act: Callable[[Handler, bytes], None], fake_registry: FakeRegistry, puller: Puller
) -> None:
    _, name, content = add_big(fake_registry)
    locked = puller.resolve(name)
    fake_registry.once("blobs", lambda handler: act(handler, content))
    puller.fetch(name, locked)
    assert puller.store.path(locked_layer(locked)).read_bytes() == content
    assert len(fake_registry.paths("blobs")) == 2


def endless(handler: Handler) -> None:
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    while True:
        handler.wfile.write(b"10000\r\n" + bytes(0x10000) + b"\r\n")


BAD: dict[str, tuple[Callable[[Handler, bytes], None], type[Exception]]] = {
    "wrong bytes": (lambda h, c: h.answer(200, bytes(len(c))), DigestMismatch),
    "a byte too few": (lambda h, c: h.answer(200, c[:-1]), SizeMismatch),
    "a byte too many": (lambda h, c: h.answer(200, c + b"x"), SizeMismatch),
    "endless": (lambda h, _: endless(h), SizeMismatch),
    "a byte too many in chunks": (lambda h, c: chunked(h, c, b"x"), SizeMismatch),
    "HTML": (lambda h, _: h.answer(200, b"<html>sign in</html>"), SizeMismatch),
    "encoded": (lambda h, c: h.answer(200, c, Content_Encoding="gzip"), ContentError),
    "not found": (lambda h, _: h.answer(404), RegistryError),
    "forbidden": (lambda h, _: h.answer(403), RegistryError),
    "teapot": (lambda h, _: h.answer(418), RegistryError),
    "server error": (lambda h, _: h.answer(500), RegistryError),
}


@pytest.mark.parametrize(("act", "error"), BAD.values(), ids=BAD)
def test_wrong_answer_ends_the_pull_without_a_name(
    act: Callable[[Handler, bytes], None],
    error: type[Exception],
    fake_registry: FakeRegistry,
    puller: Puller,
) -> None:
    image, name, content = add_big(fake_registry)
    locked = puller.resolve(name)
    fake_registry.asked.clear()
    fake_registry.always("blobs", lambda handler: act(handler, content))
    with pytest.raises(error) as caught:
        puller.fetch(name, locked)
    assert "Traceback" not in str(caught.value)
    assert image.layer_digests()[0] not in puller.stored()
    assert len(fake_registry.asked) == 1


def reset(handler: Handler) -> None:
    """Break the connection off with a reset in place of an answer."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.close_connection = True


RETRIED: dict[str, Callable[[Handler], Any]] = {
    "429": lambda handler: handler.answer(429, Retry_After="0"),
    "429 for a long time": lambda handler: handler.answer(429, Retry_After="86400"),
    "429 until a date long past": lambda handler: handler.answer(
        429, Retry_After="Wed, 21 Oct 2015 07:28:00 GMT"
    ),
    "429 with a superscript": lambda handler: handler.answer(429, Retry_After="\xb2"),
    "429 with nonsense": lambda handler: handler.answer(429, Retry_After="soon"),
    "502": lambda handler: handler.answer(502),
    "503": lambda handler: handler.answer(503, b"<html>"),
    "504": lambda handler: handler.answer(504),
    "a connection closed at once": lambda handler: handler.drop(),
    "a truncated body": lambda handler: None,
    "a reset": reset,
}


@pytest.mark.parametrize("kind", ["blobs", "manifests"])
@pytest.mark.parametrize("act", RETRIED.values(), ids=RETRIED)
def test_passing_trouble_is_tried_again(
    kind: str, act: Callable[[Handler], Any], fake_registry: FakeRegistry, puller: Puller
) -> None:
    image = fake_registry.add(make_image(layer(size=10)))
    if act is RETRIED["a truncated body"]:
        sizes = {"blobs": len(image.blobs[image.layer_digests()[0]]), "manifests": len(image.raw)}
        act = truncated(sizes[kind])
    name = f"{fake_registry.host}/a:1"
    locked = puller.resolve(name) if kind == "blobs" else None
    fake_registry.once(kind, act, times=2)
    puller.fetch(name, locked or puller.resolve(name))
    assert puller.stored() == {image.digest, *image.blobs}


def truncated(size: int) -> Callable[[Handler], Any]:
    def act(handler: Handler) -> None:
        handler.answer(200, b"{", length=size)
        handler.drop()

    return act


@pytest.mark.parametrize("act", [RETRIED["503"], RETRIED["a connection closed at once"]])
def test_lasting_trouble_is_given_up_after_so_many_tries(
    act: Callable[[Handler], Any], fake_registry: FakeRegistry, puller: Puller
) -> None:
    _, name, _ = add_big(fake_registry)
    locked = puller.resolve(name)
    fake_registry.asked.clear()
    fake_registry.always("blobs", act)
    with pytest.raises(RegistryError):
        puller.fetch(name, locked)
    # One more, because the first is begun before it is asked for.
    assert len(fake_registry.asked) <= QUICK.attempts**2 + 1


def test_stalled_transfer_is_broken_off_and_continued(
    fake_registry: FakeRegistry, puller: Puller
) -> None:
    _, name, content = add_big(fake_registry)
    locked = puller.resolve(name)
    release = threading.Event()

    def stall(handler: Handler) -> None:
        handler.answer(200, content[:5000], length=len(content))
        release.wait(20)

    fake_registry.once("blobs", stall)
    puller.limits = QUICK.replacing(read_timeout=1.0)
    try:
        puller.fetch(name, locked)
    finally:
        release.set()
    assert fake_registry.asked[-1].headers["Range"] == "bytes=5000-"


def test_drip_is_a_stall_too(fake_registry: FakeRegistry, puller: Puller) -> None:
    _, name, content = add_big(fake_registry)
    locked = puller.resolve(name)
    over = threading.Event()

    def drip(handler: Handler) -> None:
        handler.answer(200, content[:1], length=len(content))
        for at in range(1, 2000):
            if over.wait(0.02):
                return
            handler.wfile.write(content[at : at + 1])

    fake_registry.once("blobs", drip)
    puller.limits = QUICK.replacing(stall_time=0.5)
    try:
        puller.fetch(name, locked)
    finally:
        over.set()
    assert puller.store.path(locked_layer(locked)).read_bytes() == content


def test_failure_of_one_blob_stops_the_others_and_keeps_what_they_have(
    fake_registry: FakeRegistry, puller: Puller
) -> None:
    # With fewer and smaller ones a single connection would do.
    layers = [layer(size=10), layer(size=SIZE, seed=1), layer(size=11), layer(size=12)]
    image = fake_registry.add(make_image(*layers))
    small, large, *_ = image.layer_digests()
    name = f"{fake_registry.host}/a:1"
    locked = puller.resolve(name)
    release = threading.Event()

    def act(handler: Handler) -> bool:
        if handler.path.endswith(small):
            handler.answer(403)
            release.set()
            return True
        if handler.path.endswith(large):
            content = image.blobs[large]
            handler.answer(200, content[:300_000], length=len(content))
            release.wait(20)
            time.sleep(0.2)
            handler.wfile.write(content[300_000:])
            return True
        return False

    fake_registry.behaviours.append(act)
    with pytest.raises(RegistryError, match="403"):
        puller.fetch(name, locked)
    assert small not in puller.stored()
    assert f"{large.replace(':', '-')}.partial" in puller.leftovers() or large in puller.stored()


def test_server_that_serves_one_connection_at_a_time_is_enough(puller: Puller) -> None:
    """Which keeps it open, so that a second connection hears nothing as long as there is a first."""
    server = HTTPServer(("127.0.0.1", 0), Handler)
    fake = FakeRegistry(f"127.0.0.1:{server.server_address[1]}")
    server.fake = fake  # type: ignore[attr-defined]
    image = fake.add(make_image(layer(size=10), layer(size=11)))
    puller.limits = QUICK.replacing(ahead_time=0.3)
    with serving(server):
        locked = puller.resolve(f"{fake.host}/a:1")
        shutil.rmtree(puller.blobs)
        puller.fetch(f"{fake.host}/a:1", locked)
    assert puller.stored() == {image.digest, *image.blobs}


def test_blob_of_no_bytes_needs_no_request(fake_registry: FakeRegistry, puller: Puller) -> None:
    image, name, _ = add_big(fake_registry)
    locked = puller.resolve(name)
    empty = locked.platforms["linux/amd64"].config.replacing(
        digest=type(locked_layer(locked))(
            "sha256", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        ),
        size=0,
    )
    fake_registry.asked.clear()
    found = locked.platforms["linux/amd64"].replacing(config=empty, layers=())
    puller.fetch(name, locked.replacing(platforms={"linux/amd64": found}))
    assert not fake_registry.paths("blobs")
    assert puller.store.has_blob(empty)
    assert image.digest in puller.stored()


def test_offline_refuses_only_what_is_missing(fake_registry: FakeRegistry, puller: Puller) -> None:
    _, name, _ = add_big(fake_registry)
    locked = puller.resolve(name)
    with pytest.raises(OfflineError, match="--offline"):
        puller.fetch(name, locked, offline=True)
    puller.fetch(name, locked)
    assert puller.fetch(name, locked, offline=True)["blobs"] == "0"


def mirrored(fake: FakeRegistry, *mirrors: str) -> tuple[Registry, ...]:
    return (
        Registry(
            prefix="registry.example",
            location=fake.host,
            insecure=True,
            mirrors=tuple(Mirror(location=mirror, insecure=True) for mirror in mirrors),
        ),
    )


def test_mirror_is_asked_first_and_alone(
    fake_registry: FakeRegistry, second_registry: FakeRegistry, puller: Puller
) -> None:
    second_registry.add(make_image())
    settings = mirrored(fake_registry, f"{second_registry.host}/copies")
    locked = puller.pull("registry.example/a:1", registries=settings)
    assert second_registry.paths("blobs")[0].startswith("GET /v2/copies/a/blobs/")
    assert not fake_registry.asked
    assert locked.reference == "registry.example/a:1"
    assert second_registry.host not in str(locked.to_json())


MIRRORS: dict[str, Callable[[FakeRegistry], Any]] = {
    "has nothing": lambda fake: fake.always("", lambda handler: handler.answer(404)),
    "lies": lambda fake: fake.always("blobs", lambda h: h.answer(200, b"?" * 50)),
    "is forbidden": lambda fake: fake.always("manifests", lambda h: h.answer(403)),
    "is broken": lambda fake: fake.always("blobs", lambda h: h.answer(500)),
    "serves HTML": lambda fake: fake.always("manifests", lambda h: h.answer(200, b"<html>")),
}


@pytest.mark.parametrize("spoil", MIRRORS.values(), ids=MIRRORS)
def test_mirror_that_fails_is_passed_over_with_a_word(
    spoil: Callable[[FakeRegistry], Any],
    fake_registry: FakeRegistry,
    second_registry: FakeRegistry,
    puller: Puller,
) -> None:
    image = fake_registry.add(make_image())
    if spoil is not MIRRORS["has nothing"]:
        second_registry.add(image)
    spoil(second_registry)
    settings = mirrored(fake_registry, "127.0.0.1:1", second_registry.host)
    puller.pull("registry.example/a:1", registries=settings)
    assert puller.stored() == {image.digest, *image.blobs}
    assert any("mirror" in note and second_registry.host in note for note in puller.progress.notes)
