"""WireTransport: connections of our own to wherever pulling leads, kept for the next request."""

from __future__ import annotations

import _socket
import contextlib
import threading

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

    Request = tuple[str, tuple[str, str, int], str, frozenset[tuple[str, str]]]
    """Two that are equal may be answered by one another's answer."""

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
        self._begun: dict[Request, Wire] = {}
        self._serves_one = False
        self._contexts: dict[bool, ssl.SSLContext] = {}

    def begin(self, address: Address, headers: Mapping[str, str]) -> bool:
        """Send a GET whose answer :meth:`send` is about to be asked for; nothing is said of what
        goes wrong, because :meth:`send` will meet it. Returns whether it was sent."""
        if self._serves_one:
            return False
        sent = _complete(address, headers)
        wire: Wire | None = None
        try:
            wire = self._waiting(address.origin) or self._opened(address)
            wire.send("GET", address.target, sent)
        except OSError:
            if wire is not None:
                wire.close()
            return False
        with self._guard:
            earlier = self._begun.pop(key := _key("GET", address, sent), None)
            self._begun[key] = wire
        if earlier is not None:
            earlier.close()
        return True

    def send(self, method: str, address: Address, headers: Mapping[str, str]) -> WireReply:
        """Ask, on a connection that waits or on a new one. Raises: TransportFailed."""
        sent = _complete(address, headers)
        try:
            begun = self._taken(_key(method, address, sent), address.origin)
            if begun is not None:
                with contextlib.suppress(Unanswered):
                    return self._answer(begun, method, address)
            while wire := self._waiting(address.origin):
                with contextlib.suppress(Unanswered):
                    return self._ask(wire, method, address, sent)
            return self._ask(self._opened(address), method, address, sent)
        except OSError as error:
            raise TransportFailed(explain_system(error, address.host_header)) from None

    def close(self) -> None:
        with self._guard:
            for idle in self._idle.values():
                while idle:
                    idle.pop().close()
            while self._begun:
                self._begun.popitem()[1].close()

    # A client that nobody closed leaves no connection behind.
    __del__ = close

    def _taken(self, key: Request, place: tuple[str, str, int]) -> Wire | None:
        """The connection over which a request was begun, if that comes to anything."""
        with self._guard:
            begun = self._begun.pop(key, None)
            is_another_free = bool(self._idle.get(place))
        if begun is None or not is_another_free or not begun.is_quiet(self._limits.ahead_time):
            return begun
        begun.close()
        self._serves_one = True
        return None

    def _ask(self, wire: Wire, method: str, address: Address, sent: Mapping[str, str]) -> WireReply:
        try:
            wire.send(method, address.target, sent)
        except BaseException:
            wire.close()
            raise
        return self._answer(wire, method, address)

    def _answer(self, wire: Wire, method: str, address: Address) -> WireReply:
        try:
            return wire.answer(method, self._keeper(address))
        except BaseException:
            wire.close()
            raise

    def _opened(self, address: Address) -> Wire:
        return Wire(self._connected(address), timeout=self._limits.read_timeout)

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


def _complete(address: Address, headers: Mapping[str, str]) -> dict[str, str]:
    """The headers of every request, with those of this one."""
    return {
        "Host": address.host_header,
        "User-Agent": USER_AGENT,
        "Accept": "*/*",
        "Accept-Encoding": "identity",
    } | dict(headers)


def _key(method: str, address: Address, sent: Mapping[str, str]) -> Request:
    return method, address.origin, address.target, frozenset(sent.items())


class _Keeper:
    """Takes a connection back for the next request to the same origin."""

    __slots__ = ("_guard", "_idle")

    def __init__(self, guard: threading.Lock, idle: list[Wire]) -> None:
        self._guard = guard
        self._idle = idle

    def __call__(self, wire: Wire) -> None:
        with self._guard:
            self._idle.append(wire)
