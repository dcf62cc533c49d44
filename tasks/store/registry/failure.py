"""Failure: what went wrong on the way to a registry, in words that give nothing away."""

from __future__ import annotations

from ...errors import RegistryError
from .wire import NotHttp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


class TransportFailed(Exception):
    """A request that got no usable answer; ``error`` is what to tell people.

    ``retry_after`` is the server's word on when to come back, in seconds.
    """

    def __init__(self, error: RegistryError, retry_after: float | None = None) -> None:
        super().__init__(str(error))
        self.error = error
        self.retry_after = retry_after


def explain_system(error: OSError, subject: str) -> RegistryError:
    """Why a request over a connection of ours has no answer."""
    return _explain([error], subject)


def explain_requests(error: Exception, subject: str) -> RegistryError:
    """Why a request has no answer, without the words of requests, which tell the whole URL."""
    import requests

    if isinstance(error, requests.exceptions.InvalidURL | ValueError) and not isinstance(
        error, requests.exceptions.ConnectionError
    ):
        return not_an_address(subject)
    if isinstance(error, requests.exceptions.ProxyError):
        return RegistryError("the proxy does not answer", subject=subject, retryable=True)
    reasons = list(_causes(error))
    if any(_is_unreadable(reason) for reason in reasons):
        reasons.append(NotHttp())
    return _explain(reasons, subject)


def _is_unreadable(error: BaseException) -> bool:
    from http.client import BadStatusLine, LineTooLong, RemoteDisconnected

    return isinstance(error, BadStatusLine | LineTooLong) and not isinstance(
        error, RemoteDisconnected
    )


def not_an_address(subject: str) -> RegistryError:
    return RegistryError("not an address that can be asked", subject=subject)


def is_timeout(error: BaseException) -> bool:
    """Whether time ran out, in the words of any of the libraries."""
    return isinstance(error, TimeoutError) or "Timeout" in type(error).__name__


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An exception and everything that it wraps, also as an argument or a reason."""
    seen: set[int] = set()
    waiting: list[object] = [error]
    while waiting:
        found = waiting.pop()
        if not isinstance(found, BaseException) or id(found) in seen:
            continue
        seen.add(id(found))
        yield found
        waiting += [found.__cause__, found.__context__, getattr(found, "reason", None)]
        waiting += found.args


def _explain(reasons: list[BaseException], subject: str) -> RegistryError:
    import sys

    # Without ssl in memory no TLS was tried; importing it costs as much as a small pull.
    if "ssl" in sys.modules:
        import ssl

        if any(isinstance(reason, ssl.SSLError) for reason in reasons) and not any(
            isinstance(reason, TimeoutError) for reason in reasons
        ):
            return _explain_tls(reasons, subject)
    if any(is_timeout(reason) for reason in reasons):
        return RegistryError("no answer in time", subject=subject, retryable=True)
    if any(isinstance(reason, NotHttp) for reason in reasons):
        return RegistryError("what it answers is no HTTP", subject=subject, retryable=True)
    return _explain_socket(reasons, subject)


def _explain_tls(reasons: list[BaseException], subject: str) -> RegistryError:
    import ssl

    for reason in reasons:
        if isinstance(reason, ssl.SSLCertVerificationError):
            return RegistryError(
                f"its certificate is not trusted: {reason.verify_message}",
                subject=subject,
                hint="name the authority that signed it: ca = ... in its [[registry]] table",
            )
    known = next((r for r in reasons if isinstance(r, ssl.SSLError) and r.reason), None)
    text = str(known.reason).replace("_", " ").lower() if known else "no TLS connection"
    hint = None
    if "wrong version" in text or "http request" in text or "record layer" in text:
        hint = "if it speaks plain HTTP, say so: insecure = true in its [[registry]] table"
    return RegistryError(f"TLS failed: {text}", subject=subject, hint=hint)


def _explain_socket(reasons: list[BaseException], subject: str) -> RegistryError:
    import socket

    for reason in reasons:
        if isinstance(reason, socket.gaierror):
            return RegistryError(
                "there is no host of that name",
                subject=subject,
                retryable=reason.errno == socket.EAI_AGAIN,
            )
        if isinstance(reason, ConnectionRefusedError):
            return RegistryError(
                "the connection was refused", subject=subject, hint="is the registry running?"
            )
    system = next((r for r in reasons if isinstance(r, OSError) and r.strerror), None)
    why = system.strerror if isinstance(system, OSError) else "the connection broke off"
    return RegistryError(str(why), subject=subject, retryable=True)
