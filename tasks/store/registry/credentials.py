"""Credentials: who we are at a registry, from the places where docker and podman keep that.

Spec: containers-auth.json(5); docker's config.json (auths, credHelpers, credsStore) and its
credential helper protocol.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from ...oci.reference import DOCKER_HUB, DOCKER_HUB_ALIASES
from ...value import Value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any

    from .endpoint import Endpoint

DOCKER_HUB_KEY = "https://index.docker.io/v1/"
HELPER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
HELPER_TIME = 60.0
TOKEN_USERNAME = "<token>"  # noqa: S105 - the word that a helper says an identity token by


class Credentials(Value):
    """A name and password, or an identity token, or a bearer token. Never shown."""

    username: str = ""
    password: str = ""
    identity_token: str = ""
    registry_token: str = ""

    def __repr__(self) -> str:
        return "Credentials()"

    def __bool__(self) -> bool:
        return bool(self.username or self.identity_token or self.registry_token)

    def basic(self) -> str:
        """The value of a Basic Authorization header."""
        pair = f"{self.username}:{self.password}".encode()
        return "Basic " + base64.b64encode(pair).decode("ascii")


def find_credentials(
    endpoint: Endpoint, *, environ: Mapping[str, str], warn: Callable[[str], None]
) -> Credentials:
    """The first that is found: the registry's own variables, then the files, longest key first.

    Empty credentials mean anonymous. ``warn`` hears of files and helpers that do not work.
    """
    own = _from_variables(endpoint, environ, warn)
    if own:
        return own
    for path in auth_files(environ):
        found = _from_file(path, endpoint, environ, warn)
        if found:
            return found
    return Credentials()


def auth_files(environ: Mapping[str, str]) -> tuple[Path, ...]:
    """Where credentials may lie, most specific first; REGISTRY_AUTH_FILE stands alone."""
    alone = environ.get("REGISTRY_AUTH_FILE")
    if alone:
        return (Path(alone),)
    home = environ.get("HOME")
    found: list[Path] = []
    runtime = environ.get("XDG_RUNTIME_DIR")
    if runtime:
        found.append(Path(runtime, "containers", "auth.json"))
    else:
        # Where podman login writes for root, or without a session.
        found.append(Path("/run/containers", str(os.getuid()), "auth.json"))
    if config := environ.get("XDG_CONFIG_HOME") or (home and f"{home}/.config"):
        found.append(Path(config, "containers", "auth.json"))
    if docker := environ.get("DOCKER_CONFIG") or (home and f"{home}/.docker"):
        found.append(Path(docker, "config.json"))
    return tuple(found)


def _from_variables(
    endpoint: Endpoint, environ: Mapping[str, str], warn: Callable[[str], None]
) -> Credentials:
    def value(name: str) -> str:
        if name and not environ.get(name):
            warn(f"{endpoint.host}: the environment variable {name} is not set")
        return environ.get(name, "") if name else ""

    token = value(endpoint.token_env)
    if token:
        return Credentials(registry_token=token)
    username, password = value(endpoint.username_env), value(endpoint.password_env)
    return Credentials(username=username, password=password)


def _from_file(
    path: Path, endpoint: Endpoint, environ: Mapping[str, str], warn: Callable[[str], None]
) -> Credentials:
    try:
        document = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return Credentials()
    except (OSError, ValueError, RecursionError) as error:
        why = error.strerror if isinstance(error, OSError) else "no valid JSON"
        warn(f"{path}: {why}; its credentials are not used")
        return Credentials()
    if not isinstance(document, dict):
        warn(f"{path}: no JSON object; its credentials are not used")
        return Credentials()
    host = registry_key(endpoint.name)
    helpers = document.get("credHelpers")
    helper = helpers.get(host) if isinstance(helpers, dict) else None
    if isinstance(helper, str) and helper:
        return _from_helper(helper, host, environ, warn)
    found = _from_auths(document.get("auths"), endpoint.name, path, warn)
    store = document.get("credsStore")
    if not found and isinstance(store, str) and store:
        return _from_helper(store, host, environ, warn)
    return found


def keys(name: str) -> Iterator[str]:
    """``host/team/name``, ``host/team``, ``host``: namespaced keys, the longest first."""
    while name:
        yield name
        name = name.rpartition("/")[0]


def registry_key(text: str) -> str:
    """A host as a key: no scheme, no path, one name for Docker Hub."""
    host = text.partition("://")[2] if "://" in text else text
    host = host.partition("/")[0]
    return DOCKER_HUB if host in DOCKER_HUB_ALIASES else host


def _from_auths(auths: object, name: str, path: Path, warn: Callable[[str], None]) -> Credentials:
    if not isinstance(auths, dict):
        return Credentials()
    host = registry_key(name)
    legacy = (key for key in auths if "://" in key or key in DOCKER_HUB_ALIASES)
    for key in (*keys(name), *(key for key in legacy if registry_key(key) == host)):
        entry = auths.get(key)
        if isinstance(entry, dict) and entry:
            found = _parse_entry(entry)
            if found is None:
                warn(f'{path}: the entry "{key}" cannot be read; it is not used')
            elif found:
                return found
    return Credentials()


def _parse_entry(entry: Mapping[str, Any]) -> Credentials | None:
    """One entry of ``auths``; None when its ``auth`` is no base64 of ``name:password``."""
    username, password = str(entry.get("username") or ""), str(entry.get("password") or "")
    if encoded := entry.get("auth"):
        try:
            text = base64.b64decode(str(encoded), validate=True).decode()
        except (binascii.Error, ValueError):
            return None
        username, colon, password = text.partition(":")
        if not colon:
            return None
        password = password.strip("\0")
    return Credentials(
        username=username,
        password=password,
        identity_token=str(entry.get("identitytoken") or ""),
        registry_token=str(entry.get("registrytoken") or ""),
    )


def _from_helper(
    helper: str, host: str, environ: Mapping[str, str], warn: Callable[[str], None]
) -> Credentials:
    """Ask ``docker-credential-HELPER get``; one that fails means anonymous, with a warning."""
    import subprocess

    program = f"docker-credential-{helper}"
    if not HELPER_NAME.fullmatch(helper):
        warn(f"{host}: {helper[:40]!r} is no name of a credential helper; going on anonymously")
        return Credentials()
    server = DOCKER_HUB_KEY if host == DOCKER_HUB else host
    try:
        answer = subprocess.run(
            [program, "get"],
            input=server.encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=HELPER_TIME,
            env=dict(environ),
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        why = error.strerror if isinstance(error, OSError) else "no answer in time"
        warn(f"{host}: {program}: {why}; going on anonymously")
        return Credentials()
    if answer.returncode:
        if b"credentials not found" not in answer.stdout:
            warn(f"{host}: {program}: status {answer.returncode}; going on anonymously")
        return Credentials()
    try:
        found = json.loads(answer.stdout)
        username, secret = str(found["Username"]), str(found["Secret"])
    except (ValueError, KeyError, TypeError):
        warn(f"{host}: {program}: an answer that cannot be read; going on anonymously")
        return Credentials()
    if username == TOKEN_USERNAME:
        return Credentials(identity_token=secret)
    return Credentials(username=username, password=secret)
