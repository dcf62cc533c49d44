"""TLS for requests: the system's authorities, a registry's own, and client certificates."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from requests.adapters import HTTPAdapter

from ...errors import DeclarationError
from .endpoint import Endpoint

POOL_SIZE = 16
BUNDLE_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


class TlsAdapter(HTTPAdapter):
    """Makes every connection with one context, which is made at the first of them.

    Without an endpoint it serves other hosts: redirects, token realms, a layer's own URLs.
    """

    def __init__(self, endpoint: Endpoint | None, environ: Mapping[str, str]) -> None:
        self._endpoint = endpoint
        self._environ = environ
        self._context: ssl.SSLContext | None = None
        super().__init__(pool_connections=4, pool_maxsize=POOL_SIZE)

    def build_connection_pool_key_attributes(
        self, request: Any, verify: Any, cert: Any = None
    ) -> Any:
        host, _ = super().build_connection_pool_key_attributes(request, verify, cert)
        if host["scheme"] != "https":
            return host, {}
        if self._context is None:
            self._context = tls_context(self._endpoint, self._environ)
        insecure = self._endpoint is not None and self._endpoint.insecure
        return host, {
            "ssl_context": self._context,
            "cert_reqs": "CERT_NONE" if insecure else "CERT_REQUIRED",
        }

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """The context has it all."""


def tls_context(endpoint: Endpoint | None, environ: Mapping[str, str]) -> ssl.SSLContext:
    """Raises: DeclarationError for a certificate that cannot be read."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if endpoint is not None and endpoint.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        _load_authorities(context, environ)
    if endpoint is None:
        return context
    for authority in endpoint.authorities:
        with Naming(authority):
            context.load_verify_locations(cafile=authority)
    for cert, key in endpoint.client_certificates:
        with Naming(cert):
            context.load_cert_chain(cert, key)
    return context


def _load_authorities(context: ssl.SSLContext, environ: Mapping[str, str]) -> None:
    """Those that an environment variable names, else the system's, else certifi's."""
    for variable in BUNDLE_VARIABLES:
        bundle = environ.get(variable)
        if bundle:
            path = Path(bundle)
            with Naming(path):
                if path.is_dir():
                    context.load_verify_locations(capath=bundle)
                else:
                    context.load_verify_locations(cafile=bundle)
            return
    places = ssl.get_default_verify_paths()
    if (places.cafile and Path(places.cafile).exists()) or _has_files(places.capath):
        context.set_default_verify_paths()
        return
    for bundle in ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"):
        if Path(bundle).exists():
            context.load_verify_locations(cafile=bundle)
            return
    import certifi

    context.load_verify_locations(cafile=certifi.where())


def _has_files(folder: str | None) -> bool:
    return bool(folder and Path(folder).is_dir() and any(Path(folder).iterdir()))


class Naming:
    """Turns what OpenSSL says of a file into an error that names the file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, OSError):
            raise DeclarationError(
                f"not a certificate or key that can be used: {error.strerror or error.args[-1]}",
                subject=str(self._path),
                hint="expected PEM; see ca, cert and key of the [[registry]] table",
            ) from error
