"""Authorizer: turns a registry's challenge into the Authorization header of the next request.

Nothing is said before it is asked for: the first request is anonymous, and what follows goes to
the origin that asked. Spec: distribution's "Token Authentication Specification" and "OAuth2".
"""

from __future__ import annotations

import json
import re
import threading
import time
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from ...errors import AuthenticationFailed, RateLimited, RegistryError
from ...progress import Progress
from .address import origin
from .answer import retry_after
from .challenge import Challenge, parse_challenges
from .connection import Connection
from .credentials import Credentials, find_credentials
from .failure import TransportFailed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .endpoint import Endpoint
    from .limits import Limits
    from .reply import Reply

CLIENT_ID = "doit-oci"
DEFAULT_LIFETIME = 60.0
TOKEN_LIMIT = 1 << 20
TOKEN = re.compile(r"[\x21-\x7e]+")
RETRIED = frozenset({408, 429, 500, 502, 503, 504})


class Authorizer:
    """Credentials and token of one repository at one endpoint. Safe to use from threads."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        connection: Connection,
        environ: Mapping[str, str],
        progress: Progress,
        limits: Limits,
    ) -> None:
        self._endpoint = endpoint
        self._connection = connection
        self._environ = environ
        self._progress = progress
        self._limits = limits
        self._guard = threading.Lock()
        self._credentials: Credentials | None = None
        self._header: str | None = None
        self._expires = float("inf")
        self._bearer: Challenge | None = None

    def header(self) -> str | None:
        """What to send with the next request; a token past its time is renewed before."""
        with self._guard:
            if self._bearer is not None and time.monotonic() >= self._expires:
                self._renew(self._bearer)
            return self._header

    def answer(self, header: str, used: str | None) -> bool:
        """Whether another try is worth it, after 401 and this WWW-Authenticate header.

        ``used`` is what the refused request was sent with. Raises: RegistryError.
        """
        with self._guard:
            if self._header != used:
                return True
            offered = {challenge.scheme: challenge for challenge in parse_challenges(header)}
            if "bearer" in offered:
                self._bearer = offered["bearer"]
                self._renew(self._bearer)
                return self._header != used or used is None
            if "basic" in offered and self._who().username:
                self._header = self._who().basic()
                return self._header != used
            return False

    def hint(self) -> str:
        """What to do after a refusal."""
        if self._credentials:
            return f"the credentials for {self._endpoint.host} are not accepted, or may not pull"
        return (
            f"log in (docker login or podman login {self._endpoint.host}), or name username_env "
            "and password_env in its [[registry]] table"
        )

    def _who(self) -> Credentials:
        if self._credentials is None:
            self._credentials = find_credentials(
                self._endpoint, environ=self._environ, warn=self._progress.note
            )
        return self._credentials

    def _renew(self, challenge: Challenge) -> None:
        """Get a token. Raises: RegistryError."""
        who = self._who()
        if who.registry_token:
            self._header = f"Bearer {who.registry_token}"
            return
        realm = challenge.parameters.get("realm", "")
        self._check_realm(realm)
        if who and not is_own_realm(realm, self._connection.base()):
            self._progress.note(
                f"{self._endpoint.host}: its token server {urlsplit(realm).hostname} is "
                "another party's; asking it anonymously"
            )
            who = Credentials()
        asked = {"service": challenge.parameters.get("service", "")}
        asked["scope"] = (
            challenge.parameters.get("scope") or f"repository:{self._endpoint.repository}:pull"
        )
        asked = {name: value for name, value in asked.items() if value}
        token, lifetime = self._parse(self._ask(realm, asked, who))
        self._header = f"Bearer {token}"
        self._expires = time.monotonic() + lifetime

    def _check_realm(self, realm: str) -> None:
        place = origin(realm)
        sound = place is not None and place[0] in ("http", "https") and "@" not in realm
        if not sound:
            raise AuthenticationFailed(
                "the registry names no usable token server", subject=str(self._endpoint)
            )

    def _ask(self, realm: str, asked: dict[str, str], who: Credentials) -> bytes:
        """The token server's answer; busy servers are asked again. Raises: RegistryError."""
        attempt = 0
        while True:
            later = None
            try:
                reply = self._send(realm, asked, who)
                status = reply.status
                text = self._connection.text(reply, TOKEN_LIMIT, seconds=self._limits.read_timeout)
                reply.release()
                if status == 200:
                    return text
                failure, later = self._refused(realm, status), retry_after(reply)
            except TransportFailed as error:
                failure = error.error
            attempt += 1
            if not failure.retryable or attempt >= self._limits.attempts:
                raise failure
            time.sleep(self._limits.delay(attempt - 1, later))

    def _send(self, realm: str, asked: dict[str, str], who: Credentials) -> Reply:
        if who.identity_token:
            form = {
                "grant_type": "refresh_token",
                "client_id": CLIENT_ID,
                "refresh_token": who.identity_token,
            }
            return self._connection.post_form(realm, form | asked)
        parts = urlsplit(realm)
        query = parse_qsl(parts.query, keep_blank_values=True)
        # Several scopes stand in several parameters here, and in one in a form.
        query += [(name, each) for name, text in asked.items() for each in _values(name, text)]
        authorization = None
        if who.username:
            query.append(("account", who.username))
            authorization = who.basic()
        url = urlunsplit((parts.scheme, parts.netloc, parts.path, urlencode(query), ""))
        return self._connection.follow("GET", url, {}, authorization)

    def _refused(self, realm: str, status: int) -> RegistryError:
        make = RegistryError
        if status in (400, 401, 403):
            make = AuthenticationFailed
        elif status == 429:
            make = RateLimited
        return make(
            f"its token server {urlsplit(realm).hostname} answered {status}",
            subject=str(self._endpoint),
            hint=self.hint(),
            status=status,
            retryable=status in RETRIED,
        )

    def _parse(self, text: bytes) -> tuple[str, float]:
        """Token and lifetime in seconds. Raises: AuthenticationFailed."""
        try:
            document = json.loads(text)
            token = document.get("token") or document.get("access_token") or ""
            lifetime = float(document.get("expires_in") or DEFAULT_LIFETIME)
        except (ValueError, TypeError, AttributeError, RecursionError):
            token, lifetime = "", 0.0
        if not isinstance(token, str) or not TOKEN.fullmatch(token):
            raise AuthenticationFailed(
                "its token server answered without a token", subject=str(self._endpoint)
            )
        return token, lifetime


def _values(name: str, text: str) -> list[str]:
    return text.split() if name == "scope" else [text]


def is_own_realm(realm: str, base: str) -> bool:
    """Whether a token server may hear the credentials that are for the registry at ``base``.

    The same host may, and over HTTPS a host of the same domain (auth.docker.io for
    registry-1.docker.io, gitlab.com for registry.gitlab.com); never plain HTTP for HTTPS.
    """
    there, home = urlsplit(realm), urlsplit(base)
    if there.scheme == "http" and home.scheme == "https":
        return False
    its, ours = (there.hostname or "").lower(), (home.hostname or "").lower()
    if its == ours:
        return True
    return there.scheme == "https" and _share_domain(its, ours)


def _share_domain(its: str, ours: str) -> bool:
    if any(":" in host or host.replace(".", "").isdigit() for host in (its, ours)):
        return False
    labels = ours.split(".")
    second_level = len(labels) >= 2 and len(labels[-1]) == 2 and len(labels[-2]) <= 3
    own = ".".join(labels[-3 if second_level else -2 :])
    return own.count(".") >= (2 if second_level else 1) and (its == own or its.endswith("." + own))
