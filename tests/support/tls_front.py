"""A server that speaks TLS and redirects everything to somewhere else."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.support.certificates import Pair
from tests.support.serving import serving


class _Redirecting(BaseHTTPRequestHandler):
    server: _Server

    def log_message(self, format: str, *arguments: object) -> None:
        pass

    def do_GET(self) -> None:
        self.send_response(307)
        self.send_header("Location", self.server.target + self.path)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET  # noqa: N815


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    target: str


@contextlib.contextmanager
def running_tls_front(pair: Pair, target: str) -> Iterator[str]:
    """Its host and port; every path is redirected to the same path below ``target``."""
    server = _Server(("127.0.0.1", 0), _Redirecting)
    server.target = target
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.cert, pair.key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    with serving(server):
        yield f"127.0.0.1:{server.server_address[1]}"
