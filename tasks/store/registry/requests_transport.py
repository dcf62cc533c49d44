"""RequestsTransport: what is rare or intricate on the way to a registry: proxies, and sending.

The only importer of requests, which takes longer to import than a small image to pull.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import requests
from requests.adapters import HTTPAdapter

from .failure import TransportFailed, explain_requests
from .proxy import proxies_for
from .reply import Headers
from .tls import tls_context
from .wire_transport import USER_AGENT

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping
    from typing import IO

    from .address import Address
    from .endpoint import Endpoint
    from .limits import Limits

POOL_SIZE = 16


class RequestsTransport:
    """Any request, through a proxy where the variables name one. Safe to use from threads."""

    def __init__(self, endpoint: Endpoint, *, environ: Mapping[str, str], limits: Limits) -> None:
        from http.cookiejar import DefaultCookiePolicy

        from urllib3 import disable_warnings
        from urllib3.exceptions import InsecureRequestWarning

        self._environ = environ
        self._limits = limits
        if endpoint.insecure:
            disable_warnings(InsecureRequestWarning)
        session = requests.Session()
        session.trust_env = False
        session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        session.mount("http://", TlsAdapter(None, environ))
        session.mount("https://", TlsAdapter(None, environ))
        session.mount(f"https://{endpoint.host}/", TlsAdapter(endpoint, environ))
        self._session = session

    def send(
        self,
        method: str,
        address: Address,
        headers: Mapping[str, str],
        content: bytes | IO[bytes] | Mapping[str, str] | None = None,
    ) -> RequestsReply:
        """Raises: TransportFailed."""
        url = f"{address.scheme}://{address.host_header}{address.target}"
        request = requests.Request(
            method,
            url,
            headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity"} | dict(headers),
            data=content,
        )
        try:
            return RequestsReply(
                self._session.send(
                    request.prepare(),
                    stream=True,
                    allow_redirects=False,
                    timeout=(self._limits.connect_timeout, self._limits.read_timeout),
                    proxies=proxies_for(url, self._environ),
                )
            )
        except (requests.RequestException, OSError, ValueError) as error:
            raise TransportFailed(explain_requests(error, address.host_header)) from None

    def close(self) -> None:
        self._session.close()


class RequestsReply:
    """An answer of requests, its body read from http.client's file below."""

    def __init__(self, response: requests.Response) -> None:
        self.status = response.status_code
        fields = response.headers.items()
        self.headers = Headers({name.lower(): each.strip(" \t") for name, each in fields})
        self._response = response
        self._file: Any = getattr(response.raw, "_fp", None) or response.raw

    def read_into(self, view: memoryview) -> int:
        from http.client import HTTPException

        from urllib3.exceptions import HTTPError

        read = getattr(self._file, "read1", None) or self._file.read
        try:
            content = read(len(view))
            if not content and getattr(self._file, "length", None):
                raise ConnectionResetError("the body ended early")
        except (HTTPException, HTTPError, ValueError) as error:
            raise ConnectionResetError("the body ended early") from error
        view[: len(content)] = content
        return len(content)

    def release(self) -> None:
        if getattr(self._file, "length", None) == 0:
            self._file.close()  # http.client's, which leaves the connection open
        if getattr(self._file, "isclosed", lambda: False)():
            self._response.raw.release_conn()
        else:
            self._response.close()

    def close(self) -> None:
        self._response.close()


class TlsAdapter(HTTPAdapter):
    """Makes every connection with one context, which is made at the first of them.

    Without an endpoint it serves other hosts: redirects, token realms, a layer's own URLs.
    """

    def __init__(self, endpoint: Endpoint | None, environ: Mapping[str, str]) -> None:
        self._endpoint = endpoint
        self._environ = environ
        self._context: ssl.SSLContext | None = None
        self._making = threading.Lock()
        super().__init__(pool_connections=4, pool_maxsize=POOL_SIZE)

    def build_connection_pool_key_attributes(
        self, request: Any, verify: Any, cert: Any = None
    ) -> Any:
        host, _ = super().build_connection_pool_key_attributes(request, verify, cert)
        if host["scheme"] != "https":
            return host, {}
        with self._making:
            if self._context is None:
                self._context = tls_context(self._endpoint, self._environ)
        insecure = self._endpoint is not None and self._endpoint.insecure
        return host, {
            "ssl_context": self._context,
            "cert_reqs": "CERT_NONE" if insecure else "CERT_REQUIRED",
        }

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """The context has it all."""
