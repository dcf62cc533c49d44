"""Settling: blobs are put on the disk in a thread of its own, and get their names when whole.

fsync waits for the disk, and a connection that waited with it would stand still meanwhile. Of a
large blob what has come is put there while the rest is coming, so that little is left to wait for
in the end, and no other's fsync meets much of it.
"""

from __future__ import annotations

import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

    from ..oci.descriptor import Descriptor
    from ..progress import Progress
    from .blob_store import PartialBlob

STRETCH = 64 << 20
"""How much of a blob is worth a wait for the disk, in bytes. A disk with a cache of its own takes
long to write much of it out, and whatever else is asked of it waits meanwhile."""
MANY = 3
"""With more blobs than that waiting, the disk is told of all before it is waited for."""


class Telling:
    """Tells of one blob from when it is taken up until it has its name, is reused or failed."""

    def __init__(self, progress: Progress, descriptor: Descriptor) -> None:
        self._progress = progress
        self._item = progress.start("blob", descriptor.digest.short, descriptor.size)
        self.outcome = "failed"
        self.is_handed_over = False

    def advance(self, count: int) -> None:
        self._progress.advance(self._item, count)

    def finish(self, outcome: str) -> None:
        self._progress.finish(self._item, outcome)

    def __enter__(self) -> Telling:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if not self.is_handed_over:
            self.finish(self.outcome)


class Settling:
    """Blobs that were checked come in from any thread; leaving helps until all have their names.

    Raises, on leaving: the first StoreError; the other blobs are settled all the same.
    """

    def __init__(self) -> None:
        self._waiting: list[tuple[PartialBlob, Telling | None]] = []
        self._coming: list[PartialBlob] = []
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._is_over = False
        self._failure: Exception | None = None

    def take(self, partial: PartialBlob, telling: Telling | None = None) -> None:
        """Settle and close a blob that was checked, in a moment, and tell that it is done."""
        if telling is not None:
            telling.is_handed_over = True
        with self._changed:
            self._waiting.append((partial.hand_over(), telling))
            self._wake()

    def hasten(self, partial: PartialBlob) -> None:
        """Put what has come of a blob on the disk, in a moment, if that is a good deal."""
        if partial.unsynced < STRETCH or partial in self._coming:
            return
        with self._changed:
            self._coming.append(partial)
            self._wake()

    def _wake(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="settling", daemon=True)
            self._thread.start()
        self._changed.notify()

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._coming:
                    if self._is_over:
                        return
                    self._changed.wait()
                taken, self._waiting = self._waiting, []
                coming = [] if taken else [self._coming.pop(0)]
            if len(taken) > MANY:
                for partial, _ in taken:
                    partial.start_writeback()
            for partial, telling in taken:
                self._settle(partial, telling)
            for partial in coming:
                partial.sync()

    def _settle(self, partial: PartialBlob, telling: Telling | None) -> None:
        outcome = "failed"
        try:
            partial.settle()
            outcome = "done"
        except Exception as error:  # noqa: BLE001 - raised again in the thread that waits
            self._failure = self._failure or error
        finally:
            partial.close()
            if telling is not None:
                telling.finish(outcome)

    def __enter__(self) -> Settling:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._changed:
            self._is_over = True
            self._changed.notify()
        # An interrupt is not kept waiting.
        if self._thread is not None and isinstance(error, Exception | None):
            self._work()
            self._thread.join()
            if error is None and self._failure is not None:
                raise self._failure
