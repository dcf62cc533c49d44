"""Endpoint: a place that an image's repository can be asked at, mirrors before the registry.

Spec: containers-registries.conf(5), "Remapping and mirroring registries".
"""

from __future__ import annotations

from ...errors import DeclarationError
from ...oci.reference import DOCKER_HUB, DOCKER_HUB_ALIASES, ImageReference
from ...value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ...oci.registry_settings import Mirror, Registry

DOCKER_HUB_API = "registry-1.docker.io"


class Endpoint(Value):
    """``host`` is ``name[:port]``; ``name`` is what credentials are looked up by."""

    host: str
    repository: str
    name: str
    insecure: bool = False
    is_mirror: bool = False
    authorities: tuple[Path, ...] = ()
    client_certificates: tuple[tuple[Path, Path], ...] = ()
    username_env: str = ""
    password_env: str = ""
    token_env: str = ""

    def __str__(self) -> str:
        return f"{self.host}/{self.repository}"


def matching_registry(name: str, registries: Sequence[Registry]) -> Registry | None:
    """The settings with the longest prefix of ``registry/repository``.

    Of two with one prefix the first counts: images.toml stands before registries.conf.
    """
    found = [registry for registry in registries if _matches(name, registry.prefix)]
    return max(found, key=lambda registry: len(registry.prefix), default=None)


def endpoints(reference: ImageReference, registries: Sequence[Registry]) -> tuple[Endpoint, ...]:
    """Where to ask for an image, in order. Raises: DeclarationError for a blocked registry."""
    name = reference.name
    registry = matching_registry(name, registries)
    if registry is None:
        return (_endpoint(name),)
    if registry.blocked:
        raise DeclarationError(
            f'[[registry]] "{registry.prefix}" is blocked', subject=str(reference)
        )
    rest = _rest(name, registry.prefix)
    place = _endpoint(registry.location + rest if registry.location else name)
    own = _with_settings(place, registry).replacing(insecure=registry.insecure)
    mirrors = tuple(
        _with_settings(
            _endpoint(mirror.location + rest),
            matching_registry(mirror.location + rest, registries),
        ).replacing(insecure=mirror.insecure, is_mirror=True)
        for mirror in registry.mirrors
        if _serves(mirror, reference)
    )
    return (*mirrors, own)


def _with_settings(endpoint: Endpoint, registry: Registry | None) -> Endpoint:
    """Certificates and credentials; a mirror has those of a ``[[registry]]`` table of its own."""
    if registry is None:
        return endpoint
    certificates = ((registry.cert, registry.key),) if registry.cert and registry.key else ()
    return endpoint.replacing(
        authorities=(registry.ca,) if registry.ca else (),
        client_certificates=certificates,
        username_env=registry.username_env,
        password_env=registry.password_env,
        token_env=registry.token_env,
    )


def _serves(mirror: Mirror, reference: ImageReference) -> bool:
    by_digest = reference.digest is not None
    return mirror.pull_from != ("tag-only" if by_digest else "digest-only")


def _matches(name: str, prefix: str) -> bool:
    if prefix.startswith("*."):
        host = name.partition("/")[0].partition(":")[0]
        return host.endswith(prefix[1:])
    return name == prefix or name.startswith(prefix + "/")


def _rest(name: str, prefix: str) -> str:
    """What stands after the prefix; a wildcard stands for the whole host."""
    if prefix.startswith("*."):
        _, slash, rest = name.partition("/")
        return slash + rest
    return name[len(prefix) :]


def _endpoint(name: str) -> Endpoint:
    host, _, repository = name.partition("/")
    if host in DOCKER_HUB_ALIASES:
        return Endpoint(
            host=DOCKER_HUB_API, repository=repository, name=f"{DOCKER_HUB}/{repository}"
        )
    return Endpoint(host=host, repository=repository, name=name)
