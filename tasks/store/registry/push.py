"""Push: blobs and manifests into a repository.

Spec: distribution-spec 1.1, "Pushing blobs" (POST then PUT), "Pushing a blob in chunks",
"Mounting a blob from another repository", "Pushing Manifests".
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING
from urllib.parse import quote, urljoin

from ...errors import RegistryError
from ..atomic import store_error
from .answer import content_length
from .client import RegistryClient

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from typing import IO

    from ...oci.descriptor import Descriptor
    from ...oci.digest import Digest
    from .reply import Reply

STARTED, CREATED, KNOWN = 202, 201, 204
NO_MOUNT = frozenset({400, 401, 403, 404, 405})


def has_blob(client: RegistryClient, descriptor: Descriptor) -> bool:
    """Whether the repository has a blob, of the right size as far as the registry says."""
    try:
        reply = client.request("HEAD", f"blobs/{descriptor.digest}")
    except RegistryError as error:
        if error.status == 404:
            return False
        raise
    announced = content_length(reply)
    reply.release()
    return announced in (None, descriptor.size)


def push_blob(
    client: RegistryClient, descriptor: Descriptor, path: Path, *, mount_from: str = ""
) -> int:
    """Bring a blob into the repository; returns the bytes sent, 0 where it was mounted.

    ``mount_from`` names another repository of the same registry that may have it.
    Raises: RegistryError and its kinds, StoreError where ``path`` cannot be read.
    """
    return Upload(client, descriptor, lambda offset: opened(path, offset)).run(mount_from)


def push_bytes(client: RegistryClient, descriptor: Descriptor, content: bytes) -> int:
    """As :func:`push_blob`, from memory."""
    return Upload(client, descriptor, lambda offset: content[offset:]).run()


def opened(path: Path, offset: int) -> bytes | IO[bytes]:
    """The body from ``offset`` on; nothing would be sent in chunks, which registries refuse."""
    try:
        file = path.open("rb")
        if offset >= os.fstat(file.fileno()).st_size:
            file.close()
            return b""
        file.seek(offset)
    except OSError as error:
        raise store_error(error, path) from error
    return file


class Upload:
    """One blob on its way: in one piece, and after a break from where the registry says.

    A registry that does not say it is given the blob anew.
    """

    def __init__(
        self,
        client: RegistryClient,
        descriptor: Descriptor,
        source: Callable[[int], bytes | IO[bytes]],
    ) -> None:
        """``source`` opens the blob at an offset."""
        self._client = client
        self._descriptor = descriptor
        self._source = source
        self._place = ""
        self._offset = 0
        self._sent = 0

    def run(self, mount_from: str = "") -> int:
        """Returns the bytes that were sent. Raises: RegistryError and its kinds, StoreError."""
        limits = self._client.limits
        if not self._begin(mount_from):
            return 0
        idle = drops = 0
        while True:
            before = self._offset
            try:
                self._send()
            except RegistryError as error:
                # What was put together from pieces and is refused is sent once more, whole.
                if not error.retryable and not before:
                    raise
                drops += 1
                self._client.note(error, "going on from there")
                time.sleep(limits.delay(idle, error.retry_after))
                self._find_out(may_continue=error.retryable)
                idle = 0 if self._offset > before else idle + 1
                if idle >= limits.attempts or drops > limits.drops:
                    raise
            else:
                return self._sent

    def _begin(self, mount_from: str = "") -> bool:
        """Ask for a place to send to; False where the blob was mounted instead."""
        self._offset = 0
        query = ""
        if mount_from:
            query = f"?mount={self._descriptor.digest}&from={quote(mount_from, safe='')}"
        try:
            reply = self._client.request(
                "POST",
                f"blobs/uploads/{query}",
                headers={"Content-Length": "0"},
                accepted=frozenset({STARTED, CREATED}),
            )
        except RegistryError as error:
            if not mount_from or error.status not in NO_MOUNT:
                raise
            return self._begin()
        reply.release()
        if reply.status == CREATED:
            return False
        self._move(reply)
        return True

    def _send(self) -> None:
        """What is left, and the digest. Raises: RegistryError."""
        size, start = self._descriptor.size, self._offset
        headers = {"Content-Type": "application/octet-stream"}
        if start:
            if start < size:
                piece = {**headers, "Content-Range": f"{start}-{size - 1}"}
                self._put("PATCH", self._place, piece, start, STARTED)
            start = size
        self._put("PUT", with_digest(self._place, self._descriptor.digest), headers, start, CREATED)

    def _put(
        self, method: str, address: str, headers: Mapping[str, str], start: int, status: int
    ) -> None:
        reply = self._client.request_once(
            method,
            address,
            headers=headers,
            accepted=frozenset({status}),
            content=lambda: self._source(start),
        )
        self._sent += self._descriptor.size - start
        reply.release()
        if status == STARTED:
            self._move(reply)

    def _find_out(self, *, may_continue: bool) -> None:
        """Where to go on: the registry's word, or a new upload from the start.

        Spec: distribution-spec 1.1, "Pushing a blob in chunks", GET of an upload.
        """
        offset = self._received() if may_continue else 0
        if 0 < offset <= self._descriptor.size:
            self._sent += max(offset - self._offset, 0)
            self._offset = offset
        else:
            self._begin()

    def _received(self) -> int:
        """How many bytes the registry says it has; 0 where it does not say."""
        try:
            reply = self._client.request("GET", self._place, accepted=frozenset({KNOWN}))
        except RegistryError:
            return 0
        self._move(reply)
        reply.release()
        return parse_received(reply.headers.get("Range"))

    def _move(self, reply: Reply) -> None:
        """Follow where the registry wants the next request. Raises: RegistryError."""
        location = reply.headers.get("Location")
        if location:
            self._place = urljoin(self._client.base + "/", location)
        if not self._place:
            raise RegistryError(
                "began an upload without saying where", subject=str(self._client.endpoint)
            )


def with_digest(address: str, digest: Digest) -> str:
    return f"{address}{'&' if '?' in address else '?'}digest={digest}"


def parse_received(text: str) -> int:
    """How many bytes an upload has, from its Range header; 0 where that is not said.

    >>> parse_received("0-9")
    10

    A registry says ``0-0`` of nothing at all, too.
    """
    first, _, last = text.removeprefix("bytes=").partition("-")
    if first != "0" or not (last.isascii() and last.isdigit()) or len(last) > 18:
        return 0
    return int(last) + 1 if int(last) else 0


def push_manifest(client: RegistryClient, raw: bytes, *, media_type: str, reference: str) -> None:
    """Put a manifest under a tag or digest. Raises: RegistryError and its kinds."""
    reply = client.request(
        "PUT",
        f"manifests/{reference}",
        headers={"Content-Type": media_type},
        accepted=frozenset({CREATED}),
        content=lambda: raw,
    )
    reply.release()
