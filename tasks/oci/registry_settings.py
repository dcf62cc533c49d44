"""Registry: how images under one prefix are reached, in the terms of registries.conf.

Spec: containers-registries.conf(5), "NAMESPACED [[registry]] SETTINGS"; the certificate and
credential keys are this project's own.
"""

from __future__ import annotations

from ..errors import DeclarationError
from ..value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import Any


class Mirror(Value):
    """A place to try before the registry itself; ``location`` is ``host[:port][/path]``.

    ``pull_from`` is ``all``, ``digest-only`` or ``tag-only``.
    """

    location: str
    insecure: bool = False
    pull_from: str = "all"


class Registry(Value):
    """One ``[[registry]]`` table.

    ``prefix`` is ``host[:port][/path]`` or ``*.host``; ``location`` replaces it in requests and
    is the prefix itself when empty. ``insecure`` is plain HTTP, or HTTPS without verification.
    ``ca``, ``cert`` and ``key`` are PEM files. The ``*_env`` fields name environment variables,
    so that no secret stands in a file that is committed.
    """

    prefix: str
    location: str = ""
    insecure: bool = False
    blocked: bool = False
    mirrors: tuple[Mirror, ...] = ()
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    username_env: str = ""
    password_env: str = ""
    token_env: str = ""

    @property
    def place(self) -> str:
        """Where requests go: the location, or the prefix where there is none."""
        return self.location or self.prefix


def parse_registry(table: Mapping[str, Any], *, folder: Path) -> Registry:
    """One ``[[registry]]`` table of images.toml; paths are relative to ``folder``.

    Raises: DeclarationError.
    """
    prefix = str(table.get("prefix") or table.get("location") or "")
    if not prefix:
        raise DeclarationError("neither prefix nor location is given", subject="[[registry]]")
    pem = {name: folder / str(table[name]) for name in ("ca", "cert", "key") if table.get(name)}
    if ("cert" in pem) != ("key" in pem):
        raise DeclarationError(
            "a client certificate needs both cert and key", subject=f'[[registry]] "{prefix}"'
        )
    return Registry(
        prefix=prefix,
        location=str(table.get("location") or ""),
        insecure=bool(table.get("insecure", False)),
        blocked=bool(table.get("blocked", False)),
        mirrors=tuple(_parse_mirror(mirror, prefix) for mirror in table.get("mirror") or ()),
        username_env=str(table.get("username_env") or ""),
        password_env=str(table.get("password_env") or ""),
        token_env=str(table.get("token_env") or ""),
        **pem,
    )


def _parse_mirror(table: Mapping[str, Any], prefix: str) -> Mirror:
    location = str(table.get("location") or "")
    if not location:
        raise DeclarationError("a mirror has no location", subject=f'[[registry]] "{prefix}"')
    return Mirror(
        location=location,
        insecure=bool(table.get("insecure", False)),
        pull_from=str(table.get("pull-from-mirror") or "all"),
    )
