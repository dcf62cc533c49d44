"""TLS: the system's authorities, a registry's own, and client certificates."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...errors import DeclarationError
from .endpoint import Endpoint

BUNDLE_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


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
