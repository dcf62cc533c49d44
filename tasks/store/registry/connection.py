"""Connection: one request at a time to an endpoint or where it redirects to, and over what.

Messages are made here and never taken from libraries, whose texts contain URLs with their query.
"""

from __future__ import annotations

import threading
import time

from ...errors import RegistryError
from .address import Address, origin, parse_address
from .failure import TransportFailed, is_timeout, not_an_address
from .proxy import proxies_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import IO

    from .endpoint import Endpoint
    from .limits import Limits
    from .reply import Reply
    from .requests_transport import RequestsTransport
    from .wire_transport import WireTransport

    Content = Callable[[], bytes | IO[bytes]]
    """Gives a request's body, from its start each time it is called."""

CHUNK = 64 << 10
REDIRECTS = frozenset({301, 302, 303, 307, 308})
WITHOUT_CONTENT = frozenset({"GET", "HEAD"})
CHOICE = "DOIT_OCI_HTTP"
"""The variable that says ``requests`` to have everything sent by that library."""


class Connection:
    """Sends requests for one endpoint. Safe to use from several threads."""

    def __init__(self, endpoint: Endpoint, *, environ: Mapping[str, str], limits: Limits) -> None:
        self._endpoint = endpoint
        self._environ = environ
        self._limits = limits
        self._guard = threading.Lock()
        self._opening = threading.Lock()
        self._wires: WireTransport | None = None
        self._session: RequestsTransport | None = None
        self._scheme = "http" if endpoint.insecure else "https"
        self._is_settled = not endpoint.insecure

    def close(self) -> None:
        for transport in (self._wires, self._session):
            if transport is not None:
                transport.close()

    def base(self) -> str:
        """``scheme://host``, without a slash at the end."""
        return f"{self._scheme}://{self._endpoint.host}"

    def switch_to_https(self) -> bool:
        """``insecure`` is plain HTTP, or else HTTPS whose certificate nobody vouches for.

        Asked once, after the first plain request failed, and without credentials.
        """
        with self._guard:
            if self._is_settled:
                return False
            self._is_settled = True
            try:
                self._send("GET", f"https://{self._endpoint.host}/v2/", {}).close()
            except TransportFailed:
                return False
            self._scheme = "https"
            return True

    def settle(self) -> None:
        """The scheme works; later failures have other reasons."""
        self._is_settled = True

    def begin(self, url: str, headers: Mapping[str, str], authorization: str | None) -> bool:
        """Send a GET that :meth:`follow` is about to be asked for, and leave its answer for it.

        Returns whether that could be done.
        """
        if not self._is_plain("GET", url, None):
            return False
        sent = dict(headers)
        if authorization:
            sent["Authorization"] = authorization
        return self._wire().begin(self._address(url), sent)

    def follow(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        authorization: str | None,
        content: Content | None = None,
    ) -> Reply:
        """A request and its redirects; the credentials stay with the origin that they are for.

        ``content`` opens the body that is sent, anew for each hop.
        The body is still to be read. Raises: TransportFailed.
        """
        home = origin(url)
        for _ in range(self._limits.redirects + 1):
            sent = dict(headers)
            if authorization and origin(url) == home:
                sent["Authorization"] = authorization
            reply = self._send(method, url, sent, content)
            location = reply.headers.get("Location")
            if reply.status not in REDIRECTS or not location:
                return reply
            reply.close()
            url = self._redirected(url, location)
        raise TransportFailed(
            RegistryError(
                f"more than {self._limits.redirects} redirects", subject=str(self._endpoint)
            )
        )

    def _redirected(self, url: str, location: str) -> str:
        """Where a redirect leads. Raises: TransportFailed for where we do not go."""
        from urllib.parse import urljoin

        try:
            target = urljoin(url, location)
        except ValueError:
            target = ""
        place = origin(target)
        if place is None:
            why = "redirect to something that is no plain HTTP address"
        elif url.startswith("https:") and place[0] == "http":
            why = "redirect from HTTPS to plain HTTP refused"
        else:
            return target
        raise TransportFailed(RegistryError(why, subject=str(self._endpoint)))

    def post_form(self, url: str, form: Mapping[str, str]) -> Reply:
        """Raises: TransportFailed."""
        address = self._address(url)
        return self._library().send("POST", address, {}, form)

    def _address(self, url: str) -> Address:
        address = parse_address(url)
        if address is None:
            raise TransportFailed(not_an_address(self._endpoint.host))
        return address

    def _send(
        self, method: str, url: str, headers: Mapping[str, str], content: Content | None = None
    ) -> Reply:
        """The one place that chooses: our own wire to read, requests for all that is rare."""
        address = self._address(url)
        if self._is_plain(method, url, content):
            return self._wire().send(method, address, headers)
        sent = content() if content else None
        try:
            return self._library().send(method, address, headers, sent)
        finally:
            close = getattr(sent, "close", None)
            if close is not None:
                close()

    def _is_plain(self, method: str, url: str, content: Content | None) -> bool:
        return (
            method in WITHOUT_CONTENT
            and content is None
            and self._environ.get(CHOICE) != "requests"
            and not proxies_for(url, self._environ)
        )

    def _wire(self) -> WireTransport:
        with self._opening:
            if self._wires is None:
                from .wire_transport import WireTransport

                home = origin(f"https://{self._endpoint.host}")
                self._wires = WireTransport(
                    self._endpoint, home, environ=self._environ, limits=self._limits
                )
            return self._wires

    def _library(self) -> RequestsTransport:
        """Made at the first request for it: importing it costs more than a small pull."""
        with self._opening:
            if self._session is None:
                from .requests_transport import RequestsTransport

                self._session = RequestsTransport(
                    self._endpoint, environ=self._environ, limits=self._limits
                )
            return self._session

    def text(self, reply: Reply, limit: int, *, seconds: float) -> bytes:
        """At most ``limit`` bytes of a body; one that does not end in time is broken off.

        Raises: TransportFailed.
        """
        deadline = time.monotonic() + seconds
        found = bytearray()
        view = memoryview(bytearray(min(CHUNK, limit)))
        try:
            while len(found) < limit and (count := reply.read_into(view[: limit - len(found)])):
                found += view[:count]
                if time.monotonic() > deadline:
                    raise TimeoutError
        except OSError as error:
            reply.close()
            why = "no answer in time" if is_timeout(error) else "the connection broke off"
            raise TransportFailed(
                RegistryError(why, subject=self._endpoint.host, retryable=True)
            ) from None
        return bytes(found)
