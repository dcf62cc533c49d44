"""An image layout as somebody else may have made it: every blob read with its size and digest.

Spec: image-spec 1.1 image-layout.md.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import ContentError, DigestMismatch, DoitOciError, SizeMismatch
from ..oci.digest import Digest, new_hash, parse_digest
from .layers.inflate import compression_of, pieces

LARGEST_DOCUMENT = 4 << 20
"""What image-spec advises registries to take at least; no real manifest comes near it."""

CHUNK = 1 << 20


def read_document(path: Path, *, subject: str) -> bytes:
    """A small file of a layout, whole. Raises: ContentError."""
    try:
        with open(open_regular(path, subject=subject), "rb") as file:
            content = file.read(LARGEST_DOCUMENT + 1)
    except FileNotFoundError:
        raise ContentError("is missing", subject=subject) from None
    except OSError as error:
        raise ContentError(f"cannot be read: {error.strerror}", subject=subject) from error
    if len(content) > LARGEST_DOCUMENT:
        raise ContentError(f"is larger than {LARGEST_DOCUMENT} bytes", subject=subject)
    return content


def open_regular(path: Path, *, subject: str) -> int:
    """A descriptor that the caller closes; never waits for a fifo's other end.

    Raises: ContentError where it is something else than a file, OSError.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise ContentError("is no regular file", subject=subject)
    return handle


def parse_document(content: bytes, *, subject: str) -> Any:
    """JSON in which no name comes twice, because readers differ on which one counts.

    Raises: ContentError.
    """
    import json

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value in pairs:
            if name in found:
                raise ValueError(f"has {name!r} twice")
            found[name] = value
        return found

    try:
        return json.loads(content, object_pairs_hook=once)
    except (ValueError, RecursionError) as error:
        raise ContentError(f"is no JSON document: {error}", subject=subject) from error


class LayoutReader:
    """Blobs of one layout by descriptor, as JSON values."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, digest: Digest) -> Path:
        return self.folder / "blobs" / digest.algorithm / digest.encoded

    def document(self, descriptor: Mapping[str, Any]) -> Any:
        """A blob that is JSON. Raises: ContentError and its kinds."""
        digest = parse_digest(descriptor["digest"])
        content = read_document(self.path(digest), subject=str(digest))
        if len(content) != descriptor["size"]:
            raise SizeMismatch(
                subject=str(digest), expected=descriptor["size"], actual=len(content)
            )
        running = new_hash(digest.algorithm)
        running.update(content)
        _compare(digest, running.hexdigest())
        return parse_document(content, subject=str(digest))

    def layer(self, descriptor: Mapping[str, Any], diff_id: str | None) -> DoitOciError | None:
        """What is wrong with a layer: its size, its digest, or that of what it unpacks to."""
        try:
            digest = parse_digest(descriptor["digest"])
            self._check_stream(digest, descriptor["size"], diff_id)
        except DoitOciError as error:
            return error
        return None

    def _check_stream(self, digest: Digest, size: int, diff_id: str | None) -> None:
        path = self.path(digest)
        running, count = new_hash(digest.algorithm), 0
        try:
            with open(open_regular(path, subject=str(digest)), "rb", 0) as file:
                while chunk := file.read(CHUNK):
                    running.update(chunk)
                    count += len(chunk)
                if count != size:
                    raise SizeMismatch(subject=str(digest), expected=size, actual=count)
                _compare(digest, running.hexdigest())
                if diff_id is not None:
                    file.seek(0)
                    _check_diff_id(file, digest, parse_digest(diff_id))
        except FileNotFoundError:
            raise ContentError("is missing", subject=str(digest)) from None
        except OSError as error:
            raise ContentError(f"cannot be read: {error.strerror}", subject=str(digest)) from error


def _check_diff_id(file: Any, digest: Digest, diff_id: Digest) -> None:
    head = file.read(512)
    file.seek(0)
    running = new_hash(diff_id.algorithm)
    subject = str(digest)
    for piece in pieces(compression_of(head, subject=subject), file.read, subject=subject):
        running.update(piece)
    if running.hexdigest() != diff_id.encoded:
        actual = f"{diff_id.algorithm}:{running.hexdigest()}"
        raise ContentError(
            f"unpacks to {actual}, the image's configuration says {diff_id}", subject=subject
        )


def _compare(digest: Digest, actual: str) -> None:
    if actual != digest.encoded:
        raise DigestMismatch(
            subject=str(digest), expected=str(digest), actual=f"{digest.algorithm}:{actual}"
        )
