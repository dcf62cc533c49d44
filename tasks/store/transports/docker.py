"""docker: an image in a registry, at its mirrors first where some are declared."""

from __future__ import annotations

import threading

from ...errors import ContentError, RegistryError
from ...oci.manifest import CONFIG_LIMIT, parse_document
from ...oci.media_type import INDEXES, MANIFESTS
from ..registry.client import RegistryClient
from ..registry.endpoint import endpoints
from ..registry.host_settings import host_registries, with_host_certificates
from ..registry.limits import Limits
from ..registry.transfer import BUFFER, Cancelled, Transfer
from .source import RawDocument

FEW, SMALL = 3, 4 << 20

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType
    from typing import Self, TypeVar

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

    def document(self, digest: Digest | None = None) -> RawDocument:
        expected = digest or self._reference.digest
        wanted = str(expected) if expected else self._reference.tag

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
        documents = [each for each in descriptors if each.media_type in MANIFESTS | INDEXES]
        for each in documents:
            store.put_blob(self.document(each.digest).raw, each.digest)
        documented = sum(each.size for each in documents)
        waiting = sorted(
            (each for each in descriptors if each not in documents), key=lambda found: found.size
        )
        if not waiting:
            return documented
        crew = [
            Worker(self._clients, waiting, store, self._progress)
            for _ in range(crew_size(waiting, jobs))
        ]
        work_together(crew)
        return documented + sum(worker.moved for worker in crew)

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

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def crew_size(waiting: Sequence[Descriptor], jobs: int) -> int:
    """How many connections are worth opening; a few small blobs follow each other on one."""
    if len(waiting) <= FEW and sum(each.size for each in waiting) <= SMALL:
        return 1
    return max(1, min(jobs, len(waiting)))


def work_together(crew: Sequence[Worker]) -> None:
    """Returns when nothing is left to fetch.

    Raises: the first failure, after all have stopped; an interrupt at once.
    """
    stop = threading.Event()
    others = [
        threading.Thread(target=worker.work, args=(stop,), daemon=True) for worker in crew[1:]
    ]
    for thread in others:
        thread.start()
    try:
        crew[0].work(stop)
        if isinstance(crew[0].failure, Exception | None):
            for thread in others:
                thread.join()
    finally:
        stop.set()
    for worker in crew:
        if worker.failure is not None:
            raise worker.failure


class Worker:
    """One of several that take the largest waiting blob until none is left."""

    def __init__(
        self,
        clients: Sequence[RegistryClient],
        waiting: list[Descriptor],
        store: BlobStore,
        progress: Progress,
    ) -> None:
        self._clients = clients
        self._waiting = waiting
        self._store = store
        self._progress = progress
        self.failure: BaseException | None = None
        self.moved = 0

    def work(self, stop: threading.Event) -> None:
        buffer = bytearray(BUFFER)
        try:
            while not stop.is_set():
                try:
                    descriptor = self._waiting.pop()
                except IndexError:
                    return
                self._fetch(descriptor, buffer, stop)
        except Cancelled:
            pass
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits
            self.failure = error
            stop.set()

    def _fetch(self, descriptor: Descriptor, buffer: bytearray, stop: threading.Event) -> None:
        item = self._progress.start("blob", descriptor.digest.short, descriptor.size)
        outcome = "failed"
        try:
            with self._store.partial(descriptor) as partial:
                if partial.is_stored:
                    outcome = "reused"
                    return
                self._progress.advance(item, partial.offset)
                self._from_any(partial, buffer, stop, lambda n: self._progress.advance(item, n))
                outcome = "done"
        finally:
            self._progress.finish(item, outcome)

    def _from_any(
        self,
        partial: PartialBlob,
        buffer: bytearray,
        stop: threading.Event,
        advance: Callable[[int], None],
    ) -> None:
        for number, client in enumerate(self._clients):
            transfer = Transfer(client, buffer=buffer, stop=stop)
            try:
                transfer.run(partial, advance)
                return
            except (RegistryError, ContentError) as error:
                if number == len(self._clients) - 1:
                    raise
                self._progress.note(f"mirror {error.subject}: {error.message}; trying the next")
            finally:
                self.moved += transfer.moved
