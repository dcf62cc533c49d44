"""Forks: processes for builds that were begun before this one had threads, and so need not start.

Beside threads nothing may be forked, and an interpreter takes as long to start as a small image to
unpack. A fork that failed or was interrupted is not used again; when there is none left, a process
is started.
"""

from __future__ import annotations

import os

from ...progress import Progress
from . import remote
from .crew import Lines, may_fork, write_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


MOST = 8
"""Processes that are forked for whatever may come; more are started when they are needed."""


class Forks:
    """``count`` processes, or fewer where it is too late to fork or the host has no room for them.

    Whoever makes it closes it.
    """

    def __init__(self, count: int, progress: Progress) -> None:
        self._free: list[_Fork] = []
        resume = progress.pause()
        try:
            for _ in range(min(count, MOST) if may_fork() else 0):
                self._free.append(_Fork(self._free))
        except OSError:
            # Starting one will meet the same, and say so.
            pass
        finally:
            resume()

    def call(self, request: dict[str, Any], progress: Progress) -> Any:
        """As :func:`remote.call`; may be called by several threads at once."""
        try:
            fork = self._free.pop()
        except IndexError:
            return remote.call(request, progress)
        try:
            write_line(fork.requests, request)
        except BrokenPipeError:
            # It was killed meanwhile.
            fork.end(at_once=True)
            return self.call(request, progress)
        try:
            result = remote.listen(fork.answers, progress)
        except BaseException:
            fork.end(at_once=True)
            raise
        self._free.append(fork)
        return result

    def close(self) -> None:
        """End those that nobody waits for."""
        while self._free:
            self._free.pop().end()


class _Fork:
    """One process, with the ends of its pipes that are ours."""

    def __init__(self, others: list[_Fork]) -> None:
        requests, self.requests = os.pipe()
        answers, written = os.pipe()
        try:
            self.pid = os.fork()
        except OSError:
            for fd in (requests, self.requests, answers, written):
                os.close(fd)
            raise
        if self.pid == 0:
            # Whoever held another one's end would keep it from ending.
            for fd in (self.requests, answers, *(x.requests for x in others)):
                os.close(fd)
            remote.serve_forked(requests, written)
        os.close(requests)
        os.close(written)
        self.answers = Lines(answers)

    def end(self, *, at_once: bool = False) -> None:
        os.close(self.requests)
        if at_once:
            import signal

            os.kill(self.pid, signal.SIGTERM)
        os.waitpid(self.pid, 0)
        os.close(self.answers.fd)
