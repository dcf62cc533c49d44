"""RegistryClient: requests to one endpoint, with redirects, retries and authentication.

Spec: distribution-spec 1.1, "Pulling manifests", "Pulling blobs", "Listing tags", "Error codes".
"""

from __future__ import annotations

import re
import threading
import time

from ...errors import (
    ContentError,
    DigestMismatch,
    RegistryError,
    SizeMismatch,
)
from ...oci.digest import Digest, digest_bytes
from ...oci.manifest import MANIFEST_LIMIT, load_object
from ...oci.media_type import INDEXES, MANIFESTS
from .address import origin
from .answer import (
    RETRIED,
    announced_digest,
    content_length,
    refusal,
    retry_after,
    tagged_digest,
)
from .connection import Connection
from .failure import TransportFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import TypeVar

    from ...progress import Progress
    from .auth import Authorizer
    from .connection import Content
    from .endpoint import Endpoint
    from .limits import Limits
    from .reply import Reply

    T = TypeVar("T")

ACCEPT = ", ".join((*sorted(MANIFESTS), *sorted(INDEXES)))
UNAUTHORIZED = 401
NO_HEAD = frozenset({400, 405, 501})
WHOLE = frozenset({200})
ERROR_LIMIT = 64 << 10
ERROR_TIME = 10.0
TAGS_LIMIT = 8 << 20
TAG_PAGES = 1000
NEXT_PAGE = r'<[^>?]*\?([^>#]*)[^>]*>[^,]*;\s*rel="?next"?'


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

    def begin(self, kind: str, digest: Digest) -> bool:
        """Send a request for ``manifests`` or ``blobs`` that is about to be made, as it will be.

        Returns whether that could be done. Only the connection's own wire can; what fails here
        fails again when the request is made.
        """
        headers = {"Accept": ACCEPT} if kind == "manifests" else {}
        authorization = self._made.header() if self._made else None
        url = f"{self.base}/v2/{self.endpoint.repository}/{kind}/{digest}"
        return self._connection.begin(url, headers, authorization)

    def head_manifest(self, reference: str) -> Digest | None:
        """The digest that a tag has now, or None where the registry does not say it."""
        try:
            reply = self.request("HEAD", f"manifests/{reference}", headers={"Accept": ACCEPT})
        except RegistryError as error:
            if error.status in NO_HEAD:
                return None
            raise
        reply.release()
        return announced_digest(reply) or tagged_digest(reply)

    def manifest(self, reference: str, digest: Digest | None) -> tuple[bytes, str, Digest]:
        """A manifest or index, verified, its Content-Type and its digest."""
        raw, reply = self._document(
            f"manifests/{reference}", MANIFEST_LIMIT, headers={"Accept": ACCEPT}
        )
        expected = digest or announced_digest(reply)
        actual = digest_bytes(raw, expected.algorithm if expected else "sha256")
        if expected and actual != expected:
            raise DigestMismatch(
                subject=f"{self.endpoint}: manifest {reference}",
                expected=str(expected),
                actual=str(actual),
            )
        return raw, reply.headers.get("Content-Type"), actual

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
            raw, reply = self._document(path, TAGS_LIMIT)
            page = load_object(raw, subject=f"{self.endpoint}: tags")
            names = page.get("tags") or []
            if not isinstance(names, list):
                raise ContentError('"tags" is no list', subject=f"{self.endpoint}: tags")
            found += [str(name) for name in names]
            query = next_page(reply.headers.get("Link"))
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
    ) -> Reply:
        """One request below the repository, tried again where that may help.

        ``path`` may be a whole address, such as the registry gives for an upload.

        The body is not read yet: the caller reads it and calls :func:`release`.

        Raises: RegistryError and its kinds.
        """
        return self._retried(
            path, lambda: self._answer(method, path, headers or {}, accepted, content)
        )

    def request_once(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str],
        accepted: frozenset[int],
        content: Content,
    ) -> Reply:
        """As :meth:`request`, for what must not simply be sent again."""
        try:
            return self._answer(method, path, headers, accepted, content)
        except TransportFailed as failed:
            failed.error.retry_after = failed.retry_after
            raise failed.error from None

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
    ) -> Reply:
        """One try. Raises: TransportFailed."""
        reply = self._authorized(method, path, headers, content)
        if reply.status in accepted:
            return reply
        try:
            raise TransportFailed(self._refusal(reply, path), retry_after(reply))
        finally:
            reply.close()

    def _document(
        self, path: str, limit: int, headers: Mapping[str, str] | None = None
    ) -> tuple[bytes, Reply]:
        """A whole body of at most ``limit`` bytes. Raises: RegistryError, SizeMismatch."""

        def once() -> tuple[bytes, Reply]:
            reply = self._answer("GET", path, headers or {}, WHOLE)
            subject = f"{self.endpoint}: {path.partition('?')[0]}"
            announced = content_length(reply)
            if announced is not None and announced > limit:
                reply.close()
                raise SizeMismatch(subject=subject, expected=limit, actual=announced)
            raw = self._connection.text(reply, limit + 1, seconds=self.limits.document_time)
            reply.release()
            if len(raw) > limit:
                raise SizeMismatch(subject=subject, expected=limit, actual=len(raw))
            if announced is not None and len(raw) < announced:
                raise TransportFailed(
                    RegistryError("the connection broke off", subject=subject, retryable=True)
                )
            return raw, reply

        return self._retried(path, once)

    def request_foreign(
        self, urls: Sequence[str], headers: Mapping[str, str], accepted: frozenset[int]
    ) -> Reply:
        """A layer from its own URLs, at hosts that have no business with our credentials.

        Raises: RegistryError when none of them has it.
        """
        failure = RegistryError("the layer's URLs are of no use", subject=str(self.endpoint))
        for url in urls:
            place = origin(url)
            if place is None or place[0] not in ("http", "https"):
                continue
            try:
                reply = self._connection.follow("GET", url, headers, None)
            except TransportFailed as failed:
                failure = failed.error
                continue
            if reply.status in accepted:
                return reply
            reply.close()
            failure = RegistryError(
                f"its host answered {reply.status}",
                subject=f"layer at {place[1]}",
                status=reply.status,
                retryable=reply.status in RETRIED,
            )
        raise failure

    def _authorized(
        self, method: str, path: str, headers: Mapping[str, str], content: Content | None
    ) -> Reply:
        """One try, with a second one when the registry asks who we are."""
        authorization = self._made.header() if self._made else None
        reply = self._at_home(method, path, headers, authorization, content)
        if reply.status != UNAUTHORIZED:
            return reply
        try:
            challenges = reply.headers.get("WWW-Authenticate")
            if not self._authorizer.answer(challenges, authorization):
                return reply
            self._connection.text(reply, ERROR_LIMIT, seconds=ERROR_TIME)
        except BaseException:
            reply.close()
            raise
        reply.release()
        return self._at_home(method, path, headers, self._authorizer.header(), content)

    def _at_home(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        authorization: str | None,
        content: Content | None,
    ) -> Reply:
        """One try at the endpoint, with the other scheme if an insecure one needs that."""
        if "://" in path:
            is_home = origin(path) == origin(self.base)
            return self._connection.follow(
                method, path, headers, authorization if is_home else None, content
            )
        below = f"/v2/{self.endpoint.repository}/{path}"
        try:
            reply = self._connection.follow(
                method, self._connection.base() + below, headers, authorization, content
            )
        except TransportFailed:
            if not self._connection.switch_to_https():
                raise
        else:
            if reply.status != 400 or not self._connection.switch_to_https():
                self._connection.settle()
                return reply
            reply.close()
        return self._connection.follow(
            method, self._connection.base() + below, headers, authorization, content
        )

    def _refusal(self, reply: Reply, path: str) -> RegistryError:
        try:
            text = self._connection.text(reply, ERROR_LIMIT, seconds=ERROR_TIME)
        except TransportFailed:
            text = b""
        return refusal(
            reply,
            path,
            text=text,
            subject=f"{self.endpoint}: {path.partition('?')[0]}",
            login=self._login,
        )

    def _login(self) -> str:
        return self._authorizer.hint()


def next_page(link: str) -> str:
    """The query of a Link header's next page. Spec: distribution-spec 1.1, "Listing tags".

    >>> next_page('</v2/a/tags/list?n=2&last=b>; rel="next"')
    'n=2&last=b'
    """
    match = re.search(NEXT_PAGE, link)
    return match[1] if match else ""
