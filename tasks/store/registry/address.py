"""Address: what a URL says of where a request goes, read one way for every transport.

Stricter than RFC 3986, so that no two readers of one URL can mean two hosts by it: no user, no
host beyond letters, digits, dots and hyphens, no odd ports.
"""

from __future__ import annotations

import re

from ...value import Value

DEFAULT_PORTS = {"http": 80, "https": 443}
AUTHORITY = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]{2,45}\])(?::(\d{0,5}))?", re.ASCII)
END_OF_AUTHORITY = re.compile(r"[/?#]")
UNFIT = re.compile(r"[^!-~]")


class Address(Value):
    """``host`` in lower case, an IPv6 one without brackets; ``target`` is path and query."""

    scheme: str
    host: str
    port: int
    target: str

    @property
    def origin(self) -> tuple[str, str, int]:
        return self.scheme, self.host, self.port

    @property
    def host_header(self) -> str:
        """Spec: RFC 9110, "Host": without the port where that is the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"


def parse_address(url: str) -> Address | None:
    """None for what is no HTTP address, or one that is not asked.

    >>> parse_address("HTTP://R.example/v2/ a").target
    '/v2/%20a'
    """
    scheme, _, rest = url.partition("://")
    scheme = scheme.lower()
    end = END_OF_AUTHORITY.search(rest)
    authority, target = (rest[: end.start()], rest[end.start() :]) if end else (rest, "")
    match = AUTHORITY.fullmatch(authority)
    if scheme not in DEFAULT_PORTS or not match:
        return None
    port = int(match[2] or DEFAULT_PORTS[scheme])
    if not 0 < port < 65536:
        return None
    target = UNFIT.sub(_percent, target.partition("#")[0])
    return Address(
        scheme=scheme,
        host=match[1].strip("[]").lower(),
        port=port,
        target=target if target.startswith("/") else f"/{target}",
    )


def origin(url: str) -> tuple[str, str, int] | None:
    """Scheme, host and port: what credentials belong to. None when it is no HTTP address."""
    address = parse_address(url)
    return address.origin if address else None


def _percent(match: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in match[0].encode("utf-8", "surrogateescape"))
