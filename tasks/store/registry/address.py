"""Address: what a URL says of where a request goes, read one way for every transport.

Stricter than RFC 3986, so that no two readers of one URL can mean two hosts by it: no user, no
host beyond letters, digits, dots and hyphens, no odd ports.
"""

from __future__ import annotations

from ...value import Value

DEFAULT_PORTS = {"http": 80, "https": 443}
IN_HOST = frozenset("abcdefghijklmnopqrstuvwxyz0123456789._-")
IN_IPV6 = frozenset("abcdef0123456789:.")


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
    scheme, _, rest = url.partition("#")[0].partition("://")
    scheme = scheme.lower()
    end = min((at for at in (rest.find("/"), rest.find("?")) if at >= 0), default=len(rest))
    host, port = _host_and_port(rest[:end].lower())
    if scheme not in DEFAULT_PORTS or not host or not (not port or _is_port(port)):
        return None
    target = "".join(each if "!" <= each <= "~" else _percent(each) for each in rest[end:])
    return Address(
        scheme=scheme,
        host=host,
        port=int(port or DEFAULT_PORTS[scheme]),
        target=target if target.startswith("/") else f"/{target}",
    )


def _host_and_port(authority: str) -> tuple[str, str]:
    """An empty host where it is none."""
    if authority.startswith("["):
        host, closed, rest = authority[1:].partition("]")
        is_sound = closed and len(host) > 1 and IN_IPV6.issuperset(host) and rest[:1] in {"", ":"}
        return (host, rest[1:]) if is_sound else ("", "")
    host, _, port = authority.partition(":")
    return (host, port) if IN_HOST.issuperset(host) else ("", "")


def _is_port(text: str) -> bool:
    return len(text) < 6 and text.isascii() and text.isdigit() and 0 < int(text) < 65536


def origin(url: str) -> tuple[str, str, int] | None:
    """Scheme, host and port: what credentials belong to. None when it is no HTTP address."""
    address = parse_address(url)
    return address.origin if address else None


def _percent(character: str) -> str:
    """Header fields come as Latin-1, which stands for their bytes."""
    raw = character.encode("latin-1" if character < "\u0100" else "utf-8", "replace")
    return "".join(f"%{byte:02X}" for byte in raw)
