"""Push: blobs and manifests into a repository.

Spec: distribution-spec 1.1, "Pushing blobs" (POST then PUT), "Mounting a blob from another
repository", "Pushing Manifests".
"""

from __future__ import annotations

from typing import IO, TYPE_CHECKING
from urllib.parse import quote, urljoin

from ...errors import RegistryError
from ..atomic import store_error
from .answer import content_length
from .client import RegistryClient, release

if TYPE_CHECKING:
    from pathlib import Path

    from ...oci.descriptor import Descriptor
    from ...oci.digest import Digest
    from .connection import Content

STARTED, CREATED = 202, 201


def has_blob(client: RegistryClient, descriptor: Descriptor) -> bool:
    """Whether the repository has a blob, of the right size as far as the registry says."""
    try:
        reply = client.request("HEAD", f"blobs/{descriptor.digest}")
    except RegistryError as error:
        if error.status == 404:
            return False
        raise
    announced = content_length(reply)
    release(reply)
    return announced in (None, descriptor.size)


def push_blob(
    client: RegistryClient, descriptor: Descriptor, path: Path, *, mount_from: str = ""
) -> int:
    """Bring a blob into the repository; returns the bytes sent, 0 where it was mounted.

    ``mount_from`` names another repository of the same registry that may have it.
    Raises: RegistryError and its kinds, StoreError where ``path`` cannot be read.
    """
    return upload(client, descriptor, lambda: opened(path, descriptor), mount_from)


def push_bytes(client: RegistryClient, descriptor: Descriptor, content: bytes) -> int:
    """As :func:`push_blob`, from memory."""
    return upload(client, descriptor, lambda: content, "")


def upload(
    client: RegistryClient, descriptor: Descriptor, content: Content, mount_from: str
) -> int:
    query = ""
    if mount_from:
        query = f"?mount={descriptor.digest}&from={quote(mount_from, safe='')}"
    reply = client.request(
        "POST",
        f"blobs/uploads/{query}",
        headers={"Content-Length": "0"},
        accepted=frozenset({STARTED, CREATED}),
    )
    location, mounted = reply.headers.get("Location"), reply.status == CREATED
    release(reply)
    if mounted:
        return 0
    reply = client.request(
        "PUT",
        upload_address(client, location, descriptor.digest),
        headers={"Content-Type": "application/octet-stream"},
        accepted=frozenset({CREATED}),
        content=content,
    )
    release(reply)
    return descriptor.size


def upload_address(client: RegistryClient, location: str, digest: Digest) -> str:
    """Where the one and only piece goes. Raises: RegistryError without a usable address."""
    if not location:
        raise RegistryError("began an upload without saying where", subject=str(client.endpoint))
    address = urljoin(client.base + "/", location)
    return f"{address}{'&' if '?' in address else '?'}digest={digest}"


def opened(path: Path, descriptor: Descriptor) -> bytes | IO[bytes]:
    """The body; an empty file would be sent in chunks, which registries do not take."""
    try:
        return path.open("rb") if descriptor.size else b""
    except OSError as error:
        raise store_error(error, path) from error


def push_manifest(client: RegistryClient, raw: bytes, *, media_type: str, reference: str) -> None:
    """Put a manifest under a tag or digest. Raises: RegistryError and its kinds."""
    reply = client.request(
        "PUT",
        f"manifests/{reference}",
        headers={"Content-Type": media_type},
        accepted=frozenset({CREATED}),
        content=lambda: raw,
    )
    release(reply)
