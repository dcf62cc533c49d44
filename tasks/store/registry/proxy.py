"""Proxy: the variables that say by which way a host is reached, read as curl reads them."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

PROXIES = ("http_proxy", "https_proxy", "all_proxy")
VARIABLES = (*PROXIES, *(name.upper() for name in PROXIES))


def proxies_for(url: str, environ: Mapping[str, str]) -> dict[str, str]:
    """The proxy for a URL, if any; as in Go's tools, never one for this machine itself."""
    if not any(environ.get(name) for name in VARIABLES):
        return {}
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    host = parts.hostname or ""
    if _is_loopback(host) or _bypassed(host, parts.port or 0, _variable(environ, "no_proxy")):
        return {}
    found = _variable(environ, f"{parts.scheme}_proxy") or _variable(environ, "all_proxy")
    return {parts.scheme: found} if found else {}


def _variable(environ: Mapping[str, str], name: str) -> str:
    """Lower case first; HTTP_PROXY in capitals is ignored under CGI, as everywhere."""
    if name == "http_proxy" and "REQUEST_METHOD" in environ:
        return environ.get(name, "")
    return environ.get(name) or environ.get(name.upper()) or ""


def _is_loopback(host: str) -> bool:
    import ipaddress

    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


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
