"""Connection: TLS, proxies and one request at a time to an endpoint or where it redirects to.

Messages are made here and never taken from requests, whose texts contain URLs with their query.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import IO, TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from ... import __version__
from ...errors import RegistryError
from .body import body, body_errors
from .endpoint import Endpoint
from .failure import explain, is_timeout
from .limits import Limits
from .proxy import proxies_for

if TYPE_CHECKING:
    import requests

USER_AGENT = f"doit-oci/{__version__}"
DEFAULT_PORTS = {"http": 80, "https": 443}
CHUNK = 64 << 10
REDIRECTS = frozenset({301, 302, 303, 307, 308})


Content = Callable[[], bytes | IO[bytes]]
"""Gives a request's body, from its start each time it is called."""


class TransportFailed(Exception):
    """A request that got no usable answer; ``error`` is what to tell people.

    ``retry_after`` is the server's word on when to come back, in seconds.
    """

    def __init__(self, error: RegistryError, retry_after: float | None = None) -> None:
        super().__init__(str(error))
        self.error = error
        self.retry_after = retry_after


def origin(url: str) -> tuple[str, str, int] | None:
    """Scheme, host and port: what credentials belong to. None when it is no HTTP address."""
    try:
        parts = urlsplit(url)
        port = parts.port or DEFAULT_PORTS.get(parts.scheme, 0)
    except ValueError:
        return None
    return (parts.scheme, parts.hostname, port) if parts.hostname and port else None


class Connection:
    """Sends requests for one endpoint. Safe to use from several threads."""

    def __init__(self, endpoint: Endpoint, *, environ: Mapping[str, str], limits: Limits) -> None:
        self._endpoint = endpoint
        self._environ = environ
        self._limits = limits
        self._guard = threading.Lock()
        self._opening = threading.Lock()
        self._session: requests.Session | None = None
        self._scheme = "http" if endpoint.insecure else "https"
        self._is_settled = not endpoint.insecure

    def close(self) -> None:
        if self._session is not None:
            self._session.close()

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

    def follow(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        authorization: str | None,
        content: Content | None = None,
    ) -> requests.Response:
        """A request and its redirects; the credentials stay with the origin that they are for.

        ``content`` opens the body that is sent, anew for each hop.
        The body is still to be read. Raises: TransportFailed.
        """
        home = origin(url)
        for _ in range(self._limits.redirects + 1):
            sent = dict(headers)
            if authorization and origin(url) == home:
                sent["Authorization"] = authorization
            response = self._send(method, url, sent, content)
            location = response.headers.get("Location", "")
            if response.status_code not in REDIRECTS or not location:
                return response
            response.close()
            url = self._redirected(url, location)
        raise TransportFailed(
            RegistryError(
                f"more than {self._limits.redirects} redirects", subject=str(self._endpoint)
            )
        )

    def _redirected(self, url: str, location: str) -> str:
        """Where a redirect leads. Raises: TransportFailed for where we do not go."""
        try:
            target = urljoin(url, location)
            has_user = "@" in urlsplit(target).netloc
        except ValueError:
            target, has_user = "", False
        place = origin(target)
        if place is None or place[0] not in DEFAULT_PORTS or has_user:
            why = "redirect to something that is no plain HTTP address"
        elif urlsplit(url).scheme == "https" and place[0] == "http":
            why = "redirect from HTTPS to plain HTTP refused"
        else:
            return target
        raise TransportFailed(RegistryError(why, subject=str(self._endpoint)))

    def post_form(self, url: str, form: Mapping[str, str]) -> requests.Response:
        """Raises: TransportFailed."""
        return self._send("POST", url, {}, data=form)

    def _send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        data: Mapping[str, str] | Content | None = None,
    ) -> requests.Response:
        import requests

        session = self._open()
        sent = data() if callable(data) else data
        request = requests.Request(
            method,
            url,
            headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity"} | dict(headers),
            data=sent,
        )
        try:
            return session.send(
                request.prepare(),
                stream=True,
                allow_redirects=False,
                timeout=(self._limits.connect_timeout, self._limits.read_timeout),
                proxies=proxies_for(url, self._environ),
            )
        except (requests.RequestException, OSError, ValueError) as error:
            raise TransportFailed(explain(error, url)) from None
        finally:
            close = getattr(sent, "close", None)
            if close is not None:
                close()

    def _open(self) -> requests.Session:
        """The session, made at the first request: importing requests costs more than doit."""
        with self._opening:
            if self._session is None:
                self._session = self._make_session()
            return self._session

    def _make_session(self) -> requests.Session:
        from http.cookiejar import DefaultCookiePolicy

        import requests
        from urllib3 import disable_warnings
        from urllib3.exceptions import InsecureRequestWarning

        from .tls import TlsAdapter

        if self._endpoint.insecure:
            disable_warnings(InsecureRequestWarning)
        session = requests.Session()
        session.trust_env = False
        session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        session.mount("http://", TlsAdapter(None, self._environ))
        session.mount("https://", TlsAdapter(None, self._environ))
        session.mount(f"https://{self._endpoint.host}/", TlsAdapter(self._endpoint, self._environ))
        return session

    def text(self, response: requests.Response, limit: int, *, seconds: float) -> bytes:
        """At most ``limit`` bytes of a body; one that does not end in time is broken off.

        Raises: TransportFailed.
        """
        deadline = time.monotonic() + seconds
        chunks: list[bytes] = []
        size = 0
        read = getattr(body(response), "read1", None) or body(response).read
        try:
            while size < limit and (chunk := read(min(limit - size, CHUNK))):
                chunks.append(chunk)
                size += len(chunk)
                if time.monotonic() > deadline:
                    raise TimeoutError
        except body_errors() as error:
            response.close()
            why = "no answer in time" if is_timeout(error) else "the connection broke off"
            raise TransportFailed(
                RegistryError(why, subject=self._endpoint.host, retryable=True)
            ) from None
        return b"".join(chunks)
