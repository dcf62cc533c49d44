"""Crew: several workers that fetch an image's blobs, the largest waiting one first."""

from __future__ import annotations

import threading

from ...errors import ContentError, RegistryError
from ...oci.digest import new_hash
from ..settling import Telling

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ...oci.descriptor import Descriptor
    from ...progress import Progress
    from ..blob_store import BlobStore, PartialBlob
    from ..registry.client import RegistryClient
    from ..settling import Settling

FEW, SMALL = 3, 4 << 20
BUFFER = 1 << 20


def are_few(blobs: Sequence[Descriptor]) -> bool:
    """Whether more threads would cost more than they bring."""
    return len(blobs) <= FEW and sum(each.size for each in blobs) <= SMALL


def prepare_hash() -> None:
    """Load what hashes, which takes as long as a registry's answer on this machine."""
    new_hash("sha256")


def work_together(crew: Sequence[Worker]) -> None:
    """Returns when nothing is left to fetch.

    Raises: the first failure, after all have stopped; an interrupt at once.
    """
    others = [threading.Thread(target=worker.work, daemon=True) for worker in crew[1:]]
    for thread in others:
        thread.start()
    try:
        crew[0].work()
        if isinstance(crew[0].failure, Exception | None):
            for thread in others:
                thread.join()
    finally:
        crew[0].stop.set()
    for worker in crew:
        if worker.failure is not None:
            raise worker.failure


class Worker:
    """One of several that take the largest waiting blob until none is left."""

    def __init__(
        self,
        clients: Sequence[RegistryClient],
        waiting: list[Descriptor],
        *,
        store: BlobStore,
        settling: Settling,
        progress: Progress,
        stop: threading.Event,
    ) -> None:
        self.stop = stop
        self._clients = clients
        self._waiting = waiting
        self._store = store
        self._settling = settling
        self._progress = progress
        self._buffer = bytearray(BUFFER)
        self.failure: BaseException | None = None
        self.moved = 0

    def work(self) -> None:
        from ..registry.transfer import Cancelled

        try:
            while not self.stop.is_set():
                try:
                    descriptor = self._waiting.pop()
                except IndexError:
                    return
                self._fetch(descriptor)
        except Cancelled:
            pass
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits
            self.failure = error
            self.stop.set()

    def _fetch(self, descriptor: Descriptor) -> None:
        with self.telling(descriptor) as item, self._store.partial(descriptor) as partial:
            self.take(partial, item)

    def take(
        self, partial: PartialBlob, item: Telling, begun: Callable[[], None] = lambda: None
    ) -> None:
        """Fetch what a blob of ours lacks, unless another process has brought it meanwhile.

        ``begun`` is called when its answer begins to come.
        """
        if partial.is_stored:
            item.outcome = "reused"
            return

        def advance(count: int) -> None:
            item.advance(count)
            self._settling.hasten(partial)

        item.advance(partial.offset)
        self._from_any(partial, advance, begun)
        self._settling.take(partial, item)

    def telling(self, descriptor: Descriptor) -> Telling:
        return Telling(self._progress, descriptor)

    def _from_any(
        self, partial: PartialBlob, advance: Callable[[int], None], begun: Callable[[], None]
    ) -> None:
        # Loaded while the first answers are on their way.
        from ..registry.transfer import Transfer

        for number, client in enumerate(self._clients):
            transfer = Transfer(client, buffer=self._buffer, stop=self.stop, begun=begun)
            try:
                transfer.run(partial, advance)
                return
            except (RegistryError, ContentError) as error:
                if number == len(self._clients) - 1:
                    raise
                self._progress.note(f"mirror {error.subject}: {error.message}; trying the next")
            finally:
                self.moved += transfer.moved
