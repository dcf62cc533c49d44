"""Who unpacks layers: this process one after the other, or forked workers side by side.

Workers are forked before the process has threads; they get positions through one pipe and answer
JSON lines through another, so a worker whose parent was killed ends with the next thing it says.
"""

from __future__ import annotations

import json
import os
import select
from collections.abc import Callable, Mapping
from contextlib import suppress
from time import sleep

from ... import errors
from ...progress import Progress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mmap import mmap
    from typing import Any, NoReturn, Protocol
else:
    Protocol = object

Unpack = Callable[[int, Callable[[int], None], Callable[[str], None]], None]
"""Unpack the layer at a position; told of packed bytes that were read, and of notes."""

ADVANCE_STEP = 4 << 20

LEAVING = 100
"""Times that a thread's leaving is looked for, with a millisecond between."""

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""Of mallopt(3)."""


def may_fork() -> bool:
    """Whether this process has but one thread, of Python's or of a library's.

    A thread that was joined may still be on its way out of the kernel: it is waited for.
    """
    for _ in range(LEAVING):
        if len(os.listdir("/proc/self/task")) == 1:
            return True
        from threading import active_count

        if active_count() > 1:
            return False
        sleep(0.001)
    return False


def keep_pages() -> None:
    """Let this process keep memory that it frees: pieces of half a MiB come and go, and glibc would
    give their pages back each time, to be cleared anew by the kernel."""
    from ctypes import CDLL

    with suppress(AttributeError, OSError):
        allocator = CDLL(None)
        for parameter in (TRIM_THRESHOLD, MMAP_THRESHOLD):
            allocator.mallopt(parameter, 64 << 20)


def error_to_json(error: BaseException) -> dict[str, Any]:
    """An exception as what another process can raise again."""
    if isinstance(error, errors.DoitOciError):
        return {"class": type(error).__name__, "values": vars(error)}
    if isinstance(error, OSError):
        return {"os": [error.errno, error.strerror, str(error.filename or "")]}
    import traceback

    return {"bug": "".join(traceback.format_exception(error))}


def error_from_json(found: Mapping[str, Any]) -> Exception:
    if "class" in found:
        kind = getattr(errors, found["class"])
        error: Exception = kind.__new__(kind)
        error.args = (found["values"]["message"],)
        vars(error).update(found["values"])
        return error
    if "os" in found:
        number, text, name = found["os"]
        return OSError(number, text, name or None)
    return RuntimeError(found["bug"])


def write_line(fd: int, value: Any) -> None:
    """One JSON line. Raises: BrokenPipeError when nobody listens any more."""
    line = json.dumps(value).encode() + b"\n"
    while line:
        line = line[os.write(fd, line) :]


class Lines:
    """JSON lines as they come out of a pipe."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._rest = b""

    def read(self) -> list[Any] | None:
        """The lines that are there, after waiting for some bytes; None at the end."""
        found = os.read(self.fd, 1 << 16)
        if not found:
            return None
        *lines, self._rest = (self._rest + found).split(b"\n")
        return [json.loads(line) for line in lines]


class Crew(Protocol):
    """Does what it is given; ``room`` is how many layers it can take now."""

    @property
    def room(self) -> int: ...

    def give(self, position: int) -> None: ...

    def wait(self) -> tuple[int, Exception | None]:
        """Position and failure of the next layer that is done."""

    def close(self) -> None: ...


class Busy:
    """How many processes unpack, known to all of them where ``shared``."""

    def __init__(self, *, shared: bool) -> None:
        self._cores = len(os.sched_getaffinity(0))
        self._count: bytearray | mmap = bytearray(1)
        if shared:
            from mmap import mmap

            self._count = mmap(-1, 1)
        self._count[0] = 1

    def count(self, number: int) -> None:
        self._count[0] = number

    def leaves_a_core(self) -> bool:
        """Whether there is a second core for each."""
        return self._count[0] * 2 <= self._cores


class Alone:
    """This process does the work itself."""

    def __init__(self, unpack: Unpack, progress: Progress, start: Callable[[int], int]) -> None:
        self._unpack = unpack
        self._progress = progress
        self._start = start
        self._done: list[tuple[int, Exception | None]] = []

    @property
    def room(self) -> int:
        return 1 - len(self._done)

    def give(self, position: int) -> None:
        item = self._start(position)
        failure: Exception | None = None
        try:
            self._unpack(
                position, lambda count: self._progress.advance(item, count), self._progress.note
            )
        except (errors.DoitOciError, OSError) as error:
            failure = error
        self._progress.finish(item, "failed" if failure else "done")
        self._done.append((position, failure))

    def wait(self) -> tuple[int, Exception | None]:
        return self._done.pop()

    def close(self) -> None:
        pass


