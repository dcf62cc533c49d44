"""Wire: HTTP/1.1 over one socket, one request at a time, read without copies.

Only what pulling needs: GET and HEAD without bodies, answers whose length is announced, that come
in chunks, or that end with the connection. Spec: RFC 9112.
"""

from __future__ import annotations

import time

from ...value import Value
from .reply import Headers

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping

HEAD_LIMIT = 64 << 10
LINE_LIMIT = 4 << 10
INTERIM_LIMIT = 8
FIRST = 8 << 10
TOKEN = frozenset(b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
HEXADECIMAL = frozenset(b"0123456789ABCDEFabcdef")
VERSIONS = {b"HTTP/1.0": 0, b"HTTP/1.1": 1}
WITHOUT_BODY = frozenset({204, 304})


class NotHttp(OSError):
    """What came is no HTTP/1.1 that can be read."""


class Unanswered(OSError):
    """The connection ended before a single byte of an answer, as one that waited too long does."""


class Head(Value):
    """Minor version, status, and fields by name in lower case."""

    version: int
    status: int
    fields: dict[str, str]


class Wire:
    """An open connection; ``timeout`` is how long one read, or a whole head, may take."""

    def __init__(self, connected: socket.socket, *, timeout: float) -> None:
        self._socket = connected
        self._timeout = timeout
        self._ahead = bytearray()
        self.was_used = False

    def send(self, method: str, target: str, headers: Mapping[str, str]) -> None:
        """Send a request. Raises: OSError and the kinds above."""
        lines = [f"{method} {target} HTTP/1.1", *(f"{k}: {v}" for k, v in headers.items())]
        if any("\n" in line or "\r" in line for line in lines):
            raise NotHttp("a line break in a request's header")
        try:
            self._socket.sendall(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
        except (BrokenPipeError, ConnectionResetError) as error:
            raise Unanswered from error

    def answer(self, method: str, give_back: Callable[[Wire], None]) -> WireReply:
        """Read the head of the answer to what was sent. Raises: OSError and the kinds above.

        ``give_back`` gets the connection when it is free for another request.
        """
        for _ in range(INTERIM_LIMIT):
            head = self._head()
            if head.status >= 200:
                return WireReply(self, method, head, give_back)
        raise NotHttp("too many interim answers")

    def _head(self) -> Head:
        ahead = self._ahead
        deadline = time.monotonic() + self._timeout
        while not (end := _end_of_head(ahead)):
            if len(ahead) > HEAD_LIMIT:
                raise NotHttp("an answer's head without end")
            if time.monotonic() > deadline:
                raise TimeoutError
            self._read_more()
        head = bytes(ahead[:end])
        del ahead[:end]
        first, *lines = head.rstrip(b"\r\n").replace(b"\r\n", b"\n").split(b"\n")
        protocol, _, rest = first.partition(b" ")
        status, _, _ = rest.partition(b" ")
        if protocol not in VERSIONS or len(status) != 3 or not status.isdigit():
            raise NotHttp("no status line")
        return Head(version=VERSIONS[protocol], status=int(status), fields=_fields(lines))

    def _read_more(self) -> None:
        """Append to what was read ahead."""
        try:
            more = self._socket.recv(FIRST)
        except ConnectionResetError:
            if self._ahead:
                raise
            more = b""
        if not more:
            raise NotHttp("cut short") if self._ahead else Unanswered()
        self._ahead += more

    def line(self) -> bytes:
        """A line of a chunked body, without its end."""
        while (end := self._ahead.find(b"\n")) < 0:
            if len(self._ahead) > LINE_LIMIT:
                raise NotHttp("a line without end")
            self._read_more()
        found = bytes(self._ahead[:end])
        del self._ahead[: end + 1]
        return found.removesuffix(b"\r")

    def receive(self, view: memoryview) -> int:
        """Bytes of a body: first those that came with the head."""
        if not self._ahead:
            return self._socket.recv_into(view)
        count = min(len(view), len(self._ahead))
        view[:count] = self._ahead[:count]
        del self._ahead[:count]
        return count

    def is_quiet(self, seconds: float = 0.0) -> bool:
        """Whether nothing came since the last answer, nor does for a while; a server that hangs
        up says so first."""
        import select

        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return not self._ahead and not poll.poll(seconds * 1000)

    def close(self) -> None:
        self._socket.close()


def _end_of_head(ahead: bytearray) -> int:
    """Where the empty line after a head ends; 0 where there is none yet."""
    if (found := ahead.find(b"\r\n\r\n")) >= 0:
        return found + 4
    return ahead.find(b"\n\n") + 2 if b"\n\n" in ahead else 0


def _fields(lines: list[bytes]) -> dict[str, str]:
    """Spec: RFC 9112, "Field Syntax"; a folded line is the end of the one before."""
    found: dict[str, str] = {}
    name = ""
    for line in lines:
        raw, colon, value = line.partition(b":")
        if name and line[:1] in {b" ", b"\t"}:
            found[name] += " " + line.strip().decode("latin-1")
            continue
        if not colon or not raw or not TOKEN.issuperset(raw):
            raise NotHttp("no header field")
        name, text = raw.decode("ascii").lower(), value.strip(b" \t").decode("latin-1")
        found[name] = f"{found[name]}, {text}" if name in found else text
    return found


class WireReply:
    """An answer whose body is read from the wire; it belongs to one thread at a time."""

    def __init__(
        self,
        wire: Wire,
        method: str,
        head: Head,
        give_back: Callable[[Wire], None],
    ) -> None:
        version, fields = head.version, head.fields
        self.status = head.status
        self.headers = Headers(fields)
        self._wire = wire
        self._give_back = give_back
        self._is_given = False
        self._in_chunks = "chunked" in fields.get("transfer-encoding", "").lower()
        self._left = self._length(method, fields)
        stays = "keep-alive" if version == 0 else "close"
        said = fields.get("connection", "").lower()
        self._is_kept = (stays in said) == (version == 0) and self._left is not None
        self._is_kept |= self._in_chunks and version > 0 and "close" not in said
        self._is_over = self._left == 0 and not self._in_chunks

    def _length(self, method: str, fields: dict[str, str]) -> int | None:
        """Bytes that are left, of the chunk if it comes in chunks; None until the end."""
        if method == "HEAD" or self.status in WITHOUT_BODY:
            self._in_chunks = False
            return 0
        if self._in_chunks:
            return 0
        said = set(fields.get("content-length", "").replace(" ", "").split(","))
        text = said.pop()
        return int(text) if not said and text.isascii() and text.isdigit() else None

    def read_into(self, view: memoryview) -> int:
        if self._is_over:
            return 0
        if self._in_chunks and not self._left and not self._next_chunk():
            return 0
        left = self._left
        count = self._wire.receive(view if left is None else view[:left])
        if left is None:
            self._is_over = not count
        elif not count:
            raise ConnectionResetError("the body ended early")
        else:
            self._left = left - count
            if not self._in_chunks:
                self._is_over = left == count
            elif left == count and self._wire.line():
                raise NotHttp("a chunk longer than it says")
        return count

    def _next_chunk(self) -> bool:
        try:
            size_text = self._wire.line().partition(b";")[0].strip(b" \t")
            if not 0 < len(size_text) < 16 or not HEXADECIMAL.issuperset(size_text):
                raise NotHttp("no size of a chunk")
            self._left = int(size_text, 16)
            if self._left:
                return True
            size = 0
            while trailer := self._wire.line():
                size += len(trailer)
                if size > HEAD_LIMIT:
                    raise NotHttp("trailers without end")
        except Unanswered as error:
            raise ConnectionResetError("the body ended early") from error
        self._is_over = True
        return False

    def release(self) -> None:
        if self._is_over and self._is_kept:
            self._is_kept, self._is_given = False, True
            self._give_back(self._wire)
        else:
            self.close()

    def close(self) -> None:
        if not self._is_given:
            self._is_over = True
            self._wire.close()
