"""Answer: what a registry's status, headers and error bodies mean.

Spec: distribution-spec 1.1, "Error codes"; RFC 9110.
"""

from __future__ import annotations

from ...errors import (
    AuthenticationFailed,
    ContentError,
    InvalidDigest,
    ManifestUnknown,
    RateLimited,
    RegistryError,
)
from ...oci.digest import Digest, parse_digest
from ...oci.manifest import load_object

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .reply import Reply

RETRIED = frozenset({408, 429, 502, 503, 504})


def refusal(
    reply: Reply, path: str, *, text: bytes, subject: str, login: Callable[[], str]
) -> RegistryError:
    """What a status means, with the registry's own words (``text``) where it has some.

    ``login`` says what to do about a refusal.
    """
    status = reply.status
    code, said = _error_body(text)
    words = f"the registry answered {status}" + (f" {code}" if code else "")
    words += f" ({said})" if said else ""
    make: type[RegistryError] = RegistryError
    hint = None
    if status in (401, 403):
        make, hint = AuthenticationFailed, login()
    elif status == 404:
        if path.startswith("manifests/"):
            make = ManifestUnknown
            words = f"there is no such image or tag: {words}"
        hint = "check the name and the tag; private images look like missing ones"
    elif status == 429:
        make = RateLimited
        hint = "log in for a higher limit, or declare a mirror of it in images.toml"
    return make(
        words,
        subject=subject,
        hint=hint,
        status=status,
        code=code or None,
        retryable=status in RETRIED,
    )


def content_length(reply: Reply) -> int | None:
    """The length of the body, where the server says one that can be read."""
    text = reply.headers.get("Content-Length")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None


def announced_digest(reply: Reply) -> Digest | None:
    return _digest(reply.headers.get("Docker-Content-Digest"))


def tagged_digest(reply: Reply) -> Digest | None:
    """What some registries say of an answer as its entity's tag alone. Spec: RFC 9110, "ETag"."""
    return _digest(reply.headers.get("ETag").removeprefix("W/").strip('"'))


def _digest(text: str) -> Digest | None:
    try:
        return parse_digest(text)
    except InvalidDigest:
        return None


def retry_after(reply: Reply) -> float | None:
    """Seconds, from a number or a date. Spec: RFC 9110, "Retry-After"."""
    text = reply.headers.get("Retry-After").strip()
    if not text:
        return None
    if text.isascii() and text.isdigit():
        return float(text[:9])
    import time
    from email.utils import parsedate_to_datetime

    try:
        return parsedate_to_datetime(text).timestamp() - time.time()
    except (ValueError, TypeError, OverflowError):
        return None


def _error_body(text: bytes) -> tuple[str, str]:
    """The first error's code and message. Spec: distribution-spec 1.1, "Error codes"."""
    try:
        first = load_object(text, subject="").get("errors")
    except ContentError:
        return "", ""
    error = first[0] if isinstance(first, list) and first else None
    if not isinstance(error, dict):
        return "", ""
    code, message = (
        "".join(character for character in str(error.get(key) or "") if character.isprintable())
        for key in ("code", "message")
    )
    return code[:64], message[:200]
