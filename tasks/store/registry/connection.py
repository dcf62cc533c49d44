"""Connection: TLS, proxies and one request at a time to an endpoint or where it redirects to.

Messages are made here and never taken from requests, whose texts contain URLs with their query.
"""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from ... import __version__
from ...errors import RegistryError
from .endpoint import Endpoint
from .limits import Limits

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
                proxies=self._proxies(url),
            )
        except (requests.RequestException, OSError, ValueError) as error:
            raise TransportFailed(self._explain(error, url)) from None
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

    def _proxies(self, url: str) -> dict[str, str]:
        """The proxy variables, as curl reads them."""
        parts = urlsplit(url)
        host = parts.hostname or ""
        if _bypassed(host, parts.port or 0, _variable(self._environ, "no_proxy")):
            return {}
        found = _variable(self._environ, f"{parts.scheme}_proxy") or _variable(
            self._environ, "all_proxy"
        )
        return {parts.scheme: found} if found else {}

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
            why = "no answer in time" if _is_timeout(error) else "the connection broke off"
            raise TransportFailed(
                RegistryError(why, subject=self._endpoint.host, retryable=True)
            ) from None
        return b"".join(chunks)

    def _explain(self, error: Exception, url: str) -> RegistryError:
        import requests

        subject = urlsplit(url).netloc.rpartition("@")[2]
        reasons = list(_causes(error))
        if isinstance(error, requests.exceptions.InvalidURL | ValueError) and not isinstance(
            error, requests.exceptions.ConnectionError
        ):
            return RegistryError("not an address that can be asked", subject=subject)
        if isinstance(error, requests.exceptions.ProxyError):
            return RegistryError("the proxy does not answer", subject=subject, retryable=True)
        if isinstance(error, requests.exceptions.SSLError):
            return _explain_tls(reasons, subject)
        if any(_is_timeout(reason) for reason in reasons):
            return RegistryError("no answer in time", subject=subject, retryable=True)
        return _explain_socket(reasons, subject)


def body(response: requests.Response) -> Any:
    """The file that http.client reads the body from, without urllib3's copies in between."""
    return getattr(response.raw, "_fp", None) or response.raw


def reader(response: requests.Response) -> Callable[[memoryview], int]:
    """Reads what has arrived of a body into a buffer; 0 at its end.

    Unlike ``readinto`` of the same file it does not wait for the buffer to be full, so that
    nothing is lost when the connection breaks.
    """
    inner = body(response)
    file = getattr(inner, "fp", None)
    if file is None or getattr(inner, "chunked", True) or inner.length is None:
        return lambda view: _read_some(inner, view)

    ahead = io.DEFAULT_BUFFER_SIZE  # what was read with the headers comes first, and alone

    def readinto1(view: memoryview) -> int:
        nonlocal ahead
        if inner.isclosed():
            return 0
        count: int = file.readinto1(view[: min(inner.length, ahead or len(view))])
        ahead = 0
        inner.length -= count
        if not inner.length:
            inner.close()
        return count

    return readinto1


def _read_some(inner: Any, view: memoryview) -> int:
    read = getattr(inner, "read1", None) or inner.read
    content = read(len(view))
    view[: len(content)] = content
    return len(content)


def body_errors() -> tuple[type[Exception], ...]:
    """What reading a body may raise."""
    from http.client import HTTPException

    from urllib3.exceptions import HTTPError

    return (OSError, HTTPException, HTTPError, ValueError)


def _is_timeout(error: BaseException) -> bool:
    return isinstance(error, TimeoutError) or "Timeout" in type(error).__name__


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An exception and everything that it wraps, also as an argument or a reason."""
    seen: set[int] = set()
    waiting: list[object] = [error]
    while waiting:
        found = waiting.pop()
        if not isinstance(found, BaseException) or id(found) in seen:
            continue
        seen.add(id(found))
        yield found
        waiting += [found.__cause__, found.__context__, getattr(found, "reason", None)]
        waiting += found.args


def _explain_tls(reasons: list[BaseException], subject: str) -> RegistryError:
    import ssl

    for reason in reasons:
        if isinstance(reason, ssl.SSLCertVerificationError):
            return RegistryError(
                f"its certificate is not trusted: {reason.verify_message}",
                subject=subject,
                hint="name the authority that signed it: ca = ... in its [[registry]] table",
            )
    known = next((r for r in reasons if isinstance(r, ssl.SSLError) and r.reason), None)
    text = str(known.reason).replace("_", " ").lower() if known else "no TLS connection"
    hint = None
    if "wrong version" in text or "http request" in text or "record layer" in text:
        hint = "if it speaks plain HTTP, say so: insecure = true in its [[registry]] table"
    return RegistryError(f"TLS failed: {text}", subject=subject, hint=hint)


def _explain_socket(reasons: list[BaseException], subject: str) -> RegistryError:
    import socket

    for reason in reasons:
        if isinstance(reason, socket.gaierror):
            return RegistryError(
                "there is no host of that name",
                subject=subject,
                retryable=reason.errno == socket.EAI_AGAIN,
            )
        if isinstance(reason, ConnectionRefusedError):
            return RegistryError(
                "the connection was refused", subject=subject, hint="is the registry running?"
            )
    system = next((r for r in reasons if isinstance(r, OSError) and r.strerror), None)
    why = system.strerror if isinstance(system, OSError) else "the connection broke off"
    return RegistryError(str(why), subject=subject, retryable=True)


def _variable(environ: Mapping[str, str], name: str) -> str:
    """Lower case first; HTTP_PROXY in capitals is ignored under CGI, as everywhere."""
    if name == "http_proxy" and "REQUEST_METHOD" in environ:
        return environ.get(name, "")
    return environ.get(name) or environ.get(name.upper()) or ""


def _bypassed(host: str, port: int, no_proxy: str) -> bool:
    """Whether ``no_proxy`` names the host: itself, a domain above it, an address range, ``*``."""
    for entry in (part.strip().lower() for part in no_proxy.replace(" ", ",").split(",")):
        name, _, its_port = entry.rpartition(":") if entry.count(":") == 1 else (entry, "", "")
        name = name.strip("[]").removeprefix("*").lstrip(".")
        if entry == "*":
            return True
        if not name or (its_port and its_port != str(port)):
            continue
        if host.lower() == name or host.lower().endswith("." + name) or _in_range(host, name):
            return True
    return False


def _in_range(host: str, network: str) -> bool:
    if "/" not in network:
        return False
    import ipaddress

    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False
