"""A cache on anything that fsspec reaches: a directory, S3, Google's or Azure's stores, SSH.

blobs/<algorithm>/<encoded>
keys/ac-<key>.json
"""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ...errors import DeclarationError, RegistryError, SizeMismatch, StoreError
from .cache import RECORD_LIMIT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ...oci.descriptor import Descriptor
    from ..blob_store import BlobStore

CHUNK = 4 << 20
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


class FsspecCache:
    """One directory or prefix; files of a directory get their names when they are whole."""

    def __init__(self, url: str) -> None:
        self._shown = shown(url)
        self._is_local = urlsplit(url).scheme in LOCAL
        self._fs, self._root = open_filesystem(url, self._shown)

    def load(self, key: str) -> bytes | None:
        path = self._key(key)
        with self._said_of(path):
            try:
                with self._fs.open(path, "rb") as stream:
                    found: bytes = stream.read(RECORD_LIMIT + 1)
            except FileNotFoundError:
                return None
        if len(found) > RECORD_LIMIT:
            raise SizeMismatch(subject=path, expected=RECORD_LIMIT, actual=len(found))
        return found

    def fetch(self, descriptors: Sequence[Descriptor], *, store: BlobStore) -> int:
        moved = 0
        for descriptor in descriptors:
            with store.partial(descriptor) as partial:
                if partial.is_stored:
                    continue
                partial.restart()
                for chunk in self._chunks(self._blob(descriptor)):
                    partial.write(chunk)
                    moved += len(chunk)
                partial.commit()
        return moved

    def has_blob(self, descriptor: Descriptor) -> bool:
        path = self._blob(descriptor)
        with self._said_of(path):
            try:
                return bool(self._fs.size(path) == descriptor.size)
            except FileNotFoundError:
                return False

    def put_blob(self, descriptor: Descriptor, path: Path) -> int:
        source = os.fspath(path)
        self._put(self._blob(descriptor), lambda place: self._fs.put_file(source, place))
        return descriptor.size

    def save(self, key: str, record: bytes) -> None:
        self._put(self._key(key), lambda place: self._fs.pipe_file(place, record))

    def discard(self, key: str, descriptors: Sequence[Descriptor]) -> None:
        for path in (self._key(key), *map(self._blob, descriptors)):
            with contextlib.suppress(RegistryError), self._said_of(path):
                self._fs.rm_file(path)

    def close(self) -> None:
        """fsspec keeps its connections for the next cache."""

    def _key(self, key: str) -> str:
        return f"{self._root}/keys/ac-{key}.json"

    def _blob(self, descriptor: Descriptor) -> str:
        digest = descriptor.digest
        return f"{self._root}/blobs/{digest.algorithm}/{digest.encoded}"

    def _chunks(self, path: str) -> Iterator[bytes]:
        with self._said_of(path):
            stream = self._fs.open(path, "rb")
        with stream:
            while True:
                with self._said_of(path):
                    chunk: bytes = stream.read(CHUNK)
                if not chunk:
                    return
                yield chunk

    def _put(self, path: str, put: Callable[[str], object]) -> None:
        """Objects of a store appear whole by themselves."""
        with self._said_of(path):
            if not self._is_local:
                put(path)
                return
            temporary = f"{path}.{os.getpid()}-{secrets.token_hex(6)}.tmp"
            self._fs.makedirs(path.rpartition("/")[0], exist_ok=True)
            try:
                put(temporary)
                os.replace(temporary, path)
            except BaseException:
                Path(temporary).unlink(missing_ok=True)
                raise

    @contextlib.contextmanager
    def _said_of(self, path: str) -> Iterator[None]:
        """Whatever the many file systems raise is one failure of the cache."""
        try:
            yield
        except (RegistryError, StoreError, MemoryError):
            raise
        except Exception as problem:
            name = path.removeprefix(self._root).lstrip("/")
            raise RegistryError(
                f"{type(problem).__name__}: {str(problem)[:200]}",
                subject=f"{self._shown}: {name}",
                status=404 if isinstance(problem, FileNotFoundError) else None,
            ) from problem


def open_filesystem(url: str, subject: str) -> tuple[Any, str]:
    """Raises: DeclarationError where the package for the address is missing."""
    try:
        from fsspec.core import url_to_fs
    except ImportError as problem:
        raise DeclarationError(
            "needs the package fsspec", subject=subject, hint="pip install fsspec"
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
