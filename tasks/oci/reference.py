"""ImageReference: what ``image =`` in images.toml names, in one normal form.

Spec: distribution-spec 1.1, "Pulling manifests" (names and tags); the short forms are Docker's.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from ..errors import InvalidDigest, InvalidReference
from ..value import Value
from .digest import Digest, parse_digest

DOCKER_HUB = "docker.io"
DOCKER_HUB_ALIASES = frozenset({"index.docker.io", "docker.io", "registry-1.docker.io"})
DEFAULT_TAG = "latest"
PATH_TRANSPORTS = ("oci", "oci-archive", "docker-archive", "dir")
FOREIGN_TRANSPORTS = ("containers-storage", "docker-daemon", "sif", "ostree", "tarball", "atomic")
NAME_LIMIT = 255

# Patterns are compiled where a name needs them, which a plain one does not: each takes as long as
# loading a module.
TAG = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
HOST = (
    r"(?:(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
    r"(?:\.(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9]))*"
    r"|\[[0-9a-fA-F:.]{2,45}\])"
)
PATH_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
BARE_IDENTIFIER = r"[0-9a-f]{64}"
BUILTIN_NAME = r"[a-z0-9][a-z0-9._-]*"


class ImageReference(Value):
    """``transport`` is docker, oci, oci-archive, docker-archive, dir or builtin.

    docker: ``registry``, ``repository``, and ``tag`` or ``digest`` or both (the digest decides).
    builtin: ``repository`` is the name. The others: ``path`` is where the image lies, ``location``
    the path as it was written, and ``tag`` the name inside an archive or a layout.
    """

    transport: str
    registry: str = ""
    repository: str = ""
    tag: str = ""
    digest: Digest | None = None
    location: str = ""
    path: Path = Path()

    def __str__(self) -> str:
        if self.transport == "docker":
            tag = f":{self.tag}" if self.tag else ""
            digest = f"@{self.digest}" if self.digest else ""
            return f"{self.registry}/{self.repository}{tag}{digest}"
        if self.transport == "builtin":
            return f"builtin:{self.repository}"
        return f"{self.transport}:{self.location}" + (f":{self.tag}" if self.tag else "")

    @property
    def is_remote(self) -> bool:
        """Whether asking for it means asking the network."""
        return self.transport == "docker"

    @property
    def name(self) -> str:
        """``registry/repository``, what credentials and registry settings are looked up by."""
        return f"{self.registry}/{self.repository}"


def parse_image(text: str, *, folder: Path) -> ImageReference:
    """Parse an image's name; a path in it is relative to ``folder``.

    >>> str(parse_image("hello-world", folder=Path()))
    'docker.io/library/hello-world:latest'

    Raises: InvalidReference.
    """
    if not text or text != text.strip() or any(ord(character) < 32 for character in text):
        raise InvalidReference(
            "not an image reference; it is empty or has spaces around it", subject=repr(text)
        )
    if text.startswith("docker://"):
        return _parse_docker(text.removeprefix("docker://"), text)
    transport, colon, rest = text.partition(":")
    if colon and transport in PATH_TRANSPORTS:
        return _parse_path(transport, rest, text, folder)
    if colon and transport == "builtin":
        if not re.fullmatch(BUILTIN_NAME, rest):
            raise InvalidReference("not the name of a built-in image", subject=text)
        return ImageReference(transport="builtin", repository=rest)
    if colon and transport in FOREIGN_TRANSPORTS:
        raise InvalidReference(
            f'the transport "{transport}" needs an engine and is not read here',
            subject=text,
            hint="copy the image to oci:, oci-archive: or docker-archive: first",
        )
    if "://" in text:
        raise InvalidReference(
            f'unknown transport "{text.partition("://")[0]}"',
            subject=text,
            hint="write docker://, oci:, oci-archive:, docker-archive:, dir: or builtin:",
        )
    return _parse_docker(text, text)


def _parse_path(transport: str, rest: str, text: str, folder: Path) -> ImageReference:
    location, _, tag = rest.partition(":")
    if not location:
        raise InvalidReference("a path is missing after the transport", subject=text)
    if transport == "dir" and tag:
        location, tag = rest, ""
    location = os.path.normpath(location)
    return ImageReference(transport=transport, location=location, tag=tag, path=folder / location)


def _parse_docker(rest: str, text: str) -> ImageReference:
    name, at, digest_text = rest.partition("@")
    digest = None
    if at:
        try:
            digest = parse_digest(digest_text)
        except InvalidDigest as error:
            raise InvalidReference(error.message, subject=text) from error
    name, tag = _split_tag(name, text)
    registry, repository = _split_registry(name)
    _check_name(registry, repository, text)
    if registry in DOCKER_HUB_ALIASES:
        registry = DOCKER_HUB
        if "/" not in repository:
            repository = f"library/{repository}"
    if not tag and digest is None:
        tag = DEFAULT_TAG
    return ImageReference(
        transport="docker", registry=registry, repository=repository, tag=tag, digest=digest
    )


def _split_tag(name: str, text: str) -> tuple[str, str]:
    head, colon, tag = name.rpartition(":")
    if not colon or "/" in tag or tag.endswith("]"):
        return name, ""
    if not is_plain(tag) and not re.fullmatch(TAG, tag):
        raise InvalidReference(
            f'"{tag[:80]}" is no tag; expected at most 128 letters, digits, "_", "." and "-"',
            subject=text,
        )
    return head, tag


def _split_registry(name: str) -> tuple[str, str]:
    """The first component is a host if it looks like one: a dot, a port, localhost, capitals."""
    first, slash, rest = name.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost" or first != first.lower()):
        return first, rest
    return DOCKER_HUB, name


def _check_name(registry: str, repository: str, text: str) -> None:
    if not is_host(registry):
        raise InvalidReference(f'"{registry}" is no registry host', subject=text)
    if len(registry) + 1 + len(repository) > NAME_LIMIT:
        raise InvalidReference(f"the name is longer than {NAME_LIMIT} characters", subject=text)
    if repository and repository != repository.lower():
        raise InvalidReference("the repository name must be lower case", subject=text)
    if not all(is_component(part) for part in repository.split("/")):
        raise InvalidReference(
            f'"{repository}" is no repository name',
            subject=text,
            hint="write it like registry.example/team/name:tag",
        )
    if len(repository) == 64 and re.fullmatch(BARE_IDENTIFIER, repository):
        raise InvalidReference(
            "64 hexadecimal digits are an identifier, not a name",
            subject=text,
            hint=f"an image by digest is written name@sha256:{repository}",
        )


def is_host(text: str) -> bool:
    """A name or an address with or without a port.

    >>> is_host("registry.example:5000"), is_host("-x")
    (True, False)
    """
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, port = text, ""
    elif not (port.isascii() and port.isdigit() and len(port) < 6 and 0 < int(port) < 65536):
        return False
    return all(is_plain(part) for part in host.split(".")) or bool(re.fullmatch(HOST, host))


def is_component(text: str) -> bool:
    """One part of a repository's name."""
    plain = is_plain(text) and text == text.lower()
    return plain or bool(re.fullmatch(PATH_COMPONENT, text))


def is_plain(text: str) -> bool:
    """Nothing but letters and digits, and not so many that a limit could matter."""
    return text.isascii() and text.isalnum() and len(text) < 64
