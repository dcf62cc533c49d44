"""Answers as they come over the wire, byte by byte: both transports read them to the same end."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.store.registry.address import parse_address
from tasks.store.registry.connection import CHOICE, Connection
from tasks.store.registry.endpoint import Endpoint
from tasks.store.registry.failure import TransportFailed
from tests.support.pulling import QUICK

PATIENCE = QUICK.replacing(read_timeout=0.4)


@contextlib.contextmanager
def answering(*answers: bytes, keeps: bool = False) -> Iterator[tuple[str, list[bytes]]]:
    """A server that says each of its answers once, whatever it is asked, in small pieces.

    It hangs up after each unless it ``keeps`` the connection. Its host, and what it was asked.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    waiting, asked, over = list(answers), [], threading.Event()

    def serve() -> None:
        while waiting:
            try:
                taken, _ = listener.accept()
            except OSError:
                return
            taken.settimeout(5)
            with taken, contextlib.suppress(OSError):
                while waiting and (request := taken.recv(65536)):
                    asked.append(request)
                    answer = waiting.pop(0)
                    for at in range(0, len(answer), 700):
                        taken.sendall(answer[at : at + 700])
                    if not keeps:
                        break
                if keeps:
                    over.wait(5)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}", asked
    finally:
        over.set()
        waiting.clear()
        with contextlib.suppress(OSError):
            socket.create_connection(listener.getsockname(), 1).close()
        listener.close()
        thread.join(5)


@contextlib.contextmanager
def connected(host: str, transport: str) -> Iterator[Connection]:
    endpoint = Endpoint(host=host, repository="a", name=f"{host}/a", insecure=True)
    connection = Connection(endpoint, environ={CHOICE: transport}, limits=PATIENCE)
    try:
        yield connection
    finally:
        connection.close()


