"""WireTransport: connections of our own to wherever pulling leads, kept for the next request."""

from __future__ import annotations

import _socket
import threading
import weakref

from ... import __version__
from .failure import TransportFailed, explain_system
from .wire import Unanswered, Wire, WireReply

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Mapping
    from typing import Any

    from .address import Address
    from .endpoint import Endpoint
    from .limits import Limits

USER_AGENT = f"doit-oci/{__version__}"


class WireTransport:
    """GET and HEAD, over TCP or TLS. Safe to use from several threads."""

    def __init__(
        self,
        endpoint: Endpoint,
        home: tuple[str, str, int] | None,
        *,
        environ: Mapping[str, str],
        limits: Limits,
    ) -> None:
        """``home`` is the origin over HTTPS that the endpoint's own certificates are for."""
        self._endpoint = endpoint
        self._home = home
        self._environ = environ
        self._limits = limits
        self._guard = threading.Lock()
        self._idle: dict[tuple[str, str, int], list[Wire]] = {}
        self._contexts: dict[bool, ssl.SSLContext] = {}
        # A client that nobody closed leaves no connection behind.
        self.close = weakref.finalize(self, _close_all, self._guard, self._idle)

    def send(self, method: str, address: Address, headers: Mapping[str, str]) -> WireReply:
        """Ask, on a connection that waits or on a new one. Raises: TransportFailed."""
        host = address.host_header
        sent = {
            "Host": host,
            "User-Agent": USER_AGENT,
            "Accept": "*/*",
            "Accept-Encoding": "identity",
        } | dict(headers)
        try:
            while wire := self._waiting(address.origin):
                try:
                    return wire.ask(method, address.target, sent, self._keeper(address))
                except Unanswered:
                    wire.close()
            return self._ask_anew(method, address, sent)
        except OSError as error:
            raise TransportFailed(explain_system(error, host)) from None

    def _ask_anew(self, method: str, address: Address, sent: Mapping[str, str]) -> WireReply:
        wire = Wire(self._connected(address), timeout=self._limits.read_timeout)
        try:
            return wire.ask(method, address.target, sent, self._keeper(address))
        except BaseException:
            wire.close()
            raise

    def _keeper(self, address: Address) -> _Keeper:
        return _Keeper(self._guard, self._idle.setdefault(address.origin, []))

    def _waiting(self, place: tuple[str, str, int]) -> Wire | None:
        """One that is still open, as far as can be told."""
        while True:
            with self._guard:
                idle = self._idle.get(place)
                if not idle:
                    return None
                wire = idle.pop()
            if wire.is_quiet():
                return wire
            wire.close()

    def _connected(self, address: Address) -> socket.socket:
        found = open_socket(address, timeout=self._limits.connect_timeout)
        try:
            found.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
            if address.scheme == "https":
                context = self._context(is_home=address.origin == self._home)
                found = context.wrap_socket(found, server_hostname=address.host)
            found.settimeout(self._limits.read_timeout)
        except BaseException:
            found.close()
            raise
        return found

    def _context(self, *, is_home: bool) -> ssl.SSLContext:
        from .tls import tls_context

        with self._guard:
            found = self._contexts.get(is_home)
            if found is None:
                found = tls_context(self._endpoint if is_home else None, self._environ)
                self._contexts[is_home] = found
            return found


def open_socket(address: Address, *, timeout: float) -> socket.socket:
    """The first of a host's addresses that takes us. Raises: OSError of the last of them."""
    # Loading the module around _socket takes longer than a request; TLS needs it.
    module: Any = _socket
    if address.scheme == "https":
        import socket as module
    # As bytes, because a name as text loads the codec for international ones.
    name = address.host.encode("ascii")
    failure = OSError("the name has no address")
    places = _socket.getaddrinfo(name, address.port, 0, _socket.SOCK_STREAM)
    for family, kind, protocol, _, place in places:
        found: socket.socket = module.socket(family, kind, protocol)
        try:
            found.settimeout(timeout)
            found.connect(place)
        except OSError as error:
            found.close()
            failure = error
        else:
            return found
    raise failure


def _close_all(guard: threading.Lock, waiting: dict[tuple[str, str, int], list[Wire]]) -> None:
    with guard:
        for idle in waiting.values():
            while idle:
                idle.pop().close()


class _Keeper:
    """Takes a connection back for the next request to the same origin."""

    __slots__ = ("_guard", "_idle")

    def __init__(self, guard: threading.Lock, idle: list[Wire]) -> None:
        self._guard = guard
        self._idle = idle

    def __call__(self, wire: Wire) -> None:
        with self._guard:
            self._idle.append(wire)
