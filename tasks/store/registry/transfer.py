"""Transfer: one blob from an endpoint into a partial blob, continued wherever it broke off.

Spec: distribution-spec 1.1, "Pulling blobs"; RFC 9110, "Range Requests".
"""

from __future__ import annotations

import re
import time

from ...errors import ContentError, RegistryError, SizeMismatch
from ...value import Value
from .answer import content_length

TYPE_CHECKING = False
if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from ..blob_store import PartialBlob
    from .client import RegistryClient
    from .limits import Limits
    from .reply import Reply

CONTENT_RANGE = r"(?a)bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)"
NOT_FOUND = 404
WHOLE = frozenset({200})
PARTIAL = frozenset({200, 206, 416})
BATCH = 512 << 10
HAND_OVER = 0.5


class Cancelled(Exception):
    """Another transfer failed, so this one was told to stop; its bytes are kept."""


class ContentRange(Value, kw_only=False):
    """First and last byte, inclusive, and the size of the whole where the server says it."""

    first: int
    last: int
    total: int | None


def parse_content_range(text: str) -> ContentRange | None:
    """Spec: RFC 9110, section 14.4. None for what is no satisfied range of bytes.

    >>> parse_content_range("bytes 5-9/10")
    ContentRange(first=5, last=9, total=10)
    """
    match = re.fullmatch(CONTENT_RANGE, text.strip())
    if not match:
        return None
    first, last = int(match[1]), int(match[2])
    total = None if match[3] == "*" else int(match[3])
    if last < first or (total is not None and last >= total):
        return None
    return ContentRange(first, last, total)


def continues(found: ContentRange | None, *, offset: int, size: int) -> bool:
    """Whether a 206 answer holds the next bytes of a blob of ``size`` of which we have some."""
    return (
        found is not None
        and found.first == offset
        and found.last < size
        and found.total in (None, size)
    )


class Pace:
    """Tells a transfer that crawls from one that goes, and when to hand over what has come."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._since = self._handed = time.monotonic()
        self._recent = 0

    def is_stalled(self, count: int) -> bool:
        """Whether ``count`` more bytes end a period in which too few came."""
        self._recent += count
        now = time.monotonic()
        if now - self._since < self._limits.stall_time:
            return False
        stalled = self._recent < self._limits.stall_bytes
        self._since, self._recent = now, 0
        return stalled

    def is_due(self) -> bool:
        """Whether the last handing over was a while ago."""
        now = time.monotonic()
        due = now - self._handed > HAND_OVER
        if due:
            self._handed = now
        return due


class Transfer:
    """Moves blobs over one client with one buffer; used by one thread."""

    def __init__(
        self,
        client: RegistryClient,
        *,
        buffer: bytearray,
        stop: threading.Event,
        begun: Callable[[], None] = lambda: None,
    ) -> None:
        """``begun`` is called whenever an answer begins to come."""
        self._begun = begun
        self._client = client
        self._limits = client.limits
        self._buffer = buffer
        self._stop = stop
        self.moved = 0
        self.continued = False

    def run(self, partial: PartialBlob, advance: Callable[[int], None]) -> None:
        """Fetch what is missing of a blob and check it.

        ``advance`` hears of new bytes, and of negative ones when a transfer starts again.
        A blob that was put together from several answers and is wrong gets a second chance.
        Raises: RegistryError, ContentError, StoreError, Cancelled. What came stays in ``partial``.
        """
        for last in (False, True):
            self.continued = partial.offset > 0
            try:
                self._complete(partial, advance)
                partial.check()
                return
            except ContentError:
                if last or not self.continued:
                    raise
                self._restart(partial, advance)

    def _complete(self, partial: PartialBlob, advance: Callable[[int], None]) -> None:
        idle = drops = 0
        while partial.offset < partial.descriptor.size:
            before = partial.offset
            try:
                self._attempt(partial, advance)
            except RegistryError as error:
                drops += 1
                self.continued = True
                idle = 0 if partial.offset > before else idle + 1
                spent = idle >= self._limits.attempts or drops > self._limits.drops
                if not error.retryable or spent:
                    raise
                self._client.note(error, "going on from there")
                if self._stop.wait(self._limits.delay(idle)):
                    raise Cancelled from None

    def _attempt(self, partial: PartialBlob, advance: Callable[[int], None]) -> None:
        """One request. Raises: RegistryError, retryable where the connection broke off."""
        headers = {"Range": f"bytes={partial.offset}-"} if partial.offset else {}
        reply = self._request(partial, headers)
        try:
            if partial.offset and not self._is_continuation(reply, partial):
                self._restart(partial, advance)
                if reply.status != 200:
                    reply.close()
                    reply = self._request(partial, {})
            self._check_head(reply, partial)
            self._begun()
            self._copy(reply, partial, advance)
        finally:
            reply.release()

    def _request(self, partial: PartialBlob, headers: dict[str, str]) -> Reply:
        accepted = PARTIAL if headers else WHOLE
        path = f"blobs/{partial.descriptor.digest}"
        try:
            return self._client.request("GET", path, headers=headers, accepted=accepted)
        except RegistryError as error:
            if error.status != NOT_FOUND or not partial.descriptor.urls:
                raise
            return self._client.request_foreign(partial.descriptor.urls, headers, accepted)

    def _is_continuation(self, reply: Reply, partial: PartialBlob) -> bool:
        found = parse_content_range(reply.headers.get("Content-Range"))
        size = partial.descriptor.size
        return reply.status == 206 and continues(found, offset=partial.offset, size=size)

    def _check_head(self, reply: Reply, partial: PartialBlob) -> None:
        """Raises: ContentError for an answer that cannot be the blob."""
        subject = self._subject(partial)
        if reply.headers.get("Content-Encoding", "identity") != "identity":
            raise ContentError("the registry encodes the blob on its way", subject=subject)
        announced, size = content_length(reply), partial.descriptor.size
        if reply.status == 200 and announced not in (None, size):
            raise SizeMismatch(subject=subject, expected=size, actual=announced or 0)

    def _copy(self, reply: Reply, partial: PartialBlob, advance: Callable[[int], None]) -> None:
        """Append the body. Raises: RegistryError when it ends too early or stalls.

        What arrived before a failure is kept: it was paid for.
        """
        view, read = memoryview(self._buffer), reply.read_into
        pace = Pace(self._limits)
        filled = 0
        try:
            while count := read(view[filled:]):
                filled += count
                if pace.is_stalled(count):
                    raise TimeoutError
                if filled >= BATCH or pace.is_due():
                    self._append(partial, view[:filled], advance)
                    filled = 0
        except OSError:
            self._append(partial, view[:filled], advance)
            raise self._broken(partial) from None
        self._append(partial, view[:filled], advance)
        if partial.offset < partial.descriptor.size:
            raise self._broken(partial)

    def _append(
        self, partial: PartialBlob, content: memoryview, advance: Callable[[int], None]
    ) -> None:
        if content:
            partial.write(content)
            advance(len(content))
            self.moved += len(content)
        if self._stop.is_set():
            raise Cancelled

    def _restart(self, partial: PartialBlob, advance: Callable[[int], None]) -> None:
        advance(-partial.offset)
        partial.restart()

    def _broken(self, partial: PartialBlob) -> RegistryError:
        return RegistryError(
            f"the transfer broke off after {partial.offset} of {partial.descriptor.size} bytes",
            subject=self._subject(partial),
            retryable=True,
        )

    def _subject(self, partial: PartialBlob) -> str:
        return f"{self._client.endpoint}: blob {partial.descriptor.digest}"