def ask(connection: Connection, *, method: str = "GET") -> tuple[int, bytes, str]:
    """Status, body, and the header ``X``."""
    reply = connection.follow(method, f"{connection.base()}/x", {}, None)
    body = connection.text(reply, 1 << 20, seconds=5)
    reply.release()
    return reply.status, body, reply.headers.get("x")


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
READ = {
    "a length": (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", b"abc", ""),
    "no length": (b"HTTP/1.1 200 OK\r\n\r\nabc", b"abc", ""),
    "old protocol": (b"HTTP/1.0 200 OK\r\nX: 1\r\n\r\nabc", b"abc", "1"),
    "no reason": (b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", b"", ""),
    "chunks": (CHUNKED + b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n", b"abcde", ""),
    "chunks and trailers": (CHUNKED + b"1\r\na\r\n0\r\nX: 1\r\nY: 2\r\n\r\n", b"a", ""),
    "large chunks": (CHUNKED + b"1000\r\n%s\r\n0\r\n\r\n" % (b"z" * 4096), b"z" * 4096, ""),
    "a length too many": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"3\r\nabc\r\n0\r\n\r\n",
        b"abc",
        "",
    ),
    "a header twice": (b"HTTP/1.1 200 OK\r\nX: 1\r\nx: 2\r\n\r\n", b"", "1, 2"),
    "spaces around": (b"HTTP/1.1 200 OK\r\nX:\t 1 \r\n\r\n", b"", "1"),
    "line feeds alone": (b"HTTP/1.1 200 OK\nX: 1\nContent-Length: 1\n\na", b"a", "1"),
    "nothing to come": (b"HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\n", b"", ""),
    "an interim answer": (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na",
        b"a",
        "",
    ),
    "a long head": (b"HTTP/1.1 200 OK\r\nX: %s\r\n\r\n" % (b"1" * 30_000), b"", "1" * 30_000),
}


@pytest.mark.parametrize(("answer", "body", "header"), READ.values(), ids=READ)
def test_answer_is_read(answer: bytes, body: bytes, header: str, transport: str) -> None:
    with answering(answer) as (host, _), connected(host, transport) as connection:
        assert ask(connection)[1:] == (body, header)


BROKEN = {
    "nothing at all": b"",
    "no HTTP": b"220 mail.example ESMTP\r\n\r\n",
    "half a head": b"HTTP/1.1 200 OK\r\nContent-Le",
    "a body cut short": b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc",
    "chunks cut short": CHUNKED + b"9\r\nabc",
    "chunks without end": CHUNKED + b"3\r\nabc\r\n",
    "a chunk of no size": CHUNKED + b"abc\r\nabc\r\n",
    "a head without end": b"HTTP/1.1 200 OK\r\n" + b"X: %s\r\n" % (b"1" * 600) * 200,
    "only interim answers": b"HTTP/1.1 100 Continue\r\n\r\n" * 20,
}


LENIENT = {"half a head", "only interim answers"}
"""What http.client takes for an answer."""


@pytest.mark.parametrize(
    ("transport", "what"),
    [("wire", what) for what in BROKEN]
    + [("requests", what) for what in BROKEN if what not in LENIENT],
)
def test_answer_that_breaks_off_is_an_error_that_may_pass(what: str, transport: str) -> None:
    with answering(BROKEN[what]) as (host, _), connected(host, transport) as connection:
        connection.settle()
        with pytest.raises(TransportFailed) as caught:
            ask(connection)
    assert caught.value.error.retryable
    assert host in str(caught.value.error)


def test_answer_that_does_not_come_is_waited_for_no_longer_than_allowed(transport: str) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"
    for answer in (b"", head[:20], head):
        with (
            answering(answer, keeps=True) as (host, _),
            connected(host, transport) as connection,
        ):
            connection.settle()
            with pytest.raises(TransportFailed, match="no answer in time"):
                ask(connection)


def test_connection_is_used_again_and_a_closed_one_is_not(transport: str) -> None:
    good = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na"
    with answering(good, good, keeps=True) as (host, _), connected(host, transport) as connection:
        assert ask(connection) == ask(connection) == (200, b"a", "")
    with answering(good, good) as (host, asked), connected(host, transport) as connection:
        ask(connection)
        time.sleep(0.05)
        assert ask(connection)[1] == b"a"
        assert len(asked) == 2


GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na"


def test_request_that_was_begun_is_the_one_that_is_answered() -> None:
    with answering(GOOD, GOOD, keeps=True) as (host, asked), connected(host, "wire") as connection:
        connection.begin(f"{connection.base()}/x", {}, None)
        assert ask(connection) == (200, b"a", "")
        assert len(asked) == 1
        assert ask(connection) == (200, b"a", "")


@pytest.mark.parametrize("header", ["Range", "Authorization"])
def test_request_that_was_begun_otherwise_is_not_taken_for_another(header: str) -> None:
    with answering(GOOD, GOOD) as (host, asked), connected(host, "wire") as connection:
        connection.begin(f"{connection.base()}/x", {header: "other"}, None)
        while not asked:
            time.sleep(0.01)
        assert ask(connection)[1] == b"a"
        assert [b"other" in request for request in asked] == [True, False]


def test_begun_request_that_is_dropped_is_made_again() -> None:
    with answering(b"", GOOD) as (host, asked), connected(host, "wire") as connection:
        connection.begin(f"{connection.base()}/x", {}, None)
        assert ask(connection)[1] == b"a"
        assert len(asked) == 2


def test_request_that_cannot_be_begun_is_said_when_it_is_made() -> None:
    with connected("127.0.0.1:1", "wire") as connection:
        connection.settle()
        connection.begin(f"{connection.base()}/x", {}, None)
        with pytest.raises(TransportFailed, match="refused"):
            ask(connection)


def test_head_has_no_body_whatever_it_announces(transport: str) -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\nX: 1\r\n\r\n"
    with (
        answering(answer, answer, keeps=True) as (host, asked),
        connected(host, transport) as connection,
    ):
        assert ask(connection, method="HEAD") == (200, b"", "1")
        assert ask(connection, method="HEAD") == (200, b"", "1")
        assert all(request.startswith(b"HEAD /x HTTP/1.1\r\n") for request in asked)


def test_line_break_never_gets_into_a_request(transport: str) -> None:
    with (
        answering(b"HTTP/1.1 200 OK\r\n\r\n") as (host, asked),
        connected(host, transport) as connection,
    ):
        connection.settle()
        with pytest.raises(TransportFailed):
            connection.follow("GET", f"http://{host}/", {"X": "1\r\nEvil: 2"}, None)
        assert not asked


ADDRESSES = {
    "HTTP://R.Example/a?b#c": ("http", "r.example", 80, "/a?b"),
    "https://r:5000": ("https", "r", 5000, "/"),
    "https://[::1]:5000/x": ("https", "::1", 5000, "/x"),
    "http://r?x=/": ("http", "r", 80, "/?x=/"),
    "http://r:/x": ("http", "r", 80, "/x"),
    "http://r/\u00e9 \n": ("http", "r", 80, "/%E9%20%0A"),
    "http://r/%20%zz": ("http", "r", 80, "/%20%zz"),
}
NO_ADDRESSES = [
    *("", "r", "//r/x", "ftp://r/", "http://", "http:///x", "http://:80/", "http://r:0/"),
    *("http://r:65536/", "http://r:8x/", "http://r:-1/", "http://r:\u0661/", "http://[::1/"),
    *(
        "http://[::1]x/",
        "http://[r]/",
        "http://a@r/",
        "http://a:b@r/",
        "http://r\\@e/",
        "http://r x/",
    ),
    *("http://r\x00/", "http://r\t/", "http://\u00e9/", "http://r%2f/", "http://r,e/"),
]


@pytest.mark.parametrize(("url", "expected"), ADDRESSES.items(), ids=repr)
def test_address_is_read(url: str, expected: tuple[str, str, int, str]) -> None:
    found = parse_address(url)
    assert found is not None
    assert (*found.origin, found.target) == expected


@pytest.mark.parametrize("url", NO_ADDRESSES, ids=repr)
def test_address_that_could_be_read_in_two_ways_is_none(url: str) -> None:
    assert parse_address(url) is None


@given(st.text(max_size=30))
def test_target_of_any_address_is_fit_for_a_request(text: str) -> None:
    found = parse_address(f"http://r/{text}")
    assert found is not None
    assert found.host == "r"
    assert all("!" <= each <= "~" for each in found.target)