class _Worker:
    """One forked process."""

    def __init__(self, unpack: Unpack, others: list[_Worker]) -> None:
        requests_in, self.requests = os.pipe()
        answers_in, answers_out = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            for fd in (self.requests, answers_in, *(x.requests for x in others)):
                os.close(fd)
            _serve(unpack, requests_in, answers_out)
        os.close(requests_in)
        os.close(answers_out)
        self.lines = Lines(answers_in)
        self.position: int | None = None
        self.item = 0


def _serve(unpack: Unpack, requests: int, answers: int) -> NoReturn:
    """A worker's life. It must never return into its parent's code."""
    import gc
    import signal

    status = 1
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        # It lives for a few layers, and what it keeps holds no cycles.
        gc.disable()
        os.umask(0)
        keep_pages()
        while request := os.read(requests, 4):
            _unpack_one(unpack, int.from_bytes(request, "little"), answers)
        status = 0
    finally:
        os._exit(status)


def _unpack_one(unpack: Unpack, position: int, answers: int) -> None:
    unsaid = 0

    def advance(count: int) -> None:
        nonlocal unsaid
        unsaid += count
        if unsaid >= ADVANCE_STEP:
            write_line(answers, {"advance": unsaid})
            unsaid = 0

    try:
        unpack(position, advance, lambda text: write_line(answers, {"note": text}))
    except Exception as error:  # noqa: BLE001  the parent raises it again
        write_line(answers, {"error": error_to_json(error)})
    else:
        write_line(answers, {"advance": unsaid})
        write_line(answers, {"done": True})


class Forked:
    """Workers side by side. Only for a process without threads."""

    def __init__(
        self,
        unpack: Unpack,
        progress: Progress,
        start: Callable[[int], int],
        busy: Busy,
        *,
        count: int,
    ) -> None:
        self._progress = progress
        self._start = start
        self._busy = busy
        self._done: list[tuple[int, Exception | None]] = []
        self._workers: list[_Worker] = []
        for _ in range(count):
            self._workers.append(_Worker(unpack, self._workers))

    @property
    def room(self) -> int:
        return sum(worker.position is None for worker in self._workers)

    def give(self, position: int) -> None:
        worker = next(worker for worker in self._workers if worker.position is None)
        worker.position = position
        worker.item = self._start(position)
        self._count()
        os.write(worker.requests, position.to_bytes(4, "little"))

    def wait(self) -> tuple[int, Exception | None]:
        while not self._done:
            busy = {x.lines.fd: x for x in self._workers if x.position is not None}
            poll = select.poll()
            for fd in busy:
                poll.register(fd, select.POLLIN | select.POLLHUP)
            for fd, _ in poll.poll():
                self._hear(busy[fd])
        return self._done.pop(0)

    def _hear(self, worker: _Worker) -> None:
        lines = worker.lines.read()
        if lines is None:
            dead = errors.StoreError(
                "a worker process died",
                subject="unpacking",
                hint="was it killed for lack of memory? Try again.",
            )
            self._finish(worker, dead)
            self._workers.remove(worker)
            return
        for line in lines:
            if "advance" in line:
                self._progress.advance(worker.item, line["advance"])
            elif "note" in line:
                self._progress.note(line["note"])
            elif "error" in line:
                self._finish(worker, error_from_json(line["error"]))
            else:
                self._finish(worker, None)

    def _finish(self, worker: _Worker, failure: Exception | None) -> None:
        assert worker.position is not None, "only a worker that has a layer speaks"
        self._progress.finish(worker.item, "failed" if failure else "done")
        self._done.append((worker.position, failure))
        worker.position = None
        self._count()

    def _count(self) -> None:
        self._busy.count(sum(worker.position is not None for worker in self._workers))

    def close(self) -> None:
        """End the workers, whatever they do."""
        import signal

        for worker in self._workers:
            os.close(worker.requests)
            if worker.position is not None:
                os.kill(worker.pid, signal.SIGTERM)
        for worker in self._workers:
            os.waitpid(worker.pid, 0)
            os.close(worker.lines.fd)
