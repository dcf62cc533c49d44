"""A proxy that opens tunnels (CONNECT), and remembers where to."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.support.serving import serving


@dataclass
class ConnectProxy:
    """``url`` is what a proxy variable holds; ``targets`` are the hosts that were asked for.

    ``places`` says where the names that this machine does not know are.
    """

    url: str
    targets: list[str] = field(default_factory=list)
    places: dict[str, str] = field(default_factory=dict)


class _Tunnel(socketserver.StreamRequestHandler):
    server: _Server

    def handle(self) -> None:
        target = self.rfile.readline().decode().split(" ")[1]
        while self.rfile.readline().strip():
            pass
        self.server.proxy.targets.append(target)
        place = self.server.proxy.places.get(target, target)
        host, _, port = place.rpartition(":")
        with socket.create_connection((host, int(port))) as there:
            self.connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=_pump, args=(there, self.connection), daemon=True)
            back.start()
            _pump(self.connection, there)
            back.join(5)


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while content := source.recv(1 << 16):
            target.sendall(content)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    proxy: ConnectProxy


@contextlib.contextmanager
def running_connect_proxy() -> Iterator[ConnectProxy]:
    server = _Server(("127.0.0.1", 0), _Tunnel)
    server.proxy = ConnectProxy(f"http://127.0.0.1:{server.server_address[1]}")
    with serving(server):
        yield server.proxy
