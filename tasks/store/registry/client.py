"""RegistryClient: requests to one endpoint, with redirects, retries and authentication.

Spec: distribution-spec 1.1, "Pulling manifests", "Pulling blobs", "Listing tags", "Error codes".
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from ...errors import (
    ContentError,
    DigestMismatch,
    RegistryError,
    SizeMismatch,
)
from ...oci.digest import Digest, digest_bytes
from ...oci.manifest import MANIFEST_LIMIT, load_object
from ...oci.media_type import INDEXES, MANIFESTS
from ...progress import Progress
from .answer import RETRIED, announced_digest, content_length, refusal, retry_after
from .connection import Connection, Content, TransportFailed, origin
from .endpoint import Endpoint
from .limits import Limits

if TYPE_CHECKING:
    import requests

    from .auth import Authorizer

T = TypeVar("T")
ACCEPT = ", ".join((*sorted(MANIFESTS), *sorted(INDEXES)))
UNAUTHORIZED = 401
NO_HEAD = frozenset({400, 405, 501})
WHOLE = frozenset({200})
ERROR_LIMIT = 64 << 10
ERROR_TIME = 10.0
TAGS_LIMIT = 8 << 20
TAG_PAGES = 1000


class RegistryClient:
    """One repository at one endpoint. Safe to use from several threads."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        environ: Mapping[str, str],
        progress: Progress,
        limits: Limits,
    ) -> None:
        self.endpoint = endpoint
        self.limits = limits
        self._progress = progress
        self._connection = Connection(endpoint, environ=environ, limits=limits)
        self._environ = environ
        self._guard = threading.Lock()
        self._made: Authorizer | None = None

    @property
    def _authorizer(self) -> Authorizer:
        """Made when a registry first asks who we are, which public ones may never do."""
        with self._guard:
            if self._made is None:
                from .auth import Authorizer

                self._made = Authorizer(
                    self.endpoint,
                    connection=self._connection,
                    environ=self._environ,
                    progress=self._progress,
                    limits=self.limits,
                )
            return self._made

    def close(self) -> None:
        self._connection.close()

    @property
    def base(self) -> str:
        """``scheme://host``, which the registry's relative addresses start from."""
        return self._connection.base()

    def head_manifest(self, reference: str) -> Digest | None:
        """The digest that a tag has now, or None where the registry does not say it."""
        try:
            response = self.request("HEAD", f"manifests/{reference}", headers={"Accept": ACCEPT})
        except RegistryError as error:
            if error.status in NO_HEAD:
                return None
            raise
        release(response)
        return announced_digest(response)

    def manifest(self, reference: str, digest: Digest | None) -> tuple[bytes, str, Digest]:
        """A manifest or index, verified, its Content-Type and its digest."""
        raw, response = self._document(
            f"manifests/{reference}", MANIFEST_LIMIT, headers={"Accept": ACCEPT}
        )
        expected = digest or announced_digest(response)
        actual = digest_bytes(raw, expected.algorithm if expected else "sha256")
        if expected and actual != expected:
            raise DigestMismatch(
                subject=f"{self.endpoint}: manifest {reference}",
                expected=str(expected),
                actual=str(actual),
            )
        return raw, response.headers.get("Content-Type", ""), actual

    def blob(self, digest: Digest, *, limit: int) -> bytes:
        """A small blob whole, verified."""
        raw, _ = self._document(f"blobs/{digest}", limit)
        actual = digest_bytes(raw, digest.algorithm)
        if actual != digest:
            raise DigestMismatch(
                subject=f"{self.endpoint}: blob", expected=str(digest), actual=str(actual)
            )
        return raw

    def tags(self) -> list[str]:
        """Every tag of the repository, page by page, in the registry's order."""
        found: list[str] = []
        path = "tags/list"
        for _ in range(TAG_PAGES):
            raw, response = self._document(path, TAGS_LIMIT)
            page = load_object(raw, subject=f"{self.endpoint}: tags")
            names = page.get("tags") or []
            if not isinstance(names, list):
                raise ContentError('"tags" is no list', subject=f"{self.endpoint}: tags")
            found += [str(name) for name in names]
            link = response.links.get("next", {}).get("url", "")
            query = urlsplit(link).query
            if not query or not names:
                return found
            path = f"tags/list?{query}"
        raise ContentError(f"more than {TAG_PAGES} pages of tags", subject=str(self.endpoint))

    def request(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        accepted: frozenset[int] = WHOLE,
        content: Content | None = None,
    ) -> requests.Response:
        """One request below the repository, tried again where that may help.

        ``path`` may be a whole address, such as the registry gives for an upload.

        The body is not read yet: the caller reads it and calls :func:`release`.

        Raises: RegistryError and its kinds.
        """
        return self._retried(
            path, lambda: self._answer(method, path, headers or {}, accepted, content)
        )

    def note(self, error: RegistryError, what: str) -> None:
        """Say in one line what went wrong and is dealt with."""
        self._progress.note(f"{error.subject}: {error.message}; {what}")

    def _retried(self, path: str, once: Callable[[], T]) -> T:
        attempt = 0
        while True:
            try:
                return once()
            except TransportFailed as failed:
                attempt += 1
                if not failed.error.retryable or attempt >= self.limits.attempts:
                    raise failed.error from None
                delay = self.limits.delay(attempt - 1, failed.retry_after)
                self.note(failed.error, f"trying again in {delay:.1f} s")
                time.sleep(delay)

    def _answer(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        accepted: frozenset[int],
        content: Content | None = None,
    ) -> requests.Response:
        """One try. Raises: TransportFailed."""
        response = self._authorized(method, path, headers, content)
        if response.status_code in accepted:
            return response
        try:
            raise TransportFailed(self._refusal(response, path), retry_after(response))
        finally:
            response.close()

    def _document(
        self, path: str, limit: int, headers: Mapping[str, str] | None = None
    ) -> tuple[bytes, requests.Response]:
        """A whole body of at most ``limit`` bytes. Raises: RegistryError, SizeMismatch."""

        def once() -> tuple[bytes, requests.Response]:
            response = self._answer("GET", path, headers or {}, WHOLE)
            subject = f"{self.endpoint}: {path.partition('?')[0]}"
            announced = content_length(response)
            if announced is not None and announced > limit:
                response.close()
                raise SizeMismatch(subject=subject, expected=limit, actual=announced)
            raw = self._connection.text(response, limit + 1, seconds=self.limits.document_time)
            release(response)
            if len(raw) > limit:
                raise SizeMismatch(subject=subject, expected=limit, actual=len(raw))
            if announced is not None and len(raw) < announced:
                raise TransportFailed(
                    RegistryError("the connection broke off", subject=subject, retryable=True)
                )
            return raw, response

        return self._retried(path, once)

    def request_foreign(
        self, urls: Sequence[str], headers: Mapping[str, str], accepted: frozenset[int]
    ) -> requests.Response:
        """A layer from its own URLs, at hosts that have no business with our credentials.

        Raises: RegistryError when none of them has it.
        """
        failure = RegistryError("the layer's URLs are of no use", subject=str(self.endpoint))
        for url in urls:
            place = origin(url)
            if place is None or place[0] not in ("http", "https"):
                continue
            try:
                response = self._connection.follow("GET", url, headers, None)
            except TransportFailed as failed:
                failure = failed.error
                continue
            if response.status_code in accepted:
                return response
            response.close()
            failure = RegistryError(
                f"its host answered {response.status_code}",
                subject=f"layer at {place[1]}",
                status=response.status_code,
                retryable=response.status_code in RETRIED,
            )
        raise failure

    def _authorized(
        self, method: str, path: str, headers: Mapping[str, str], content: Content | None
    ) -> requests.Response:
        """One try, with a second one when the registry asks who we are."""
        authorization = self._made.header() if self._made else None
        response = self._at_home(method, path, headers, authorization, content)
        if response.status_code != UNAUTHORIZED:
            return response
        try:
            challenges = response.headers.get("WWW-Authenticate", "")
            if not self._authorizer.answer(challenges, authorization):
                return response
            self._connection.text(response, ERROR_LIMIT, seconds=ERROR_TIME)
        except BaseException:
            response.close()
            raise
        release(response)
        return self._at_home(method, path, headers, self._authorizer.header(), content)

    def _at_home(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        authorization: str | None,
        content: Content | None,
    ) -> requests.Response:
        """One try at the endpoint, with the other scheme if an insecure one needs that."""
        if "://" in path:
            is_home = origin(path) == origin(self.base)
            return self._connection.follow(
                method, path, headers, authorization if is_home else None, content
            )
        below = f"/v2/{self.endpoint.repository}/{path}"
        try:
            response = self._connection.follow(
                method, self._connection.base() + below, headers, authorization, content
            )
        except TransportFailed:
            if not self._connection.switch_to_https():
                raise
        else:
            if response.status_code != 400 or not self._connection.switch_to_https():
                self._connection.settle()
                return response
            response.close()
        return self._connection.follow(
            method, self._connection.base() + below, headers, authorization, content
        )

    def _refusal(self, response: requests.Response, path: str) -> RegistryError:
        try:
            text = self._connection.text(response, ERROR_LIMIT, seconds=ERROR_TIME)
        except TransportFailed:
            text = b""
        return refusal(
            response,
            path,
            text=text,
            subject=f"{self.endpoint}: {path.partition('?')[0]}",
            login=self._login,
        )

    def _login(self) -> str:
        return self._authorizer.hint()


def release(response: requests.Response) -> None:
    """Give the connection back when the body was read or there was none, else close it."""
    raw = response.raw
    inner = getattr(raw, "_fp", None)
    if inner is not None and getattr(inner, "isclosed", lambda: False)():
        raw.release_conn()
    else:
        response.close()
