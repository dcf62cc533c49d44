"""A token server that docker-registry believes: it signs what it is asked for, and remembers.

Spec: distribution's "Token Authentication Specification" and "Token Authentication Implementation".
"""

from __future__ import annotations

import base64
import contextlib
import json
import ssl
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.support.certificates import Pair
from tests.support.docker_registry import need
from tests.support.serving import serving

ISSUER, SERVICE = "tests", "registry of the tests"
LEEWAY = 60
"""Seconds by which docker-registry takes a token that is over."""


@dataclass
class TokenServer:
    """``users`` may pull; anonymous ones too if ``is_public``.

    ``lifetime`` is what it says of its tokens, ``holds`` how long docker-registry takes the next of
    them where that is another time; all in seconds.
    """

    url: str
    signer: Pair
    users: dict[str, str] = field(default_factory=dict)
    refresh_tokens: set[str] = field(default_factory=set)
    is_public: bool = False
    lifetime: int = 300
    holds: list[int] = field(default_factory=list)
    failures: list[int] = field(default_factory=list)
    asked: list[dict[str, Any]] = field(default_factory=list)

    def settings(self) -> dict[str, Any]:
        """What docker-registry needs to know of it."""
        return {
            "token": {
                "realm": self.url,
                "service": SERVICE,
                "issuer": ISSUER,
                "rootcertbundle": str(self.signer.cert),
            }
        }

    def grant(self, scope: str) -> bytes:
        kind, name, actions = scope.split(":") if scope else ("", "", "")
        now = int(time.time())
        holds = self.holds.pop(0) - LEEWAY if self.holds else self.lifetime
        claims = {
            "iss": ISSUER,
            "sub": "tests",
            "aud": SERVICE,
            "exp": now + holds,
            "nbf": now - 2 * LEEWAY,
            "iat": now,
            "jti": str(time.monotonic_ns()),
            "access": [{"type": kind, "name": name, "actions": actions.split(",")}],
        }
        token = self._signed(claims)
        return json.dumps({"token": token, "expires_in": self.lifetime}).encode()

    def _signed(self, claims: dict[str, Any]) -> str:
        pem = self.signer.cert.read_text()
        chain = base64.b64encode(ssl.PEM_cert_to_DER_cert(pem)).decode()
        head = {"typ": "JWT", "alg": "RS256", "x5c": [chain]}
        content = ".".join(_encoded(json.dumps(part).encode()) for part in (head, claims))
        signature = subprocess.run(
            [need("openssl"), "dgst", "-sha256", "-sign", str(self.signer.key)],
            input=content.encode(),
            check=True,
            capture_output=True,
        ).stdout
        return f"{content}.{_encoded(signature)}"


def _encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def log_message(self, format: str, *arguments: object) -> None:
        pass

    def do_GET(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        found = {name: values[0] for name, values in query.items()}
        authorization = self.headers.get("Authorization", "")
        self._decide(found, authorization, self._may(authorization))

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        form = parse_qs(self.rfile.read(length).decode())
        found = {name: values[0] for name, values in form.items()}
        may = found.get("refresh_token") in self.server.tokens.refresh_tokens
        self._decide(found, self.headers.get("Authorization", ""), may)

    def _may(self, authorization: str) -> bool:
        tokens = self.server.tokens
        if not authorization:
            return tokens.is_public
        name, _, password = base64.b64decode(authorization.split()[1]).decode().partition(":")
        return tokens.users.get(name) == password

    def _decide(self, asked: dict[str, Any], authorization: str, may: bool) -> None:
        tokens = self.server.tokens
        tokens.asked.append({"method": self.command, "authorization": authorization, **asked})
        status = tokens.failures.pop(0) if tokens.failures else 200 if may else 401
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        if status == 200:
            self.wfile.write(tokens.grant(asked.get("scope", "")))


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    tokens: TokenServer


@contextlib.contextmanager
def running_token_server(signer: Pair, **settings: Any) -> Iterator[TokenServer]:
    server = _Server(("127.0.0.1", 0), _Handler)
    url = f"http://127.0.0.1:{server.server_address[1]}/token"
    server.tokens = TokenServer(url, signer, **settings)
    with serving(server):
        yield server.tokens
