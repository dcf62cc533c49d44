"""A container's log: what it wrote, when, and to which stream, in the format of the Kubernetes CRI.

Each line is ``<time> stdout|stderr F|P <bytes>``; P is a part of a line that goes on in the next
one, so that output can be given back byte for byte.
"""

from __future__ import annotations

import os
import select
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

NAME = "output.log"
ROTATE_AT = 10 * 1024 * 1024
KEPT = 3
LONGEST = 16384


class LogWriter:
    """Writes one log, and a new one when it has grown: ``output.log.1`` is the one before."""

    def __init__(self, path: str, *, rotate_at: int = ROTATE_AT, kept: int = KEPT) -> None:
        self.path = path
        self.rotate_at = rotate_at
        self.kept = kept
        self._open()

    def _open(self) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._file = os.open(self.path, flags, 0o600)
        self._size = os.fstat(self._file).st_size

    def write(self, stream: bytes, block: bytes) -> None:
        """Append what was read from a stream at once."""
        now = time.time()
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)).encode()
        stamp = b"%s.%06dZ %s " % (moment, int(now % 1 * 1_000_000), stream)
        lines = []
        for line in _lines(block):
            ended = line.endswith(b"\n")
            lines.append(stamp + (b"F " if ended else b"P ") + line + (b"" if ended else b"\n"))
        data = b"".join(lines)
        if self._size and self._size + len(data) > self.rotate_at:
            self._rotate()
        os.write(self._file, data)
        self._size += len(data)

    def _rotate(self) -> None:
        os.close(self._file)
        if self.kept == 1:
            os.unlink(self.path)
        for number in range(self.kept - 1, 0, -1):
            older = f"{self.path}.{number}"
            newer = self.path if number == 1 else f"{self.path}.{number - 1}"
            if os.path.exists(newer):
                os.replace(newer, older)
        self._open()

    def copy(self, sources: Mapping[int, bytes]) -> None:
        """Write what comes from pipes (descriptor → stream) until all have ended."""
        open_ones = dict(sources)
        while open_ones:
            for descriptor in select.select(list(open_ones), [], [])[0]:
                block = os.read(descriptor, LONGEST)
                if block:
                    self.write(open_ones[descriptor], block)
                else:
                    os.close(descriptor)
                    del open_ones[descriptor]
        os.close(self._file)


def _lines(block: bytes) -> list[bytes]:
    parts = block.split(b"\n")
    lines = [part + b"\n" for part in parts[:-1]]
    return [*lines, parts[-1]] if parts[-1] else lines


def log_files(folder: str) -> list[str]:
    """The logs of a container, oldest first."""
    path = f"{folder}/{NAME}"
    numbered, number = [], 1
    while os.path.exists(f"{path}.{number}"):
        numbered.append(f"{path}.{number}")
        number += 1
    return [*numbered[::-1], *([path] if os.path.exists(path) else [])]


def parse_line(line: bytes) -> tuple[bytes, bytes]:
    """A log's line → (stream, what was written)."""
    _, stream, tag, text = line.split(b" ", 3)
    return stream, text if tag == b"F" else text[:-1]


def read_log(folder: str) -> Iterator[tuple[bytes, bytes]]:
    """All that is in a container's logs."""
    for path in log_files(folder):
        with open(path, "rb") as stream:
            for line in stream:
                if line.endswith(b"\n"):
                    yield parse_line(line)
