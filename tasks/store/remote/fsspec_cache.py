"""A cache on anything that fsspec reaches: a directory, S3, Google's or Azure's stores, SSH.

blobs/<algorithm>/<encoded>
keys/ac-<key>.json
"""

from __future__ import annotations

import contextlib
import os
import secrets
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ...errors import DeclarationError, RegistryError, SizeMismatch, StoreError
from ..settling import Settling
from .cache import RECORD_LIMIT
from .deadline import within

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ...oci.descriptor import Descriptor
    from ..blob_store import BlobStore

CHUNK = 4 << 20
JOBS = 4
LOCAL = frozenset({"file", "local"})
PACKAGES = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs",
            "ssh": "paramiko", "sftp": "paramiko"}  # fmt: skip
PATIENCE: dict[str, dict[str, Any]] = {
    "s3": {
        "config_kwargs": {
            "connect_timeout": 5,
            "read_timeout": 10,
            "retries": {"mode": "standard", "max_attempts": 2},
        }
    }
}
"""What keeps a store from waiting for minutes, where it can be told."""
TRIES = 1
"""s3fs tries as often again as its own client does already."""

SOON = 20.0
"""Seconds for one answer, tries included: a store that is slower costs more than it brings."""

LEAST_RATE = 128 << 10
"""Bytes a second that content has to come with besides."""


class FsspecCache:
    """One directory or prefix; files of a directory get their names when they are whole."""

    def __init__(self, url: str) -> None:
        self._shown = shown(url)
        self._is_local = urlsplit(url).scheme in LOCAL
        self._fs, self._root = open_filesystem(url, self._shown)

    def load(self, key: str) -> bytes | None:
        path = self._key(key)

        def read() -> bytes | None:
            try:
                with self._fs.open(path, "rb", block_size=CHUNK) as stream:
                    return bytes(stream.read(RECORD_LIMIT + 1))
            except FileNotFoundError:
                return None

        found: bytes | None = self._ask(path, read)
        if found is None:
            return None
        if len(found) > RECORD_LIMIT:
            raise SizeMismatch(subject=path, expected=RECORD_LIMIT, actual=len(found))
        return found

    def fetch(self, descriptors: Sequence[Descriptor], *, store: BlobStore) -> int:
        with Settling() as settling, ThreadPoolExecutor(JOBS) as pool:
            return sum(pool.map(lambda each: self._fetch_one(each, store, settling), descriptors))

    def _fetch_one(self, descriptor: Descriptor, store: BlobStore, settling: Settling) -> int:
        moved = 0
        with store.partial(descriptor) as part:
            if not part.is_stored:
                part.restart()
                for chunk in self._chunks(self._blob(descriptor)):
                    part.write(chunk)
                    moved += len(chunk)
                    settling.hasten(part)
                part.check()
                settling.take(part)
        return moved

    def has_blob(self, descriptor: Descriptor) -> bool:
        path = self._blob(descriptor)

        def is_there() -> bool:
            try:
                return bool(self._fs.size(path) == descriptor.size)
            except FileNotFoundError:
                return False

        return bool(self._ask(path, is_there))

    def put_blob(self, descriptor: Descriptor, path: Path) -> int:
        put = partial(self._fs.put_file, os.fspath(path))
        self._put(self._blob(descriptor), put, descriptor.size)
        return descriptor.size

    def save(self, key: str, record: bytes) -> None:
        self._put(self._key(key), lambda place: self._fs.pipe_file(place, record), len(record))

    def discard(self, key: str, descriptors: Sequence[Descriptor]) -> None:
        for path in (self._key(key), *map(self._blob, descriptors)):
            with contextlib.suppress(RegistryError):
                self._ask(path, partial(self._fs.rm_file, path))

    def close(self) -> None:
        """fsspec keeps its connections for the next cache."""

    def _key(self, key: str) -> str:
        return f"{self._root}/keys/ac-{key}.json"

    def _blob(self, descriptor: Descriptor) -> str:
        digest = descriptor.digest
        return f"{self._root}/blobs/{digest.algorithm}/{digest.encoded}"

    def _chunks(self, path: str) -> Iterator[bytes]:
        with self._ask(path, lambda: self._fs.open(path, "rb", block_size=CHUNK)) as stream:
            while chunk := self._ask(path, lambda: stream.read(CHUNK), CHUNK):
                yield chunk

    def _put(self, path: str, put: Callable[[str], object], size: int) -> None:
        work = partial(self._put_whole, path, put) if self._is_local else partial(put, path)
        self._ask(path, work, size)

    def _put_whole(self, path: str, put: Callable[[str], object]) -> None:
        """Objects of a store appear whole by themselves, files of a directory do not."""
        temporary = f"{path}.{os.getpid()}-{secrets.token_hex(6)}.tmp"
        self._fs.makedirs(path.rpartition("/")[0], exist_ok=True)
        try:
            put(temporary)
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise

    def _ask(self, path: str, work: Callable[[], Any], size: int = 0) -> Any:
        """What ``work`` returns; whatever the many file systems raise, or a silence, is one
        failure of the cache. ``size`` is how many bytes are moved by it."""
        try:
            return within(SOON + size / LEAST_RATE, work)
        except (RegistryError, StoreError, MemoryError):
            raise
        except Exception as problem:
            name = path.removeprefix(self._root).lstrip("/")
            raise RegistryError(
                said(problem),
                subject=f"{self._shown}: {name}",
                status=404 if isinstance(problem, FileNotFoundError) else None,
            ) from problem


def said(problem: Exception) -> str:
    """What went wrong, in the system's words where they are known; the paths are ours to say."""
    if isinstance(problem, OSError) and problem.strerror:
        return problem.strerror
    return f"{type(problem).__name__}: {str(problem)[:200]}"


def open_filesystem(url: str, subject: str) -> tuple[Any, str]:
    """Raises: DeclarationError where the package for the address is missing."""
    try:
        from fsspec.core import url_to_fs
    except ImportError as problem:
        raise DeclarationError(
            "needs the package fsspec",
            subject=subject,
            hint=f"pip install {PACKAGES.get(urlsplit(url).scheme, 'fsspec')}",
        ) from problem
    try:
        found, root = url_to_fs(url, **PATIENCE.get(urlsplit(url).scheme, {}))
    except (ImportError, ValueError) as problem:
        package = PACKAGES.get(urlsplit(url).scheme)
        raise DeclarationError(
            f"cannot be opened: {problem}",
            subject=subject,
            hint=f"pip install {package}" if package else "is the address right?",
        ) from problem
    if hasattr(found, "retries"):
        found.retries = TRIES
    return found, str(root).rstrip("/")


def shown(url: str) -> str:
    """An address without the credentials that may stand in it."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
