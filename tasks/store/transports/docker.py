"""docker: an image in a registry, at its mirrors first where some are declared."""

from __future__ import annotations

import contextlib
import threading
from functools import partial as bound

from ...errors import ContentError, RegistryError
from ...oci.manifest import CONFIG_LIMIT, parse_document
from ...oci.media_type import INDEXES, MANIFESTS
from ..registry.client import RegistryClient
from ..registry.endpoint import endpoints
from ..registry.host_settings import host_registries, with_host_certificates
from ..registry.limits import Limits
from ..settling import Settling
from .crew import Worker, are_few, prepare_hash, work_together
from .source import RawDocument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import TypeVar

    from ...oci.descriptor import Descriptor
    from ...oci.digest import Digest
    from ...oci.reference import ImageReference
    from ...oci.registry_settings import Registry
    from ...progress import Progress
    from ..blob_store import BlobStore, PartialBlob

    T = TypeVar("T")


class RegistrySource:
    """Every request goes to the endpoints in order until one has the answer."""

    def __init__(
        self,
        reference: ImageReference,
        *,
        registries: Sequence[Registry],
        progress: Progress,
        environ: Mapping[str, str],
        limits: Limits | None = None,
    ) -> None:
        self._reference = reference
        self._progress = progress
        of_host = host_registries(environ, warn=progress.note)
        self._clients = tuple(
            RegistryClient(
                with_host_certificates(endpoint, environ),
                environ=environ,
                progress=progress,
                limits=limits or Limits(),
            )
            for endpoint in endpoints(reference, (*registries, *of_host))
        )

    def head(self) -> Digest | None:
        return self._first(lambda client: client.head_manifest(self._wanted()))

    def document(self, digest: Digest | None = None, *, tag: str = "") -> RawDocument:
        """By ``digest``, by ``tag``, or what the reference says."""
        expected = digest or (None if tag else self._reference.digest)
        wanted = str(expected or tag or self._reference.tag)

        def ask(client: RegistryClient) -> RawDocument:
            """What a mirror says has to make sense before it counts as an answer."""
            raw, media_type, actual = client.manifest(wanted, expected)
            parse_document(raw, media_type=media_type, subject=f"{client.endpoint}: {wanted}")
            return RawDocument(raw=raw, media_type=media_type, digest=actual)

        return self._first(ask)

    def small_blob(self, descriptor: Descriptor) -> bytes:
        limit = min(CONFIG_LIMIT, descriptor.size)
        return self._first(lambda client: client.blob(descriptor.digest, limit=limit))

    def tags(self) -> list[str]:
        return self._first(lambda client: client.tags())

    def fetch(self, descriptors: Sequence[Descriptor], *, store: BlobStore, jobs: int) -> int:
        """Raises the first failure, after the other transfers have stopped.

        Manifests and indexes, which a lock from elsewhere names before the store has them, are no
        blobs to a registry: they have an address of their own.
        """
        documents = [each for each in descriptors if is_document(each)]
        documents.sort(key=lambda found: found.digest.encoded)
        blobs = [each for each in descriptors if not is_document(each)]
        blobs.sort(key=lambda found: (found.size, found.digest.encoded))
        few, many = (blobs, []) if are_few(blobs) else ([], blobs)
        stop = threading.Event()
        with Settling() as settling:
            crew = [
                Worker(
                    self._clients,
                    many,
                    store=store,
                    settling=settling,
                    progress=self._progress,
                    stop=stop,
                )
                for _ in range(max(1, min(jobs, len(many))))
            ]
            moved = self._in_a_row([*documents, *reversed(few)], store, settling, crew[0])
            work_together(crew)
        return moved + sum(worker.moved for worker in crew)

    def _in_a_row(
        self,
        descriptors: Sequence[Descriptor],
        store: BlobStore,
        settling: Settling,
        worker: Worker,
    ) -> int:
        """Fetch what is small one by one, each asked for when the one before begins to come.

        Every process locks in this order. Returns the bytes of documents, which are moved here.
        """
        moved = 0
        with contextlib.ExitStack() as opened:
            row = [opened.enter_context(store.partial(each)) for each in descriptors]
            ahead = Ahead(self._clients[0], row)
            ahead.begin()
            prepare_hash()
            for behind, partial in enumerate(row, 1):
                if is_document(partial.descriptor):
                    moved += self._keep(partial, settling)
                    ahead.begin_at(behind)
                else:
                    with worker.telling(partial.descriptor) as item:
                        worker.take(partial, item, bound(ahead.begin_at, behind))
        return moved

    def _keep(self, partial: PartialBlob, settling: Settling) -> int:
        if partial.is_stored:
            return 0
        raw = self.document(partial.descriptor.digest).raw
        partial.restart()
        partial.write(raw)
        partial.check()
        settling.take(partial)
        return len(raw)

    def _wanted(self) -> str:
        return str(self._reference.digest or self._reference.tag)

    def _first(self, ask: Callable[[RegistryClient], T]) -> T:
        """The first endpoint's answer; a mirror that fails is said and passed over."""
        for client in self._clients[:-1]:
            try:
                return ask(client)
            except (RegistryError, ContentError) as error:
                self._progress.note(f"mirror {error.subject}: {error.message}; trying the next")
        return ask(self._clients[-1])

    def close(self) -> None:
        for client in self._clients:
            client.close()


def is_document(descriptor: Descriptor) -> bool:
    """Whether a registry has it under manifests/ and not under blobs/."""
    return descriptor.media_type in MANIFESTS | INDEXES


class Ahead:
    """Sends the requests of a row before they are made, so that the registry works while we do.

    No two blobs are asked for at once, whose order would then be the registry's to choose.
    """

    def __init__(self, client: RegistryClient, row: Sequence[PartialBlob]) -> None:
        self._client = client
        self._row = row
        self._next = 0

    def begin(self) -> None:
        """Begin the first one, and a blob behind it where a connection costs no handshake."""
        kinds = [is_document(each.descriptor) for each in self._row[:2]]
        self.begin_at(0)
        if self._client.endpoint.insecure and kinds == [True, False]:
            self.begin_at(1)

    def begin_at(self, place: int) -> None:
        """Begin the one there, unless that was done or it is fetched without."""
        if not self._next <= place < len(self._row):
            return
        self._next = place + 1
        partial = self._row[place]
        if not partial.is_stored and not partial.offset and partial.descriptor.size:
            kind = "manifests" if is_document(partial.descriptor) else "blobs"
            self._client.begin(kind, partial.descriptor.digest)
